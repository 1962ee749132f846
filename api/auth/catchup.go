package auth

import (
	"context"
	"errors"
	"fmt"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
)

// CatchUp puts the grants, revocations and exchanges in force that were
// recorded since the last call, by whichever server.
func (a *Authenticator) CatchUp(ctx context.Context) error {
	if a.cfg.Ledger.IsReplica() {
		return nil
	}
	a.catching.Lock()
	defer a.catching.Unlock()
	p := a.cfg.Ledger.Published()
	dir := a.dir.Load()
	var failed error
	for i := range dir.tenants {
		t := &dir.tenants[i]
		from, ok := a.caught[t.Name]
		if !ok {
			from = a.opened
		}
		if a.cfg.Ledger.Configured(t.Stream.ID) <= from {
			continue
		}
		if err := a.catchUpTenant(ctx, p, t, from); err != nil {
			failed = errors.Join(failed, fmt.Errorf("tenant %s: %w", t.Name, err))
			continue
		}
		a.caught[t.Name] = p.Size
	}
	return failed
}

func (a *Authenticator) catchUpTenant(ctx context.Context, p *ledger.Published, t *Tenant, from uint64) error {
	for kind, replay := range map[string]func(*grants, *Tenant, *ingest.Config){grantType: a.replayGrant, exchangeType: a.replayExchange} {
		f := ledger.Filter{Kind: kindname.Config, Attribute: "type=" + kind}
		for next := from; next < p.Size; {
			e, after, err := a.cfg.Ledger.Next(ctx, p, t.Stream, f, next)
			if err != nil {
				return err
			}
			if next = after; e == nil {
				continue
			}
			switch c, ok, err := a.readConfig(ctx, t, e); {
			case err != nil:
				return err
			case ok:
				replay(a.grants, t, c)
			}
		}
	}
	return nil
}

// find returns the grant of a token, or nil. A token that is not known here may
// have been issued by another server a moment ago.
func (a *Authenticator) find(hash tokenHash) *grant {
	if g := a.grants.find(hash); g != nil || !a.cfg.Ledger.Shared() {
		return g
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxCatchUp)
	defer cancel()
	err := a.cfg.Ledger.Latest(ctx)
	if err == nil {
		err = a.CatchUp(ctx)
	}
	if err != nil {
		a.cfg.Log.Warn("a token was looked for in grants that may not be up to date", "err", err)
	}
	return a.grants.find(hash)
}

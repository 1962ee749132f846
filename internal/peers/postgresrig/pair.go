package postgresrig

import (
	"context"
	"fmt"
	"maps"
)

// A Pair is a primary that confirms nothing before its standby has it.
type Pair struct{ Primary, Standby *Rig }

// StartPair starts a primary and a synchronous standby. Their data is in memory
// if there is room for it.
func StartPair(ctx context.Context) (*Pair, error) { return StartPairWith(ctx, Config{}) }

// StartPairWith is StartPair with settings. Crashes of the servers lose nothing
// that is confirmed.
func StartPairWith(ctx context.Context, c Config) (_ *Pair, err error) {
	p := &Pair{}
	defer func() {
		if err != nil {
			p.Stop()
		}
	}()
	settings := maps.Clone(c.Settings)
	if settings == nil {
		settings = map[string]string{}
	}
	settings["fsync"] = "on"
	c.Settings = settings
	if p.Primary, err = Start(ctx, c); err != nil {
		return nil, err
	}
	if p.Standby, err = p.Primary.Standby(ctx); err != nil {
		return nil, err
	}
	return p, p.Primary.RequireStandby(ctx)
}

// RequireStandby makes the server confirm nothing before a standby has it.
func (r *Rig) RequireStandby(ctx context.Context) error {
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		if err := r.Exec(ctx, User, statement); err != nil {
			return err
		}
	}
	return nil
}

// FailOver kills the primary, promotes the standby, and gives it a standby of
// its own. The old primary is removed. Between the kill and the promotion it
// calls down.
func (p *Pair) FailOver(ctx context.Context, down func()) error {
	if err := p.Primary.Kill(); err != nil {
		return err
	}
	p.Primary.Stop()
	p.Primary, p.Standby = p.Standby, nil
	down()
	if err := p.Primary.Promote(ctx); err != nil {
		return err
	}
	var err error
	if p.Standby, err = p.Primary.Standby(ctx); err != nil {
		return err
	}
	return p.Primary.RequireStandby(ctx)
}

// URL returns a connection URI that has both servers, of which clients use the
// one that accepts writes.
func (p *Pair) URL(database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%s,127.0.0.1:%s/%s?sslmode=disable&target_session_attrs=read-write", User, p.Primary.Port, p.Standby.Port, database)
}

// Stop stops both servers.
func (p *Pair) Stop() {
	for _, r := range []*Rig{p.Standby, p.Primary} {
		if r != nil {
			r.Stop()
		}
	}
}

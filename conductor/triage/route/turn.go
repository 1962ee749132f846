package route

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"muniment.dev/muniment/conductor/triage/execute"
)

// An incident with an error is advanced again after a second to maxBackoff. If
// the ledger has failed, it is after ledgerBackoff at most, because its entries
// are overdue.
const (
	maxBackoff    = 30 * time.Second
	ledgerBackoff = 4 * time.Second
)

// errSilent reports that an entry was not sent, because the ledger has let
// another one wait in the same round.
var errSilent = errors.New("the ledger has not answered in time")

// A turnLedger is a ledger that incidents wait for once in a round, unless they
// need it to act.
type turnLedger struct {
	execute.Ledger
	silent bool // it has let an entry of this round wait in vain
	needed bool // by the incident that is advanced
	failed bool // during its turn
}

// Record implements execute.Ledger.
func (l *turnLedger) Record(ctx context.Context, key string, payload []byte) (execute.Reference, error) {
	if l.silent && !l.needed {
		l.failed = true
		return execute.Reference{}, errSilent
	}
	at, err := l.Ledger.Record(ctx, key, payload)
	if err != nil && !errors.Is(err, execute.ErrTaken) {
		l.failed = true
		l.silent = l.silent || ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded)
	}
	return at, err
}

// A delay is that of an incident after errors.
type delay struct {
	until  time.Time
	errors int // in sequence
}

// order returns the active incidents of a round, those that act or are about to
// first, and without those that were delayed.
func (a *actor) order(ids []string) []string {
	if len(a.delays) > 0 {
		active := map[string]bool{}
		for _, id := range ids {
			active[id] = true
		}
		maps.DeleteFunc(a.delays, func(id string, _ delay) bool { return !active[id] })
	}
	now := a.now()
	ids = slices.DeleteFunc(ids, func(id string) bool { return now.Before(a.delays[id].until) })
	rank := func(id string) int {
		if p := a.known[id]; p == nil || p.state == execute.Open || p.state == execute.Acting {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(ids, func(x, y string) int { return cmp.Compare(rank(x), rank(y)) })
	return ids
}

// undelay ends the delays of incidents that persons have made requests about.
func (a *actor) undelay(asked []string) {
	for _, id := range asked {
		if id == execute.All {
			clear(a.delays)
		}
		delete(a.delays, id)
	}
}

// advance takes the turn of an incident, and delays the next one after an
// error.
func (a *actor) advance(ctx context.Context, id string) error {
	needed, err := a.needsLedger(id)
	if err == nil {
		a.ledger.needed, a.ledger.failed = needed, false
		_, err = a.exec.Advance(ctx, id)
		a.ledger.needed = false
	}
	if err == nil || errors.Is(err, execute.ErrWait) {
		delete(a.delays, id)
		return err
	}
	d := a.delays[id]
	longest := maxBackoff
	if a.ledger.failed {
		longest = ledgerBackoff
	}
	d.until = a.now().Add(min(time.Second<<min(d.errors, 5), longest))
	d.errors++
	a.delays[id] = d
	return err
}

// needsLedger reports whether an incident can have a step that is skipped, or
// that waits, if its intent is not recorded.
func (a *actor) needsLedger(id string) (bool, error) {
	i, err := a.exec.Store.Incident(id)
	if err != nil || i == nil {
		return false, err
	}
	if i.Adopted != "" {
		return true, nil
	}
	if i.State != execute.Open && i.State != execute.Waiting && i.State != execute.Acting {
		return false, nil
	}
	needs := func(p *execute.Planned) bool { return !a.exec.MayActAlone(p) }
	for n := range i.Planned[min(i.Next, len(i.Planned)):] {
		if needs(&i.Planned[i.Next+n]) {
			return true, nil
		}
	}
	return slices.ContainsFunc(i.Steps, func(s *execute.Step) bool { return s.Finished.IsZero() && s.Undoes == 0 && needs(&s.Planned) }), nil
}

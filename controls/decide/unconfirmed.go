package decide

import (
	"context"
	"errors"
	"slices"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/ledger"
)

// Unconfirmed returns the break-glass of a stream that another person must
// still confirm or reject, whether it has ended or not.
func (d *Decider) Unconfirmed(ctx context.Context, s *ledger.Stream) ([]*exception.Exception, error) {
	all, err := d.Exceptions.All(ctx, s)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(x *exception.Exception) bool { return !x.BreakGlass })
	if len(all) == 0 {
		return nil, nil
	}
	p := d.Log.Published()
	st, err := d.current(ctx, p, s)
	if err != nil {
		return nil, err
	}
	defer st.mu.Unlock()
	set, err := (&gatherer{Decider: d, stream: s, size: p.Size}).setInForce(ctx, st)
	if _, unreadable := errors.AsType[*unreadableError](err); err != nil && !unreadable {
		return nil, err
	}
	now := d.Now()
	return slices.DeleteFunc(all, func(x *exception.Exception) bool {
		status := x.At(now, limitsIn(set, x.Control))
		return !status.Unconfirmed
	}), nil
}

// limitsIn returns the limits of a control, or the usual ones if the set, which
// can be nil, does not have it.
func limitsIn(set *evaluate.Set, control string) exception.Limits {
	if set != nil {
		for _, c := range set.Controls {
			if c.ID == control {
				return c.Exceptions
			}
		}
	}
	return exception.DefaultLimits
}

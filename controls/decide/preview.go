package decide

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// A Preview asks what an exception changes.
type Preview struct {
	Exception *exception.Exception
	// Approval previews the approval of the exception, by as many persons as
	// its control requires. Otherwise it is the end of the exception.
	Approval  bool
	Approvers int
	Read      int // most recorded decisions to read; at least 1
	Limit     int // most decisions to make again; at least 1
}

// A Previewed is the newest recorded decision about an artifact, made again
// without and with a change.
type Previewed struct {
	*Recorded
	Before, After *evaluate.Decision
}

// Preview makes the recorded decisions again that an exception can change, as
// of now, before and after its change. It calls each with those, the newest
// first. It returns false if there are more than it may make or read. It
// records nothing, and the tenant takes turns with others.
func (d *Decider) Preview(ctx context.Context, tenant string, s *ledger.Stream, p *Preview, each func(*Previewed) error) (complete bool, err error) {
	before, err := d.gatherer(ctx, s, &Question{})
	if err != nil {
		return false, err
	}
	after := before.withChange(p)
	x := p.Exception
	read, decided, seen := 0, 0, map[[sha256.Size]byte]bool{}
	complete = true
	filter := ledger.Filter{Kind: kindname.GateDecision, Control: x.Control}
	failed := d.newestFirst(ctx, s, filter, before.size, pageEntries, func(e *ledger.Entry) bool {
		if read++; read > p.Read {
			complete = false
			return false
		}
		environment := e.Header.Attributes["environment"]
		if !slices.ContainsFunc(e.Header.Subjects, func(s entry.Subject) bool { return x.Covers(s, environment) }) {
			return true
		}
		var recorded *Recorded
		if recorded, err = d.readRecorded(ctx, e); err != nil {
			return false
		}
		if key := recorded.key(); seen[key] {
			return true
		} else {
			seen[key] = true
		}
		if decided++; decided > p.Limit {
			complete = false
			return false
		}
		var one *Previewed
		if one, err = preview(ctx, tenant, before, after, recorded); err != nil {
			err = fmt.Errorf("decision in entry %d: %w", e.Index, err)
			return false
		}
		err = each(one)
		return err == nil
	})
	if err == nil {
		err = failed
	}
	return complete, err
}

func preview(ctx context.Context, tenant string, before, after *gatherer, r *Recorded) (one *Previewed, err error) {
	one = &Previewed{Recorded: r}
	if one.Before, err = before.about(r.question()).decide(ctx, tenant, r.artifact()); err != nil {
		return nil, err
	}
	one.After, err = after.about(r.question()).decide(ctx, tenant, r.artifact())
	return one, err
}

// previewer is the person by whom previewed approvals are.
const previewer = "oidc:https://preview.invalid#approver-%d"

// withChange returns a gatherer of the state after a previewed change. The
// entries of the approvals are above the tree, so it is larger by them.
func (g *gatherer) withChange(p *Preview) *gatherer {
	out := g.asOf(g.size, g.at)
	out.shared.Exceptions = slices.DeleteFunc(slices.Clone(g.shared.Exceptions), func(x *exception.Exception) bool { return x.Index == p.Exception.Index })
	if !p.Approval {
		return out
	}
	out.size += uint64(p.Approvers) + 1
	out.shared.Size = out.size
	out.shared.Exceptions = append(out.shared.Exceptions, Approved(p.Exception, p.Approvers, g.size, g.at))
	return out
}

// Approved returns an exception as if persons had approved it in the entries
// above a size.
func Approved(x *exception.Exception, approvers int, size uint64, at time.Time) *exception.Exception {
	out := &exception.Exception{Request: x.Request, Decisions: slices.Clone(x.Decisions), KeyEvents: x.KeyEvents}
	for i := range approvers {
		out.Decisions = append(out.Decisions, exception.Decision{Index: size + 1 + uint64(i), Time: at, Exception: x.ID, Request: x.Index, Action: exception.Approve, By: fmt.Sprintf(previewer, i+1)})
	}
	return out
}

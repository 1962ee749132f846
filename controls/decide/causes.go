package decide

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
)

// A Change is what would have to be as it was for a control to hold.
type Change string

// The changes.
const (
	ControlSetChange Change = kindname.ControlSet
	KeyEventChange   Change = kindname.KeyEvent
	ExceptionChange  Change = "exception" // revoked, or expired
	EvidenceChange   Change = "evidence"  // new scans, VEX statements and findings
	TimeChange       Change = "time"      // evidence is too old, or something overdue
	ErasureChange    Change = "erasure"
	SeveralChanges   Change = "several"
)

// A Cause is why a control that held no longer does.
type Cause struct {
	Control string // "": the decision as a whole
	Change  Change
	Text    string
	Entries []uint64 // that made the change, increasing, at most 64
}

// A whyNot finds the causes of a pass that would no longer be one. The decision
// is a pure function, so a cause is an input that makes the control hold again
// if it alone is as it was.
type whyNot struct {
	*review
	gatherer *gatherer // of the question, now
	recorded *Recorded
	in       *evaluate.Input
	all      found
	now      *evaluate.Decision
}

// A rollback gives one input the state that it had at a size and time.
type rollback struct {
	change Change
	apply  func(in *evaluate.Input, size uint64, at time.Time)
}

var rollbacks = []rollback{
	{KeyEventChange, func(in *evaluate.Input, size uint64, _ time.Time) {
		in.KeyEvents = slices.DeleteFunc(slices.Clone(in.KeyEvents), func(k evaluate.KeyEvent) bool { return k.Index >= size })
	}},
	{ExceptionChange, func(in *evaluate.Input, size uint64, _ time.Time) {
		var earlier []*exception.Exception
		for _, x := range in.Exceptions {
			if x.Index < size {
				earlier = append(earlier, x.Below(size))
			}
		}
		in.Exceptions = earlier
	}},
	{EvidenceChange, func(in *evaluate.Input, size uint64, _ time.Time) {
		in.Evidence, in.Findings = below(in.Evidence, size), below(in.Findings, size)
	}},
	{TimeChange, func(in *evaluate.Input, _ uint64, at time.Time) { in.Time = at }},
}

func below(all []evaluate.Evidence, size uint64) []evaluate.Evidence {
	return slices.DeleteFunc(slices.Clone(all), func(e evaluate.Evidence) bool { return e.Index >= size })
}

// causes returns the cause of each failing result, or of the decision if there
// is none.
func (w *whyNot) causes(ctx context.Context) ([]Cause, error) {
	var open []string
	for _, r := range first(failing(w.now)) {
		open = append(open, r.Control)
	}
	if len(open) == 0 {
		open = []string{""}
	}
	found := map[string]Cause{}
	try := func(change Change, g *gatherer, in *evaluate.Input, all map[uint64]*ledger.Entry) error {
		if g == nil || len(found) == len(open) {
			return nil
		}
		d, err := g.decideFrom(ctx, w.tenant, in, all)
		if err != nil {
			return err
		}
		for _, control := range open {
			if _, known := found[control]; !known && holds(d, control) {
				found[control] = w.cause(change, control, d)
			}
		}
		return nil
	}
	size, at := w.recorded.Decision.GetTreeSize(), w.recorded.Decision.Decided.AsTime()
	before, err := w.withSet(ctx, size)
	if err != nil {
		return nil, err
	}
	old, oldAll := (*evaluate.Input)(nil), w.all
	if before != nil {
		before = before.about(w.recorded.question())
		if old, oldAll, err = before.input(ctx, w.recorded.artifact()); err != nil {
			return nil, err
		}
		if old.Set.Digest != w.now.ControlSet {
			if err := try(ControlSetChange, before, copyOf(old), oldAll); err != nil {
				return nil, err
			}
		}
	}
	for _, b := range rollbacks {
		in := copyOf(w.in)
		b.apply(in, size, at)
		if err := try(b.change, w.gatherer, in, w.all); err != nil {
			return nil, err
		}
	}
	if old != nil {
		in := copyOf(old)
		for _, b := range rollbacks {
			b.apply(in, size, at)
		}
		if err := try(SeveralChanges, before, in, oldAll); err != nil {
			return nil, err
		}
	}
	all := make([]Cause, len(open))
	for i, control := range open {
		c, ok := found[control]
		if !ok {
			c = Cause{Control: control, Change: ErasureChange, Text: "what it rested on was erased"}
		}
		all[i] = c
	}
	return all, nil
}

// holds reports whether a decision does not fail because of a control.
func holds(d *evaluate.Decision, control string) bool {
	if control == "" || d.Reason != "" {
		return d.Decision == evaluate.Pass
	}
	return !slices.ContainsFunc(failing(d), func(r *evaluate.Result) bool { return r.Control == control })
}

// cause describes a change that a decision made without it has revealed.
func (w *whyNot) cause(change Change, control string, without *evaluate.Decision) Cause {
	c := Cause{Control: control, Change: change}
	size := w.recorded.Decision.GetTreeSize()
	var held evaluate.Result
	if i := slices.IndexFunc(without.Results, func(r evaluate.Result) bool { return r.Control == control }); i >= 0 {
		held = without.Results[i]
	}
	switch change {
	case ControlSetChange:
		c.Text = "another control set is in force"
		if w.newest != nil {
			c.Entries = []uint64{w.newest.Index}
		}
	case KeyEventChange:
		c.Text, c.Entries = w.keyEvents(size, &held)
	case EvidenceChange:
		c.Text, c.Entries = w.newEvidence(size)
	case ExceptionChange, TimeChange:
		c.Change, c.Text = TimeChange, "evidence is too old, or something is overdue"
		if len(held.Exceptions) > 0 {
			c.Change = ExceptionChange
			c.Text, c.Entries = w.exceptions(size, &held)
		}
	case SeveralChanges:
		c.Text = "several of control set, evidence, exceptions, keys and time have changed, and none of them alone is the cause"
	}
	c.Entries = newestIndexes(c.Entries)
	return c
}

// newestIndexes returns the newest of the indexes, increasing.
func newestIndexes(all []uint64) []uint64 {
	slices.Sort(all)
	all = slices.Compact(all)
	return all[max(0, len(all)-maxListed):]
}

// keyEvents describes the new events of the keys that have signed what a result
// rested on.
func (w *whyNot) keyEvents(size uint64, held *evaluate.Result) (text string, entries []uint64) {
	var words []string
	for _, k := range w.in.KeyEvents {
		if k.Index < size || !w.signed(&k, held) {
			continue
		}
		entries = append(entries, k.Index)
		words = append(words, fmt.Sprintf("%s %s from %s", cmp.Or(k.KeyID, k.Identity), k.Event, k.From.Format(time.RFC3339)))
	}
	return strings.Join(shortest(words), ", "), entries
}

func (w *whyNot) signed(k *evaluate.KeyEvent, held *evaluate.Result) bool {
	for _, index := range held.Entries {
		e := w.all[index]
		if e == nil || e.Header == nil {
			continue
		}
		for i := range e.Header.Signers {
			if k.Excludes(&e.Header.Signers[i], timeOf(e)) {
				return true
			}
		}
	}
	return false
}

// newEvidence describes the evidence about the artifact that is new.
func (w *whyNot) newEvidence(size uint64) (text string, entries []uint64) {
	var words []string
	for _, all := range [][]evaluate.Evidence{w.in.Evidence, w.in.Findings} {
		for i := range all {
			e := &all[i]
			if e.Index < size || e.Header == nil {
				continue
			}
			what := e.Header.Kind
			if e.Header.PredicateType != "" {
				what = e.Header.PredicateType
			}
			entries = append(entries, e.Index)
			words = append(words, fmt.Sprintf("%s (entry %d)", what, e.Index))
		}
	}
	return strings.Join(shortest(words), ", ") + " is new", entries
}

// exceptions describes what has ended the exceptions that a result rested on.
func (w *whyNot) exceptions(size uint64, held *evaluate.Result) (text string, entries []uint64) {
	var words []string
	for _, used := range held.Exceptions {
		i := slices.IndexFunc(w.in.Exceptions, func(x *exception.Exception) bool { return x.Index == used.Index })
		if i < 0 {
			continue
		}
		x := w.in.Exceptions[i]
		entries = append(entries, x.Index)
		for _, d := range x.Decisions {
			if d.Index >= size {
				entries = append(entries, d.Index)
			}
		}
		if j := slices.IndexFunc(x.Decisions, func(d exception.Decision) bool {
			return d.Index >= size && (d.Action == exception.Revoke || d.Action == exception.Reject)
		}); j >= 0 {
			words = append(words, fmt.Sprintf("%s was ended by entry %d (%s)", x.ID, x.Decisions[j].Index, x.Decisions[j].Action))
		} else {
			words = append(words, fmt.Sprintf("%s expired at %s", x.ID, used.Expires.Format(time.RFC3339)))
		}
	}
	return strings.Join(shortest(words), ", "), entries
}

// maxWords is the number of items that the text of a cause lists.
const maxWords = 8

func shortest(words []string) []string {
	if more := len(words) - maxWords; more > 0 {
		return append(words[:maxWords:maxWords], fmt.Sprintf("%d more", more))
	}
	return words
}

func isUnreadable(err error) bool {
	var unreadable *unreadableError
	return errors.As(err, &unreadable)
}

package decide

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// A Resolution claims that entries show a finding to be resolved.
type Resolution struct {
	Finding  string // ID
	Subjects []entry.Subject
	Controls []string
	Evidence []uint64 // indexes of the linked entries
}

// An UnresolvedError reports that the evidence of a resolution is not accepted.
type UnresolvedError struct {
	Path   string // the member of the finding
	Reason string
}

func (e *UnresolvedError) Error() string { return e.Path + ": " + e.Reason }

func unresolved(path, format string, args ...any) error {
	return &UnresolvedError{path, fmt.Sprintf(format, args...)}
}

// maxTrials is the largest number of artifacts for which one resolution is
// checked.
const maxTrials = 64

// A resolver examines the evidence of a resolution.
type resolver struct {
	*gatherer
	*Resolution
	tenant string
	linked []*ledger.Entry
	trials int
}

// Resolve examines the evidence of a resolution, as docs/spec/controls.md,
// section 5, specifies. It returns the controls that accept it. The error is an
// *UnresolvedError if none does.
func (d *Decider) Resolve(ctx context.Context, tenant string, s *ledger.Stream, of *Resolution) (accepted []string, err error) {
	g, err := d.gatherer(ctx, s, &Question{})
	if err != nil {
		return nil, err
	}
	r := &resolver{gatherer: g, Resolution: of, tenant: tenant}
	g.shared.Resolves = &evaluate.FindingKey{ID: strings.ToUpper(of.Finding), Subjects: len(of.Subjects) > 0}
	if err := r.readLinked(ctx); err != nil {
		return nil, err
	}
	if len(of.Controls) == 0 {
		return nil, r.aboutArtifacts()
	}
	var reasons []string
	for _, id := range of.Controls {
		c, reason := r.control(id)
		if c != nil {
			if reason, err = r.refuses(ctx, c); err != nil {
				return nil, err
			}
		}
		if reason == "" {
			accepted = append(accepted, id)
		} else {
			reasons = append(reasons, fmt.Sprintf("control %s: %s", id, reason))
		}
	}
	if len(accepted) == 0 {
		return nil, unresolved("evidence", "no control of the finding accepts it: %s", strings.Join(reasons, "; "))
	}
	return accepted, nil
}

// readLinked reads the linked entries.
func (r *resolver) readLinked(ctx context.Context) error {
	for i, index := range r.Evidence {
		path := fmt.Sprintf("evidence[%d]", i)
		if index >= r.size {
			return unresolved(path, "the log has no entry %d yet: append the evidence first", index)
		}
		e, err := r.Log.Entry(ctx, r.stream, index)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			return unresolved(path, "entry %d is not an entry of this tenant: find the evidence with 'muniment list'", index)
		case err != nil:
			return err
		case e.Header == nil:
			return unresolved(path, "entry %d is erased: link other evidence", index)
		}
		r.linked = append(r.linked, e)
	}
	return nil
}

// aboutArtifacts returns an error unless each linked entry counts and is about
// an artifact of the finding.
func (r *resolver) aboutArtifacts() error {
	for i, e := range r.linked {
		path := fmt.Sprintf("evidence[%d]", i)
		if !evaluate.Counts(e.Header) {
			return unresolved(path, "entry %d does not count, because it was not admitted, its signatures are wrong, or it is a decision of a gate without the log", e.Index)
		}
		if !slices.ContainsFunc(r.Subjects, func(of entry.Subject) bool { return evaluate.About(e.Header, of.Digest) }) {
			return unresolved(path, "entry %d is not about an artifact of the finding, which names no control", e.Index)
		}
	}
	return nil
}

// control returns a control of the set in force, or the reason why there is
// none.
func (r *resolver) control(id string) (c *evaluate.Control, reason string) {
	switch set := r.shared.Set; {
	case r.shared.Unreadable != nil:
		return nil, "the control set in force cannot be read: apply it again with 'muniment control apply'"
	case set == nil:
		return nil, "no control set is in force: apply one with 'muniment control apply'"
	default:
		i := slices.IndexFunc(set.Controls, func(c *evaluate.Control) bool { return c.ID == id })
		if i < 0 {
			return nil, "it is not in the control set in force: apply it with 'muniment control apply', or set the finding's controls with --control"
		}
		return set.Controls[i], ""
	}
}

// refuses returns why a control does not accept the evidence, or "".
func (r *resolver) refuses(ctx context.Context, c *evaluate.Control) (string, error) {
	if len(r.Subjects) > 0 {
		return r.refusesFor(ctx, c, r.Subjects, r.linked)
	}
	var bare []*ledger.Entry // without subjects
	for _, e := range r.linked {
		if len(e.Header.Subjects) == 0 {
			bare = append(bare, e)
			continue
		}
		reason := ""
		for _, s := range e.Header.Subjects { // one of them is enough
			var err error
			if reason, err = r.refusesFor(ctx, c, []entry.Subject{s}, []*ledger.Entry{e}); err != nil {
				return "", err
			}
			if reason == "" {
				break
			}
		}
		if reason != "" {
			return reason, nil
		}
	}
	if len(bare) == 0 {
		return "", nil
	}
	in := r.shared
	in.Linked = true
	found := found{}
	for _, e := range bare {
		in.Evidence = append(in.Evidence, evaluate.Evidence{Index: e.Index, Time: timeOf(e), Header: e.Header})
		found[e.Index] = e
	}
	in.Evidence = uniqueEvidence(in.Evidence)
	result, err := r.try(ctx, c, &in, found)
	if err != nil || result.Result != evaluate.Satisfied {
		return because(result), err
	}
	return unselected(bare, result.Selected), nil
}

// refusesFor returns why a control does not accept the linked entries as
// evidence about artifacts, or "". It must be satisfied for all of them.
func (r *resolver) refusesFor(ctx context.Context, c *evaluate.Control, subjects []entry.Subject, linked []*ledger.Entry) (string, error) {
	selected := map[uint64]bool{}
	for _, s := range subjects {
		a := &Artifact{Subject: evaluate.Subject{Name: s.Name, Digest: s.Digest}}
		in, all, err := r.input(ctx, a)
		if err != nil {
			return "", err
		}
		result, err := r.try(ctx, c, in, all)
		if err != nil {
			return "", err
		}
		if result.Result != evaluate.Satisfied {
			return because(result) + " (" + nameOf(&s) + ")", nil
		}
		for index := range result.Selected {
			selected[index] = true
		}
	}
	return unselected(linked, selected), nil
}

// nameOf returns a name or digest of an artifact, for people.
func nameOf(s *entry.Subject) string {
	if s.Name != "" {
		return s.Name
	}
	var all []string
	for alg, value := range s.Digest {
		all = append(all, entry.CanonicalDigest(alg, value).String())
	}
	return slices.Min(all)
}

// unselected returns a text about the first linked entry that is not selected,
// or "".
func unselected(linked []*ledger.Entry, selected map[uint64]bool) string {
	for _, e := range linked {
		if !selected[e.Index] {
			return fmt.Sprintf("no requirement selects entry %d: link evidence that it names", e.Index)
		}
	}
	return ""
}

// because returns a text about a check that is not satisfied.
func because(r *evaluate.TrialResult) string {
	switch {
	case r == nil:
		return ""
	case len(r.Missing) > 0:
		return strings.Join(r.Missing[:min(len(r.Missing), 3)], ", ")
	}
	return r.Reason
}

// try checks a control for one input.
func (r *resolver) try(ctx context.Context, c *evaluate.Control, in *evaluate.Input, all found) (*evaluate.TrialResult, error) {
	if r.trials++; r.trials > maxTrials {
		return nil, unresolved("evidence", "it is about more than %d artifacts: link evidence about fewer", maxTrials)
	}
	in.Subject.Type = artifact.File
	if len(c.Types) == 1 {
		in.Subject.Type = c.Types[0]
	}
	in.Stage = c.Modes[0].Stage
	m := condition.NewMeter(ctx, condition.DecisionCost)
	m.TakeTurns(r.tenant)
	defer m.End()
	t := evaluate.PrepareTrial(m, in, c)
	if err := r.addAllFacts(ctx, t.Reads(), all); err != nil {
		return nil, err
	}
	return t.Result()
}

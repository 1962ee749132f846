package decide

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/keyevent"
	"muniment.dev/muniment/internal/glob"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

const (
	// MaxExplained is the number of artifacts whose decisions a call explains.
	MaxExplained = 100
	// maxFound is the number of entries that an explanation lists for one
	// requirement.
	maxFound = 8
	// maxAbout is the number of entries about an artifact in which an
	// explanation looks for those that do not count.
	maxAbout = 64
)

// Explain adds the reasons for each result to decisions. results has those of
// each decision. The reasons are for people: the decision does not depend on
// them.
func (d *Decider) Explain(ctx context.Context, s *ledger.Stream, decisions []*munimentv1.SubjectDecision, results [][]evaluate.Result) error {
	in, err := d.InForce(ctx, s)
	var all []*munimentv1.Control
	if err == nil {
		all, err = in.Messages()
	}
	if errors.Is(err, ErrNoSet) || errors.Is(err, ErrUnreadableSet) {
		return nil // the decision's reason is all there is
	}
	if err != nil {
		return err
	}
	controls := map[string]*munimentv1.Control{}
	for _, m := range all {
		controls[m.Id] = m
	}
	exceptions, err := d.Exceptions.All(ctx, s)
	if err != nil {
		return err
	}
	events, err := d.keyEvents(ctx, s)
	if err != nil {
		return err
	}
	for i, one := range decisions {
		if one.Decision.ControlSet != in.Digest {
			continue // about the past, with controls that were replaced
		}
		about, err := d.about(ctx, s, one.Decision)
		if err != nil {
			return err
		}
		for k, r := range one.Decision.Results {
			m := controls[r.Control]
			if m == nil {
				continue
			}
			e := &munimentv1.Explanation{Control: m.Id, Title: m.Title, Severity: m.Severity, Owner: m.Owner, Condition: m.GetCheck().GetCondition()}
			for _, q := range m.GetCheck().GetRequire() {
				e.Requirements = append(e.Requirements, explainRequirement(q, requirementOutcome(results[i][k].Requirements, q.Name), about, events, one.Decision))
			}
			e.Exceptions = explainExceptions(r, exceptions, exception.LimitsOf(m.Exceptions), one.Decision.Decided.AsTime())
			one.Explanations = append(one.Explanations, e)
		}
	}
	return nil
}

// about returns the newest entries about the artifacts of a decision, newest
// first.
func (d *Decider) about(ctx context.Context, s *ledger.Stream, m *munimentv1.GateDecision) ([]*ledger.Entry, error) {
	found := map[uint64]*ledger.Entry{}
	for _, subject := range m.Subjects {
		for alg, value := range subject.Digest {
			page, err := d.Log.List(ctx, s, ledger.Query{Filter: ledger.Filter{Subject: entry.CanonicalDigest(alg, value).String()}, Limit: maxAbout, Below: m.GetTreeSize()})
			if err != nil {
				return nil, err
			}
			for i := range page.Entries {
				e := &page.Entries[i]
				if e.Header != nil && e.Header.Kind != kindname.GateDecision {
					found[e.Index] = e
				}
			}
		}
	}
	all := make([]*ledger.Entry, 0, len(found))
	for _, e := range found {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *ledger.Entry) int { return int(b.Index) - int(a.Index) })
	return all, nil
}

// requirementOutcome returns the outcome of a requirement. Without one, because
// the control does not apply or was not evaluated completely, nothing is
// missing.
func requirementOutcome(all []evaluate.RequirementOutcome, name string) evaluate.RequirementOutcome {
	i := slices.IndexFunc(all, func(o evaluate.RequirementOutcome) bool { return o.Name == name })
	if i < 0 {
		return evaluate.RequirementOutcome{Name: name, Met: true}
	}
	return all[i]
}

// explainRequirement divides the entries that fit a requirement by kind and
// predicate type into those that it selects and the others.
func explainRequirement(q *munimentv1.Requirement, o evaluate.RequirementOutcome, about []*ledger.Entry, events []keyevent.Event, decision *munimentv1.GateDecision) *munimentv1.RequirementExplanation {
	out := &munimentv1.RequirementExplanation{Name: q.Name, Needs: needs(q), Met: o.Met}
	for _, e := range about {
		if !fits(q, e.Header) {
			continue
		}
		f := &munimentv1.FoundEvidence{Index: e.Index, Time: timestamppb.New(time.UnixMilli(int64(e.Skeleton.Time))), Kind: e.Header.Kind, PredicateType: e.Header.PredicateType, Signers: parties(e.Header)}
		switch {
		case slices.Contains(o.Entries, e.Index):
			if len(out.Found) < maxFound {
				out.Found = append(out.Found, f)
			}
		case len(out.Ignored) < maxFound:
			f.Why = whyIgnored(q, e, events, decision)
			out.Ignored = append(out.Ignored, f)
		}
	}
	return out
}

// fits reports whether a requirement could select an entry by its kind and
// predicate type.
func fits(q *munimentv1.Requirement, h *entry.Header) bool {
	kinds := q.Kinds
	if len(kinds) == 0 {
		kinds = []string{kindname.Attestation}
	}
	if !slices.Contains(kinds, h.Kind) {
		return false
	}
	return len(q.PredicateTypes) == 0 || slices.ContainsFunc(q.PredicateTypes, func(g string) bool { return glob.Match(g, h.PredicateType) })
}

// whyIgnored returns the most likely reason why an entry does not count.
func whyIgnored(q *munimentv1.Requirement, e *ledger.Entry, events []keyevent.Event, decision *munimentv1.GateDecision) string {
	h := e.Header
	age := decision.Decided.AsTime().Sub(time.UnixMilli(int64(e.Skeleton.Time)))
	switch {
	case h.NotAdmitted():
		return "the admission policy did not admit it"
	case h.Verification.Result == entry.Failed:
		return "its signature is wrong"
	case q.GetMaxAgeSeconds() > 0 && age > time.Duration(q.GetMaxAgeSeconds())*time.Second:
		return "it is too old"
	case !q.Unsigned && h.Verification.Result != entry.Verified && len(h.Signers) > 0:
		return "its signature was not verified: add the key or trusted root to the admission policy, and append it again"
	case !q.Unsigned && len(h.Signers) == 0:
		return "it is not signed by a listed signer"
	}
	if k := ended(e, events, decision.GetTreeSize()); k != nil && !q.Unsigned {
		return fmt.Sprintf("its signer is %s from %s on (entry %d)", k.Event, k.From.Format(time.RFC3339), k.Index)
	}
	if !q.Unsigned {
		return "its signer is not listed: add its key or identity to the signers of the control set, if it is to count"
	}
	return "it does not count for this artifact"
}

// ended returns the event by which a signer of an entry does not count in a
// tree of the size, or nil.
func ended(e *ledger.Entry, events []keyevent.Event, size uint64) *keyevent.Event {
	at := time.UnixMilli(int64(e.Skeleton.Time))
	for i := range events {
		k := &events[i]
		if k.Index < size && slices.ContainsFunc(e.Header.Signers, func(s entry.Signer) bool { return k.Excludes(&s, at) }) {
			return k
		}
	}
	return nil
}

// parties returns the signers of an entry, or its submitter.
func parties(h *entry.Header) (all []string) {
	for _, s := range h.Signers {
		if text := s.Name(); text != "" {
			all = append(all, text)
		}
	}
	if len(all) == 0 {
		all = []string{h.Submitter}
	}
	return all
}

// needs describes a requirement in a sentence.
func needs(q *munimentv1.Requirement) string {
	what := "an attestation"
	switch {
	case len(q.PredicateTypes) > 0:
		what = "a statement of type " + strings.Join(q.PredicateTypes, " or ")
	case len(q.Kinds) > 0:
		what = "an entry of kind " + strings.Join(q.Kinds, " or ")
	}
	if q.Unsigned {
		what += ", signed or not"
	} else {
		what += " by " + strings.Join(q.Signers, " or ")
	}
	if n := q.GetMinSigners(); n > 1 {
		what += fmt.Sprintf(", from %d different signers", n)
	}
	if s := q.GetMaxAgeSeconds(); s > 0 {
		what += fmt.Sprintf(", not older than %s", time.Duration(s)*time.Second)
	}
	if q.Optional {
		what += " (optional)"
	}
	return what
}

func explainExceptions(r *munimentv1.ControlResult, all []*exception.Exception, l exception.Limits, decided time.Time) (used []*munimentv1.UsedException) {
	for _, id := range r.Exceptions {
		i := slices.IndexFunc(all, func(x *exception.Exception) bool { return x.ID == id && x.Control == r.Control })
		if i < 0 {
			continue
		}
		s := all[i].At(decided, l)
		used = append(used, &munimentv1.UsedException{Id: id, Index: all[i].Index, Expires: timestamppb.New(s.Expires), Requester: all[i].Requester, Approvers: s.Approvers, Unconfirmed: s.Unconfirmed})
	}
	return used
}

package decide

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/controls/evaluate"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// maxListed is the largest number of missing lines, and of exceptions, of a
// result in an entry.
const maxListed = 64

// Message returns a decision as an entry of kind gate-decision contains it.
func Message(d *evaluate.Decision, q *Question, a *Artifact) *munimentv1.GateDecision {
	m := &munimentv1.GateDecision{
		Stage: q.Stage, Environment: q.Environment, Decision: string(d.Decision), Type: a.Type, Reason: d.Reason,
		Subjects:   []*munimentv1.Artifact{{Name: a.Name, Digest: a.Digest}},
		Decided:    timestamppb.New(d.Decided),
		TreeSize:   &d.Size,
		Inputs:     d.Inputs,
		ControlSet: d.ControlSet,
		ValidUntil: timestamppb.New(d.ValidUntil),
	}
	for _, p := range a.Parts {
		m.Subjects = append(m.Subjects, &munimentv1.Artifact{Name: p.Name, Digest: p.Digest})
	}
	for i := range d.Results {
		m.Results = append(m.Results, resultMessage(&d.Results[i]))
	}
	return m
}

func resultMessage(r *evaluate.Result) *munimentv1.ControlResult {
	m := &munimentv1.ControlResult{Control: r.Control, Mode: string(r.Mode), Result: r.Result, Reason: r.Reason, Missing: first(r.Missing), Entries: r.Entries}
	for _, x := range first(r.Exceptions) {
		m.Exceptions = append(m.Exceptions, x.ID)
	}
	return m
}

func first[T any](all []T) []T { return all[:min(len(all), maxListed)] }

// SameOutcome reports whether two decisions are the same, apart from their
// times and the texts for people.
func SameOutcome(a, b *munimentv1.GateDecision) bool { return proto.Equal(outcomeOf(a), outcomeOf(b)) }

func outcomeOf(m *munimentv1.GateDecision) *munimentv1.GateDecision {
	m = withCodes(m)
	m.Decided, m.ValidUntil, m.TreeSize, m.Attestations = nil, nil, nil, nil
	m.Offline, m.Spooled, m.Gate, m.Caller = false, "", "", ""
	return m
}

func codeOfReason(reason string) string {
	r := evaluate.Result{Reason: reason}
	return r.Code()
}

// ArtifactOf returns the artifact that a message describes.
func ArtifactOf(m *munimentv1.GateSubject) Artifact {
	a := Artifact{Subject: evaluate.Subject{Type: m.Type, Name: m.Artifact.GetName(), Digest: m.Artifact.GetDigest()}}
	for _, p := range m.Parts {
		a.Parts = append(a.Parts, evaluate.Part{Name: p.Platform, Digest: p.Digest})
	}
	return a
}

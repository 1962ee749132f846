package decide

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/fieldrules"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/sniff"
)

// SpooledType is the type of decisions in a spool.
const SpooledType = "https://muniment.dev/spool/gate-decision/v1"

// The gates that decide without the log.
const (
	GateBundle    = "bundle"
	GateDelta     = "delta"
	GateReplica   = "replica"
	GateAdmission = "admission" // a cluster's, which asks a replica
)

// SpooledDocument returns the document of a spool with a decision of an offline
// gate, which docs/spec/decision.md, section 10, specifies.
func SpooledDocument(log, tenant, gate, caller string, s *munimentv1.GateSubject, m *munimentv1.GateDecision) ([]byte, error) {
	brief := withCodes(m)
	brief.Attestations = nil
	loose, err := protojson.Marshal(&munimentv1.SpooledDecision{Type: SpooledType, Log: log, Tenant: tenant, Gate: gate, Caller: caller, Subject: s, Decision: brief})
	if err != nil {
		return nil, fmt.Errorf("encode the decision for the spool: %w", err)
	}
	var document bytes.Buffer
	// The white space in protojson's output differs between builds.
	err = json.Compact(&document, loose)
	return document.Bytes(), err
}

// ReadSpooled reads a document of a spool that SpooledDocument has made. It has
// not been verified.
func ReadSpooled(document []byte) (*munimentv1.SpooledDecision, error) {
	if err := sniff.JSON(document); err != nil {
		return nil, err
	}
	m := &munimentv1.SpooledDecision{}
	if err := protojson.Unmarshal(document, m); err != nil {
		return nil, plain.DecodeError(err)
	}
	if err := fieldrules.Validate(m); err != nil {
		return nil, err
	}
	if m.Decision.GetTreeSize() == 0 {
		return nil, errors.New("decision.treeSize: must be at least 1")
	}
	if len(m.Subject.Artifact.GetDigest()) != 1 {
		return nil, errors.New("subject.artifact.digest: must have one digest")
	}
	for i, p := range m.Subject.Parts {
		if len(p.Digest) != 1 {
			return nil, fmt.Errorf("subject.parts[%d].digest: must have one digest", i)
		}
	}
	return m, nil
}

// Again makes the decision again that an offline gate has spooled. Errors:
// ErrNotYet, ErrTooEarly.
func (d *Decider) Again(ctx context.Context, tenant string, s *ledger.Stream, spooled *munimentv1.SpooledDecision) (again *munimentv1.GateDecision, err error) {
	was := spooled.Decision
	q := &Question{Stage: was.Stage, Environment: was.Environment, At: Moment{Size: was.GetTreeSize(), Time: was.Decided.AsTime()}}
	a := ArtifactOf(spooled.Subject)
	err = d.Decide(ctx, tenant, s, q, []Artifact{a}, func(_ int, made *evaluate.Decision) error {
		again = Message(made, q, &a)
		return nil
	})
	return again, err
}

// withCodes returns a decision without the texts for people.
func withCodes(m *munimentv1.GateDecision) *munimentv1.GateDecision {
	m = proto.CloneOf(m)
	m.Reason = codeOfReason(m.Reason)
	for _, r := range m.Results {
		r.Reason, r.Missing = codeOfReason(r.Reason), nil
	}
	return m
}

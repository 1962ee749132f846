package rpc

import (
	"context"
	"slices"

	"muniment.dev/muniment/controls/attest"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// deployments are the stages at which a pass allows a deployment.
var deployments = []string{"deploy", "cutover"}

// maxAttestation is the size limit of an attestation in bytes. A larger one is
// not published.
const maxAttestation = 256 << 10

// publish adds the signed attestations of a pass that is about to be recorded.
// There are none for a pass that rests on an exception.
func (c *gateCall) publish(ctx context.Context, m *munimentv1.GateDecision, a *decide.Artifact) error {
	if c.Key == nil || m.Decision != string(evaluate.Pass) {
		return nil
	}
	p := &attest.Pass{
		Origin: c.Ledger.Origin(), Type: m.Type, Stage: m.Stage, Environment: m.Environment, ControlSet: m.ControlSet, Decided: m.Decided.AsTime(),
		Deploys: slices.Contains(deployments, m.Stage),
	}
	subjects := m.Subjects
	if len(a.Parts) > 0 {
		alone, err := c.passesAlone(ctx, a)
		if err != nil {
			return err
		}
		if !alone {
			subjects = subjects[1:]
		}
	}
	for _, s := range subjects {
		p.Subjects = append(p.Subjects, entry.Subject{Name: s.Name, Digest: s.Digest})
	}
	p.Subjects[0].Name = m.Subjects[0].Name // of which the resource URI consists
	for _, r := range m.Results {
		switch {
		case len(r.Exceptions) > 0 || r.Result == evaluate.Excepted:
			return nil
		case r.Result == evaluate.Satisfied:
			p.Satisfied = append(p.Satisfied, r.Control)
		}
	}
	statements, err := attest.Statements(p)
	if err != nil {
		return err
	}
	for _, s := range statements {
		b, err := c.Key.Bundle(s)
		if err != nil {
			return err
		}
		if len(b) <= maxAttestation {
			m.Attestations = append(m.Attestations, string(b))
		}
	}
	return nil
}

// passesAlone reports whether an artifact passes without its parts. They are
// its parts by the caller's word only, so that what holds for them proves
// nothing about the artifact.
func (c *gateCall) passesAlone(ctx context.Context, a *decide.Artifact) (passes bool, err error) {
	alone := []decide.Artifact{{Subject: a.Subject}}
	err = c.Decider.Decide(ctx, c.id.Tenant.Name, c.id.Tenant.Stream, &c.question, alone, func(_ int, d *evaluate.Decision) error {
		passes = d.Decision == evaluate.Pass && !slices.ContainsFunc(d.Results, func(r evaluate.Result) bool { return len(r.Exceptions) > 0 })
		return nil
	})
	return passes, err
}

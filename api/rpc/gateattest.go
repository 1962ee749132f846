package rpc

import (
	"slices"

	"muniment.dev/muniment/controls/attest"
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
func (c *gateCall) publish(m *munimentv1.GateDecision) error {
	if c.Key == nil || m.Decision != "pass" {
		return nil
	}
	p := &attest.Pass{
		Origin: c.Ledger.Origin(), Type: m.Type, Stage: m.Stage, Environment: m.Environment, ControlSet: m.ControlSet, Decided: m.Decided.AsTime(),
		Deploys: slices.Contains(deployments, m.Stage),
	}
	for _, s := range m.Subjects {
		p.Subjects = append(p.Subjects, entry.Subject{Name: s.Name, Digest: s.Digest})
	}
	for _, r := range m.Results {
		switch {
		case len(r.Exceptions) > 0 || r.Result == "excepted":
			return nil
		case r.Result == "satisfied":
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

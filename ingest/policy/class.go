package policy

import "muniment.dev/muniment/ledger/entry"

// Results are the results of decisions.
var Results = []string{entry.Admitted, entry.Recorded, Refused}

// Classes of reasons for a decision. Unlike reasons, they form a short fixed
// list and reveal nothing about the policy or the evidence.
const (
	ByRule       = "rule"        // a rule admits the evidence
	ByDenyRule   = "deny_rule"   // a rule denies it
	BySignatures = "signatures"  // a rule would admit the evidence, but its signatures are invalid
	ByConditions = "conditions"  // the evidence does not meet the requirements of its rules
	ByNoRule     = "no_rule"     // no rule matches the evidence
	ByInterrupt  = "interrupted" // the decision was not completed
)

// Classes lists all classes.
var Classes = []string{ByRule, ByDenyRule, BySignatures, ByConditions, ByNoRule, ByInterrupt}

// Class returns the class of the decision's reason.
func (d *Decision) Class() string {
	switch {
	case d.interrupted:
		return ByInterrupt
	case d.Result == entry.Admitted:
		return ByRule
	case d.Rule != "":
		return ByDenyRule
	}
	class := ByNoRule
	for _, s := range d.Steps {
		switch s.Result {
		case SignatureFailed:
			return BySignatures
		case NotMet:
			class = ByConditions
		}
	}
	return class
}

package policy

import (
	"slices"
	"testing"

	"muniment.dev/muniment/ledger/entry"
)

func TestClass(t *testing.T) {
	for want, d := range map[string]*Decision{
		ByRule:       {Result: entry.Admitted, Rule: "releases", Steps: []Step{{Result: NotMet}, {Result: Applies}}},
		ByDenyRule:   {Result: entry.Recorded, Rule: "no-drafts"},
		BySignatures: {Result: Refused, Steps: []Step{{Result: NotMet}, {Result: SignatureFailed}}},
		ByConditions: {Result: entry.Recorded, Steps: []Step{{Result: NotApplicable}, {Result: NotMet}}},
		ByNoRule:     {Result: Refused, Steps: []Step{{Result: NotApplicable}}},
		ByInterrupt:  {Result: Refused, interrupted: true, Steps: []Step{{Result: NotMet}}},
	} {
		if got := d.Class(); got != want || !slices.Contains(Classes, got) || !slices.Contains(Results, d.Result) {
			t.Errorf("%+v: class %s, want %s", d, got, want)
		}
	}
}

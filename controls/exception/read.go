package exception

import (
	"fmt"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// LimitsOf returns the limits of a control with these rules, which can be nil.
func LimitsOf(rules *munimentv1.ExceptionRules) Limits {
	l := DefaultLimits
	if rules == nil {
		return l
	}
	if rules.MaxDays != nil {
		l.MaxDays = int(*rules.MaxDays)
	}
	if rules.Approvers != nil {
		l.Approvers = int(*rules.Approvers)
	}
	l.Wildcard = rules.Wildcard
	return l
}

// Read returns the exceptions that entries of a stream describe, in the order
// of their requests. The entries are all of the stream's requests, decisions
// and erasures, in any order of kinds, each kind in the order of the stream.
func Read(entries []*ledger.Entry) ([]*Exception, error) {
	st := &stream{byID: map[string]*request{}, decisionAbout: map[uint64]*request{}}
	visits := map[string]func(*ledger.Entry) error{
		kindname.ExceptionRequest: st.addRequest, kindname.ExceptionDecision: st.addDecision, ledger.ErasureKind: st.erase,
	}
	for _, kind := range []string{kindname.ExceptionRequest, kindname.ExceptionDecision, ledger.ErasureKind} {
		for _, e := range entries {
			if e.Header == nil || e.Header.Kind != kind {
				continue
			}
			if err := visits[kind](e); err != nil {
				return nil, fmt.Errorf("entry %d: %w", e.Index, err)
			}
		}
	}
	var all []*Exception
	for _, r := range st.requests {
		if !r.repeated {
			all = append(all, &r.Exception)
		}
	}
	return all, nil
}

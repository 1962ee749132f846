package exception

import (
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
	st := newStream()
	for _, from := range st.sources() {
		for _, e := range entries {
			if e.Header == nil || e.Header.Kind != from.kind {
				continue
			}
			if err := from.visit(e); err != nil {
				return nil, err
			}
		}
	}
	return st.exceptions(), nil
}

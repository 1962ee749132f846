package api

import (
	"testing"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
)

// Every field that the ledger can name has a name in requests.
func TestLedgerFields(t *testing.T) {
	for _, f := range ledger.Fields {
		if ledgerFields[f] == "" {
			t.Errorf("%q: no field of a request", f)
		}
	}
	if len(ledgerFields) != len(ledger.Fields) {
		t.Errorf("%d fields in the table, %d in the ledger", len(ledgerFields), len(ledger.Fields))
	}
}

// Every field that a FieldError of ingest can name is a field of requests.
func TestSubmissionFields(t *testing.T) {
	for _, f := range ingest.Fields {
		if submissionFields[f] == "" {
			t.Errorf("%s is not mapped", f)
		}
	}
}

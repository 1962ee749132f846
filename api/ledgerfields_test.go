package api

import (
	"testing"

	"muniment.dev/muniment/ledger"
)

// Every field that the ledger can name has a name on the wire.
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

package ingest

import (
	"testing"

	"muniment.dev/muniment/ledger/cosereceipt"
	"muniment.dev/muniment/verifiers/cose"
)

// The room of receipts cannot import the formats, so it names statements once
// more.
func TestStatementTypesAgree(t *testing.T) {
	if cosereceipt.StatementType != cose.MediaType {
		t.Errorf("%q and %q", cosereceipt.StatementType, cose.MediaType)
	}
}

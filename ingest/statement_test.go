package ingest

import (
	"testing"

	"muniment.dev/muniment/ledger/cosereceipt"
	"muniment.dev/muniment/verifiers/cose"
)

// TestStatementTypesAgree checks the second definition of the media type, which
// ledger/cosereceipt needs because it cannot import verifiers.
func TestStatementTypesAgree(t *testing.T) {
	if cosereceipt.StatementType != cose.MediaType {
		t.Errorf("%q and %q", cosereceipt.StatementType, cose.MediaType)
	}
}

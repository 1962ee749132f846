package operate

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"muniment.dev/muniment/clients/go/audit"
	"muniment.dev/muniment/internal/term"
)

// A conflict is evidence, which --json prints as one object.
func TestConflictOutput(t *testing.T) {
	conflict := errors.Join(errors.New("forked"), &audit.Conflict{Kept: "ledger\n1\n", Offered: "ledger\n2\n"})
	for _, asJSON := range []bool{false, true} {
		var out bytes.Buffer
		a := &term.App{Stdout: term.NewOutput(&out, nil)}
		(&mirrorCmd{JSON: asJSON}).printConflict(a, conflict)
		var o struct{ Kept, Offered string }
		err := json.Unmarshal(out.Bytes(), &o)
		if asJSON && (err != nil || o.Kept != "ledger\n1\n" || o.Offered != "ledger\n2\n") {
			t.Errorf("%v: %s", err, &out)
		}
		if !asJSON && !strings.Contains(out.String(), "Offered now:\n\nledger\n2\n") {
			t.Errorf("text: %s", &out)
		}
	}
}

package api_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestJSONIsStrict checks that a misspelt member or enum value is an error that
// names it, and not a request for everything.
func TestJSONIsStrict(t *testing.T) {
	ts := newServer(t)
	ts.append("acme", "one")
	for body, want := range map[string]string{
		`{"tenant":"acme","filters":{"kind":"attestation"}}`: `"filters"`,
		`{"tenant":"acme","filter":{"kinds":"x"}}`:           `"kinds"`,
		`{"tenant":"acme","order":"ORDER_SIDEWAYS"}`:         "ORDER_SIDEWAYS",
		`{"tenant":"acme","tenant":"acme"}`:                  `"tenant"`,
		`{"tenant":"acme"} x`:                                "syntax error",
	} {
		a := ts.post("ListEntries", acmeToken, body)
		if a.status != http.StatusBadRequest || !strings.Contains(string(a.body), strings.ReplaceAll(want, `"`, `\"`)) {
			t.Errorf("%s: status %d, %s", body, a.status, a.body)
		}
	}
	if a := ts.post("GetCheckpoint", acmeToken, ""); a.status != http.StatusOK {
		t.Errorf("an empty request: status %d, %s", a.status, a.body)
	}
	if a := ts.post("ListEntries", acmeToken, `{"tenant":"acme","order":"ORDER_OLDEST_FIRST"}`); a.status != http.StatusOK {
		t.Errorf("status %d, %s", a.status, a.body)
	}
}

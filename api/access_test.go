package api

import "testing"

// TestCapabilities checks that each capability has its roles, and that only one
// needs no credentials.
func TestCapabilities(t *testing.T) {
	for c := appendEntries; c <= seeOperations; c++ {
		if len(access[c]) == 0 {
			t.Errorf("capability %d: access has no row", c)
		}
		if needsNoCredentials(c) != (c == exchangeTokens) {
			t.Errorf("capability %d needs no credentials: %t", c, needsNoCredentials(c))
		}
	}
	if len(access) != int(seeOperations) {
		t.Errorf("%d rows for %d capabilities", len(access), seeOperations)
	}
	for path, c := range procedures {
		if may(operator, c) {
			t.Errorf("%s: operators are callers of no tenant and may call no RPC", path)
		}
	}
	if may(0, capability(0)) || may(operator, capability(0)) {
		t.Error("a path without a row is not refused")
	}
}

package connector_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/conductor/triage/connector"
)

// TestMunimentLimitFiles reads targets that do not exist or cannot be changed.
// A test of cmd/muniment runs the contract of connectors against a server.
func TestMunimentLimitFiles(t *testing.T) {
	const text = "tenants:\n  - name: acme\n    limits: {requests_per_second: 5, bytes_per_second: 1.5, entries_per_second: !!int \"7\"}\n"
	for _, c := range []struct{ old, new, target, want string }{
		{"", "", "limit/acme/requests_per_second", ""},
		{"", "", "limit/acme", "must be limit/TENANT/NAME"},
		{"", "", "flag/acme/requests_per_second", "must be limit/TENANT/NAME"},
		{"", "", "limit/globex/requests_per_second", "no whole number requests_per_second of the tenant globex"},
		{"", "", "limit/acme/entries_per_day", "no whole number entries_per_day of the tenant acme"},
		{"", "", "limit/acme/bytes_per_second", "no whole number bytes_per_second"},
		{"", "", "limit/acme/entries_per_second", "must be a number without quotes and tag"},
		{"tenants:", "tenants: {", "limit/acme/requests_per_second", "invalid YAML"},
		{"tenants:", "tenant:", "limit/acme/requests_per_second", "no whole number"},
	} {
		path := filepath.Join(t.TempDir(), "limits.yaml")
		if err := os.WriteFile(path, []byte(strings.Replace(text, c.old, c.new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		image, err := connect(t, "type: muniment_limit, file: %q", path).Read(t.Context(), c.target)
		if c.want == "" && (err != nil || string(image) != "5") || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %q, %v, want %q", c.target, image, err, c.want)
		}
	}
	unlimited := &action.Action{Target: "limit/acme/requests_per_second", Parameters: map[string]action.Parameter{"value": {Type: action.Integer, Min: 0, Max: 9}}}
	if err := connect(t, "type: muniment_limit, file: x").(connector.Checker).CheckAction(unlimited); err == nil || !strings.Contains(err.Error(), "0 would be no limit") {
		t.Errorf("an action that can remove the limit: %v", err)
	}
}

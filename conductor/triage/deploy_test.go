package triage

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/conductor/triage/connector"
	"muniment.dev/muniment/conductor/triage/connector/connectortest"
)

// seed is the playbook that every playbook file must be able to contain as it
// is.
const seed = `P1-gateway-5xx-surge:
  - action: increase_rate_limit_burst
  - action: enable_cache_prefetch
  - action: toggle_flag
    key: subs.optimizedBuffer
`

// TestDeployed loads the complete example in deploy/triage. It uses each type
// of connector, except for toxiproxy, which is for tests.
func TestDeployed(t *testing.T) {
	read := func(name string) File {
		text, err := os.ReadFile(filepath.Join("../../deploy/triage", name))
		if err != nil {
			t.Fatal(err)
		}
		return File{name, text}
	}
	playbooks, connectors := read("playbooks.yaml"), read("connectors.yaml")
	if !strings.Contains(string(playbooks.Text), seed) {
		t.Errorf("playbooks.yaml does not contain\n%s", seed)
	}
	config, err := Load(read("catalogue.yaml"), playbooks, read("actions.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := config.Connect(connectors); err != nil {
		t.Fatal(err)
	}
	for _, of := range connector.Types() {
		if used := strings.Contains(string(connectors.Text), "type: "+of+"\n") || strings.Contains(string(connectors.Text), "{type: "+of+",") || strings.Contains(string(connectors.Text), "{type: "+of+"}"); used == (of == "toxiproxy") {
			t.Errorf("type %s is used: %v", of, used)
		}
	}
	used := map[string]bool{}
	for _, a := range config.Actions.Actions {
		used[a.Connector] = true
	}
	for name := range config.Connectors {
		if !used[name] {
			t.Errorf("no action uses the connector %s", name)
		}
	}
	var steps []string
	for _, s := range config.Playbooks["P1-gateway-5xx-surge"] {
		steps = append(steps, fmt.Sprintf("%s on %s, %s", s.Action.Name, s.Target, config.Connectors[s.Action.Connector].Undo()))
	}
	if want := []string{
		"increase_rate_limit_burst on limit/generic_key=gateway, restore",
		"enable_cache_prefetch on cache/assets, restore",
		"toggle_flag on flag/subs.optimizedBuffer, restore",
	}; !slices.Equal(steps, want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
}

// TestDeployedTenantLimit rehearses the undo of the action on the limit of a
// tenant. A test of cmd/muniment runs the same contract against a server.
func TestDeployedTenantLimit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "limits.yaml")
	write := func(limit string) {
		text := "# of the tenants\ntenants:\n  - {name: globex, limits: {requests_per_second: 7}}\n  - name: acme\n    limits: {entries_per_day:\t900, requests_per_second: " + limit + "} # contract\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("50")
	text, err := os.ReadFile("../../deploy/triage/actions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	actions, err := action.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = os.ReadFile("../../deploy/triage/connectors.yaml"); err != nil {
		t.Fatal(err)
	}
	connectors, err := connector.Load([]byte(strings.Replace(string(text), "/var/lib/muniment/limits.yaml", file, 1)))
	if err != nil {
		t.Fatal(err)
	}
	a := actions.Actions["limit_tenant_requests"]
	connectortest.Run(t, connectortest.Subject{
		Connector: connectors[a.Connector], Target: strings.Replace(a.Target, "{tenant}", a.Parameters["tenant"].Default.Text, 1),
		Parameters: map[string]string{"value": a.Parameters["value"].Default.Text}, Wrong: map[string]string{"value": "0"},
		State: func(t *testing.T) string {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		},
		Change: func(*testing.T) { write("35") },
	})
}

package triage

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/conductor/triage/connector"
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

package triage

import (
	"strings"
	"testing"

	"muniment.dev/muniment/conductor/triage/connector"
)

const oneType = `{version: 1, types: {T: {severity: P2, correlate: [s], signals: [{name: a, when: name == "A"}]}}}`

const oneAction = `version: 1
actions:
  toggle:
    connector: flags
    target: flag/{key}
    parameters:
      key: {type: string, values: [a], default: a}
      variant: {type: string, values: [b], default: b}
    undo: restore
    cooldown: 1m
    per_target: {actions: 1, within: 1h}
`

// TestConnect checks what is refused when the connectors are loaded, with the
// position in the file that has the problem.
func TestConnect(t *testing.T) {
	const connectors = "version: 1\nconnectors:\n  flags: {type: flagd, file: flags.json}\n"
	for _, c := range []struct{ old, new, want string }{
		{"", "", ""},
		{"  flags:", "  flag:", "actions.yaml:\nline 4, column 16: actions.toggle.connector: unknown connector \"flags\": did you mean flag?"},
		{"undo: restore", "undo: lapse", "actions.yaml:\nline 9, column 11: actions.toggle.undo: must be restore, because that is how effects of connector flags end"},
		{"      variant: {type: string, values: [b], default: b}\n", "", "actions.yaml:\nline 4, column 5: actions.toggle: connector flags: requires the parameter variant"},
		{"variant: {type: string, values: [b], default: b}", "variant: {type: boolean, default: true}", "the parameter variant must be of type string"},
		{"variant:", "x: {type: boolean, default: true}\n      variant:", "the parameter x has no effect"},
		{"target: flag/", "target: limit/", "the target must begin with flag/"},
		{"version: 1\nconnectors", "connectors", "connectors.yaml:\nline 1, column 1: version: must be specified"},
		{"  flags: {type: flagd, file: flags.json}", "  {}", "connectors.yaml:\nline 1, column 1: connectors: must be specified"},
		{"  flags:", "  Flags:", "connectors.yaml:\nline 3, column 3: connectors.Flags: must be 1 to 64 lowercase letters"},
		{"type: flagd, ", "", "connectors.yaml:\nline 3, column 10: connectors.flags.type: must be specified"},
		{"type: flagd", "type: flag", "line 3, column 17: connectors.flags.type: unknown type \"flag\": did you mean flagd?"},
		{"file: flags", "fil: flags", "line 3, column 24: connectors.flags.fil: unknown member: connectors.flags has file, type: did you mean file?"},
		{", file: flags.json", "", "line 3, column 10: connectors.flags.file: must be specified"},
		{"{type: flagd, file: flags.json}", "flagd", "line 3, column 10: connectors.flags: must be a map"},
		{"flags: {", "flags: &a {", "anchors and aliases are not allowed"},
		{"file: flags.json", "file: \"a\\0\"", "must be the path of a file"},
	} {
		actions, text := strings.Replace(oneAction, c.old, c.new, 1), strings.Replace(connectors, c.old, c.new, 1)
		if c.new != c.old && actions == oneAction && text == connectors {
			t.Errorf("the examples have no %q", c.old)
		}
		config, err := Load(File{"catalogue.yaml", []byte(oneType)}, File{"playbooks.yaml", []byte("T: [{action: toggle}]")}, File{"actions.yaml", []byte(actions)})
		if err != nil {
			t.Errorf("%s for %s: %v", c.new, c.old, err)
			continue
		}
		err = config.Connect(File{"connectors.yaml", []byte(text)})
		switch {
		case c.want == "":
			if err != nil || config.Connectors["flags"].Undo() != "restore" {
				t.Errorf("%v", err)
			}
		case err == nil || !strings.Contains(err.Error(), c.want):
			t.Errorf("%s for %s: %v, want %q", c.new, c.old, err, c.want)
		case config.Connectors != nil:
			t.Errorf("%s for %s: the connectors are set in spite of the error", c.new, c.old)
		}
	}
	if _, err := connector.Load([]byte(strings.Repeat("a", connector.MaxBytes+1))); err == nil || !strings.Contains(err.Error(), "above the limit of 262144") {
		t.Errorf("a large file: %v", err)
	}
}

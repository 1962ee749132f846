package connector_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muniment.dev/muniment/conductor/triage/connector"
	"muniment.dev/muniment/conductor/triage/connector/connectortest"
	"muniment.dev/muniment/internal/peers"
)

func TestFake(t *testing.T) {
	f := connectortest.NewFake(map[string]string{"limit/a": "100", "limit/b": "7"})
	connectortest.Run(t, connectortest.Subject{
		Connector: f, Target: "limit/a", Parameters: map[string]string{"value": "200"}, Wrong: map[string]string{},
		State: func(*testing.T) string { return f.State() }, Change: func(*testing.T) { f.Put("limit/a", "3") },
	})
}

// flags is a file whose form must be kept.
const flags = `{
  "$schema": "https://flagd.dev/schema/v0/flags.json",
  "flags": {
    "other": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off"},
    "subs.optimizedBuffer": {
      "state": "ENABLED", "variants": { "on": 1, "off": 0,   "größer": 1.50, "halb": 0.5 },
      "defaultVariant" : "off", "targeting": {"if": [{"==": [{"var": "x"}, "x"]}, "on", null]}
    }
  }
}
`

// readFlags prints the file of flags, and what the evaluator of flagd makes of
// it.
const readFlags = `
const { FlagdCore } = require("@openfeature/flagd-core");
const text = require("fs").readFileSync(process.argv[1], "utf8");
const core = new FlagdCore();
core.setConfigurations(text);
process.stdout.write(text);
for (const [key, flag] of core.getFlags()) {
  const kind = typeof [...flag.variants.values()][0] === "boolean" ? "Boolean" : "Number";
  for (const x of ["x", "y"]) console.log(key, JSON.stringify(core["resolve" + kind + "Evaluation"](key, null, { x })));
}
`

// TestFlagd changes flags. The evaluator of flagd for Node.js reads them.
func TestFlagd(t *testing.T) {
	node := peers.Path(t, "flagd-core")
	path := filepath.Join(t.TempDir(), "flags.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	states := map[string]string{} // by the text of the file
	for _, variant := range []string{"on", "größer"} {
		write(flags)
		connectortest.Run(t, connectortest.Subject{
			Connector: connector.NewFlagd(path), Target: "flag/subs.optimizedBuffer",
			Parameters: map[string]string{"variant": variant}, Wrong: map[string]string{"variant": "none"},
			State: func(t *testing.T) string {
				t.Helper()
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if state := states[string(text)]; state != "" {
					return state // starting Node.js takes long
				}
				state := output(t, node, "-e", readFlags, path)
				if !strings.Contains(state, `subs.optimizedBuffer {"value":`) || !strings.Contains(state, `other {"value":false`) {
					t.Fatalf("the evaluator of flagd does not read the file:\n%s", state)
				}
				states[string(text)] = state
				return state
			},
			Change: func(*testing.T) {
				write(strings.Replace(flags, `"defaultVariant" : "off"`, `"defaultVariant" : "halb"`, 1))
			},
		})
	}
}

func TestFlagdFiles(t *testing.T) {
	for _, c := range []struct{ old, new, target, want string }{
		{"", "", "flag/none", "no flag none"},
		{"", "", "limit/x", "target limit/x is not a flag"},
		{`"defaultVariant": "off"`, `"defaultVariant": null`, "flag/other", "defaultVariant is not a string"},
		{`, "defaultVariant": "off"`, "", "flag/other", "flag other has no default variant"},
		{`"flags": {`, `"flags": [`, "flag/other", "not a file of flags"},
		{`"other"`, `"subs.optimizedBuffer"`, "flag/subs.optimizedBuffer", "duplicate object member name"},
		{`"defaultVariant": "off"`, `"defaultVariant": "off", "defaultVariant": "on"`, "flag/other", "duplicate object member name"},
	} {
		path := filepath.Join(t.TempDir(), "flags.json")
		if err := os.WriteFile(path, []byte(strings.Replace(flags, c.old, c.new, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		if image, err := connector.NewFlagd(path).Read(t.Context(), c.target); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %s: %q, %v, want %q", c.target, c.new, image, err, c.want)
		}
	}
	if _, err := connector.NewFlagd(filepath.Join(t.TempDir(), "none")).Read(t.Context(), "flag/a"); err == nil {
		t.Error("a file that does not exist is read")
	}
}

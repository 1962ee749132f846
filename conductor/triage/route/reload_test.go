package route

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/conductor/triage/execute"
	"muniment.dev/muniment/conductor/triage/signal"
)

// renamed are edits of the configuration that remove what incidents need, and
// why they are refused.
var renamed = []struct {
	name  string
	edits []string
	want  string // while the step is to be undone; "": nothing is needed
	first string // while the step waits for a person
}{
	{"nothing", nil, "", ""},
	{"connector", []string{"flags: {type", "flags2: {type", "connector: flags", "connector: flags2"}, "-1 (settling): connector flags, to undo step 1 on flag/a\n", "-1 (waiting): connector flags, for the step 1 of the playbook on flag/a\n"},
	{"type of the connector", []string{"type: flagd, file: ", `type: http, url: "http://127.0.0.1:1", target: "flag/{key}", path: "/{key}", set: {variant: "{variant}"}, ca_file: `},
		"connector flags of its previous type, to undo step 1 on flag/a\n", "connector flags of its previous type, for the step 1 of the playbook on flag/a\n"},
	{"incident type", []string{"  T:", "  T2:", "T: [", "T2: ["}, "-1 (settling): type T\n", "-1 (waiting): type T\n"},
	{"action", []string{"  toggle:", "  other:", "action: toggle", "action: other"}, "", "-1 (waiting): action toggle, the step 1 of the playbook\n"},
}

// reload replaces the configuration, as a running router does.
func (w *world) reload(edits []string) error {
	w.t.Helper()
	c := &change{w.load(edits...), make(chan error, 1)}
	if w.begin(c); w.change != nil {
		w.actor.obey()
		w.end(<-w.actor.checked)
	}
	return <-c.done
}

// restart ends the router and opens it with another configuration.
func (w *world) restart(edits []string) error {
	w.t.Helper()
	lost, previous := w.fs.CrashClone(vfs.CrashCloneCfg{}), w.edits
	w.close()
	w.fs, w.edits = lost, edits
	err := w.tryOpen()
	if err != nil {
		w.edits = previous
		w.open()
	}
	return err
}

// TestReload removes what an open incident needs from the configuration, while
// the router runs and while it does not.
func TestReload(t *testing.T) {
	approval := []string{"budgets: {", "approvers: [\"oidc:https://id.example#ada\"]\nbudgets: {", "    undo: ", "    approval: person\n    undo: "}
	for _, waits := range []bool{false, true} {
		for _, runs := range []bool{true, false} {
			w, change := newWorld(t), (*world).restart
			if runs {
				change = (*world).reload
			}
			var base []string
			if waits {
				base = approval
				w.must(w.restart(base))
			}
			w.deliver(w.alert("Errors", signal.Firing, "x", noon))
			w.pass(15 * time.Second)
			for _, c := range renamed {
				want := c.want
				if waits {
					want = c.first
				}
				if !runs && strings.Contains(want, "previous type") {
					want = "" // nothing has kept it
				}
				err := change(w, append(base[:len(base):len(base)], c.edits...))
				switch {
				case want == "" && err != nil, want != "" && (!errors.Is(err, execute.ErrNeeded) || !strings.Contains(err.Error(), want)):
					t.Errorf("%s: %v, want %q", c.name, err, want)
				case want != "" && !strings.HasSuffix(err.Error(), "'conductor triage undo INCIDENT' closes one"):
					t.Errorf("%s: no remedy: %v", c.name, err)
				}
				w.must(change(w, base))
			}
			w.deliver(w.alert("Errors", signal.Resolved, "x", noon))
			w.pass(time.Minute)
			w.want("T-1 x:closed", "off off")
			for _, c := range renamed {
				if err := change(w, append(base[:len(base):len(base)], c.edits...)); err != nil {
					t.Errorf("%s, after the incident: %v", c.name, err)
				}
			}
		}
	}
}

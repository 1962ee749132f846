package main

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
)

// An index row that cannot be read does not lock the operator out. The server
// refuses with the remedy, and changes no file. The remedy works.
func TestUnreadableIndex(t *testing.T) {
	soak.WithoutRace(t)
	r := newFsckRig(t)
	command := func(args ...string) (code int, text string) {
		t.Helper()
		var out, errOut bytes.Buffer
		code = run(t.Context(), append(args, "--data", r.dir), nil, &out, &errOut)
		return code, out.String() + errOut.String()
	}
	for _, c := range []struct {
		space byte
		kind  string // of the finding
	}{{'g', "stream head"}, {'x', "index"}, {'k', "index"}} {
		t.Run(string(c.space), func(t *testing.T) {
			r.restore(t)
			r.edit(t, func(_ *testing.T, e *rowEditor) {
				e.first(c.space, func(v []byte) []byte { return append(v, 0xff) })
			})
			before := folderFiles(t, r.dir)
			res := r.fsck(t)
			if res.code != term.ExitNo || len(res.findings) != 1 || res.findings[0].Kind != c.kind || res.findings[0].Remedy != ledger.Rebuild {
				t.Errorf("fsck: exit code %d, want one finding %q with the remedy %q\n%s", res.code, c.kind, ledger.Rebuild, res.text)
			}
			if c.space == 'g' {
				if code, text := command("serve", "--listen", "127.0.0.1:0"); code == 0 || !strings.Contains(text, "muniment reindex") || strings.Contains(text, "backup") {
					t.Errorf("serve: exit code %d\n%s", code, text)
				}
				if !maps.EqualFunc(before, folderFiles(t, r.dir), bytes.Equal) {
					t.Error("serve has changed files before it refused")
				}
			}
			if code, text := command("reindex"); code != 0 || !strings.Contains(text, "repaired: the index cannot be read") {
				t.Fatalf("reindex: exit code %d\n%s", code, text)
			}
			if res := r.fsck(t); res.code != 0 {
				t.Errorf("fsck of the repaired store: exit code %d\n%s", res.code, res.text)
			}
			if code, text := command("reindex"); code != 0 || !strings.Contains(text, "the store matches") {
				t.Errorf("reindex of the repaired store: exit code %d\n%s", code, text)
			}
		})
	}
}

package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
)

// A rowFault is damage to one row, and the finding that it must lead to.
type rowFault struct {
	name   string
	edit   func(e *rowEditor)
	kind   string
	entry  int // -1: none is named; -2: any
	remedy ledger.Remedy
}

func rowKey(space byte, index uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{space}, index)
}

var firstTile = append([]byte{'t', 0}, make([]byte, 8)...)

// flipAt flips a bit of a value. A negative position counts from its end.
func flipAt(key []byte, at int) func(e *rowEditor) {
	return func(e *rowEditor) { e.change(key, func(v []byte) { v[(at+len(v))%len(v)] ^= 4 }) }
}

func deleteRow(key []byte) func(e *rowEditor) { return func(e *rowEditor) { e.delete(key) } }

func firstRow(space byte, f func(v []byte) []byte) func(e *rowEditor) {
	return func(e *rowEditor) { e.first(space, f) }
}

func flipTail(v []byte) []byte {
	v[len(v)-10] ^= 1
	return v
}

// checkFaults runs fsck on a store with each fault.
func (r *fsckRig) checkFaults(t *testing.T, store string, faults []rowFault, args ...string) {
	t.Helper()
	if res := r.fsck(t, args...); res.code != 0 {
		t.Fatalf("the sound store: exit code %d\n%s", res.code, res.text)
	}
	for _, c := range faults {
		t.Run(c.name, func(t *testing.T) {
			r.restore(t)
			editRows(t, filepath.Join(r.dir, store), func(_ *testing.T, e *rowEditor) { c.edit(e) })
			res := r.fsck(t, args...)
			named := slices.ContainsFunc(res.findings, func(f ledger.Finding) bool {
				switch {
				case f.Kind != c.kind || f.Remedy != c.remedy:
					return false
				case c.entry == -1:
					return f.Entry == nil
				}
				return f.Entry != nil && (c.entry == -2 || *f.Entry == uint64(c.entry))
			})
			if res.code != term.ExitNo || !named {
				t.Errorf("exit code %d, want a finding %q of entry %d with the remedy %q\n%s", res.code, c.kind, c.entry, c.remedy, res.text)
			}
			if len(res.findings) > 2 {
				t.Errorf("one fault has %d findings:\n%s", len(res.findings), res.text)
			}
		})
	}
}

// fsck --rekor finds every kind of damage to the store of a Rekor log, whose
// leaves are kept as they are.
func TestFsckRekor(t *testing.T) {
	r := &fsckRig{dir: filepath.Join(t.TempDir(), "data")}
	if code := run(t.Context(), []string{"init", r.dir, "--origin", "log.example", "--tenant", "acme", "--rekor-origin", "rekor.example"}, nil, io.Discard, os.Stderr); code != 0 {
		t.Fatalf("init: exit code %d", code)
	}
	growRekor(t, r.dir, 260)
	r.files = folderFiles(t, r.dir)
	r.checkFaults(t, datadir.RekorStoreDir, []rowFault{
		{"leaf", firstRow('l', func(v []byte) []byte { v[len(v)-1] ^= 4; return v }), "leaf", -2, ledger.Restore},
		{"leaf missing", firstRow('l', nil), "leaf", -2, ledger.Restore},
		{"leaf of the last tile", flipAt(rowKey('l', 258), -1), "tree", -1, ledger.Restore},
		{"tile", flipAt(firstTile, 32*5), "tile", 0, ledger.Rebuild},
		{"tile missing", deleteRow(firstTile), "tile", 0, ledger.Rebuild},
		{"tree head", flipAt([]byte("mhead"), 8), "tree", -1, ledger.Restore},
		{"checkpoint", firstRow('c', flipTail), "checkpoint", -1, ledger.Restore},
		{"deduplication key missing", firstRow('k', nil), "index", -2, ledger.Rebuild},
		{"deduplication key too many", func(e *rowEditor) { e.set(append([]byte("k"), make([]byte, 16)...), []byte{3}) }, "index", 3, ledger.Rebuild},
	}, "--rekor")
}

// fsck finds every kind of damage to a replica, and names the remedy for
// replicas, whose index cannot be rebuilt.
func TestFsckReplica(t *testing.T) {
	log := newFsckRig(t)
	r := &fsckRig{dir: filepath.Join(t.TempDir(), "replica")}
	delta := filepath.Join(t.TempDir(), "whole.delta")
	for _, args := range [][]string{
		{"export", "--data", log.dir, "--since", "0", "-o", delta},
		{"replica", "init", r.dir, "--policy", filepath.Join(log.dir, "policy"),
			"--tenant", "acme=" + filepath.Join(log.dir, "streams", "acme.key"), "--tenant", "globex=" + filepath.Join(log.dir, "streams", "globex.key")},
		{"import", delta, "--data", r.dir},
	} {
		if code := run(t.Context(), args, nil, io.Discard, os.Stderr); code != 0 {
			t.Fatalf("%q: exit code %d", args, code)
		}
	}
	r.files = folderFiles(t, r.dir)
	large := r.find(t, "/large/")[0]
	r.checkFaults(t, datadir.StoreDir, []rowFault{
		{"payload", flipAt(rowKey('p', 7), -1), "payload", 7, ledger.Reimport},
		{"payload missing", deleteRow(rowKey('p', 9)), "payload", 9, ledger.Reimport},
		{"header missing", firstRow('h', nil), "header", -2, ledger.Reimport},
		{"leaf", firstRow('l', flipTail), "leaf", -2, ledger.Reimport},
		{"leaf missing", firstRow('l', nil), "leaf", -2, ledger.Reimport},
		{"tile", flipAt(firstTile, 32*5), "tile", 0, ledger.Reimport},
		{"checkpoint", firstRow('c', flipTail), "checkpoint", -1, ledger.Reimport},
		{"posting missing", firstRow('x', nil), "index", -2, ledger.Reimport},
		{"stream head", firstRow('g', func(v []byte) []byte { v[7]++; return v }), "stream head", -2, ledger.Reimport},
		{"large file missing", func(*rowEditor) {
			if err := os.Remove(large); err != nil {
				t.Fatal(err)
			}
		}, "payload", largeEntry, ledger.Reimport},
	})
}

// fsck never calls a store sound that the server cannot open, whatever the
// damage to the files that opening depends on.
func TestFsckFindsWhatIsRefused(t *testing.T) {
	soak.WithoutRace(t)
	r := newFsckRig(t)
	d, err := datadir.Load(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	check := func(t *testing.T, what, path string, data []byte) {
		t.Helper()
		r.restore(t)
		err := os.WriteFile(path, data, 0o600)
		if data == nil {
			err = os.Remove(path)
		}
		if err != nil {
			t.Fatal(err)
		}
		res := r.fsck(t)
		if res.code != 0 && res.code != term.ExitNo {
			t.Errorf("%s: exit code %d\n%s", what, res.code, res.text)
		}
		s, err := datadir.OpenStore(t.Context(), r.dir, d.LogStore(), slog.New(slog.DiscardHandler))
		if err == nil {
			s.Close()
			return
		}
		if refused++; res.code != term.ExitNo {
			t.Errorf("%s: the store is refused (%v), and fsck has exit code %d\n%s", what, err, res.code, res.text)
		}
	}
	for _, part := range []string{"MANIFEST-", "OPTIONS-", "marker.", ".log", "store.mark", "store.anchor"} {
		for _, path := range r.find(t, part) {
			data := r.files[path]
			name := strings.TrimPrefix(path, r.dir)
			for i := range min(len(data), 4) {
				at := (len(data) - 1) * i / 3
				bad := bytes.Clone(data)
				bad[at] ^= 1 << i
				check(t, name+" with a flipped bit", path, bad)
			}
			if len(data) > 1 {
				check(t, name+", cut", path, data[:len(data)/2])
			}
			check(t, name+", removed", path, nil)
		}
	}
	if refused < 10 {
		t.Errorf("only %d stores were refused", refused)
	}
}

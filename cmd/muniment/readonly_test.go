package main

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/operate"
	"muniment.dev/muniment/ledger/logkey"
	"muniment.dev/muniment/ledger/receipt"
)

// TestReadingCommandsChangeNothing runs each command that only reads in a data
// folder in which a rotation of both logs' keys was interrupted, and compares
// the folder before and after.
func TestReadingCommandsChangeNothing(t *testing.T) {
	dir := newFsckRig(t).dir
	must := func(args ...string) {
		t.Helper()
		var out bytes.Buffer
		if code := run(t.Context(), args, nil, &out, &out); code != 0 {
			t.Fatalf("%q: exit code %d: %s", args, code, &out)
		}
	}
	must("init", dir, "--rekor-origin", "rekor.example")
	growRekor(t, dir, 3)
	policy, rekorKey, freshKey := filepath.Join(dir, datadir.PolicyFile), filepath.Join(dir, datadir.RekorKeyFile), filepath.Join(dir, datadir.RekorKeyNew)
	kept := map[string][]byte{}
	for _, path := range []string{policy, rekorKey} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		kept[path] = text
	}
	must("keys", "rotate", "--data", dir)
	must("keys", "rotate", "--data", dir, "--rekor")
	if err := errors.Join(os.Rename(rekorKey, freshKey), os.WriteFile(rekorKey, kept[rekorKey], 0o600), os.WriteFile(policy, kept[policy], 0o600)); err != nil {
		t.Fatal(err)
	}
	before := folderFiles(t, dir)
	elsewhere := t.TempDir()
	for _, args := range [][]string{
		{"fsck"}, {"fsck", "--rekor"}, {"backup", "--to", filepath.Join(elsewhere, "backups")}, {"reindex", "--check"}, {"reindex", "--check", "--rekor"},
		{"export", "--since", "0", "-o", filepath.Join(elsewhere, "whole.delta")},
		{"keys", "list"}, {"trust", "show"}, {"tenant", "list"}, {"operator", "list"},
	} {
		var stderr bytes.Buffer
		code := run(t.Context(), append(slices.Clone(args), "--data", dir), nil, io.Discard, &stderr)
		if code != 0 {
			t.Errorf("%q: exit code %d: %s", args, code, &stderr)
		}
		if after := folderFiles(t, dir); !maps.EqualFunc(after, before, bytes.Equal) {
			for path := range after {
				if !bytes.Equal(after[path], before[path]) {
					t.Errorf("%q changed %s", args, path)
				}
			}
			for path := range before {
				if _, ok := after[path]; !ok {
					t.Errorf("%q removed %s", args, path)
				}
			}
			writeFolder(t, dir, before)
		}
	}
	// A command that writes completes an interrupted change.
	must("witness", "init", filepath.Join(elsewhere, "witness"), "--name", "w.example")
	w, err := operate.LoadWitnessDir(filepath.Join(elsewhere, "witness"))
	if err != nil {
		t.Fatal(err)
	}
	must("trust", "add-witness", "acme", w.VerifierKeys[0], "http://127.0.0.1:1", "--data", dir)
	if _, err := os.Stat(freshKey); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the new key is still in %s: %v", freshKey, err)
	}
	d, err := datadir.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := datadir.ReadPolicyFile(policy)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := logkey.ID(p.LogKey()), d.Keys[len(d.Keys)-1].ID(); got != want {
		t.Errorf("the policy is for the key %s, want the newest, %s", got, want)
	}
	if !slices.ContainsFunc(p.Witnesses(), func(w receipt.Witness) bool { return w.Name == "acme" }) {
		t.Errorf("the new witness is not in the policy: %v", p.Witnesses())
	}
}

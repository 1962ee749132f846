package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/peers/tufrig"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/verifiers/sigstore"
)

// A trusted root from a TUF repository must be signed by the authorized keys,
// complete, and not older than the present one.
func TestTrustedRootFromTUF(t *testing.T) {
	c := newCompany(t, "acme")
	dir := t.TempDir()
	r, err := tufrig.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	publish := func(version int64, target []byte) {
		t.Helper()
		if err := r.Publish(version, map[string][]byte{"trusted_root.json": target}); err != nil {
			t.Fatal(err)
		}
	}
	trustAnchor := r.Root()
	file := filepath.Join(c.data, "trusted-roots", "ours.json")
	update := []string{"trusted-root", "update", "--data", c.data, "--name", "ours", "--tuf", r.URL}
	first := sigstore.PublicGoodJSON()
	second := append(bytes.Clone(first), '\n')

	publish(1, first)
	if out, code := c.run(update...); code != term.ExitFailed || !strings.Contains(out, "--tuf-root: required the first time: specify the repository's root.json") {
		t.Fatalf("without a trust anchor: exit code %d\n%s", code, out)
	}
	c.must(append(update, "--tuf-root", trustAnchor)...)
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, first) {
		t.Fatalf("the root is not the repository's: %v", err)
	}
	publish(2, second)
	if out := c.must(update...); !strings.Contains(out, "replaced") {
		t.Errorf("%s", out)
	}
	if got, _ := os.ReadFile(file); !bytes.Equal(got, second) {
		t.Fatal("the root was not replaced")
	}

	refused := func(what string, args ...string) {
		t.Helper()
		if out, code := c.run(append(update, args...)...); code == term.ExitOK {
			t.Errorf("%s: taken\n%s", what, out)
		}
		if got, _ := os.ReadFile(file); !bytes.Equal(got, second) {
			t.Fatalf("%s: the root was changed", what)
		}
	}
	publish(1, first)
	refused("an older state of the repository")
	publish(3, []byte("{}"))
	refused("what is no trusted root")
	publish(4, first)
	if err := os.WriteFile(r.Target("trusted_root.json", first), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused("a changed target")
	_, r.Key, _ = ed25519.GenerateKey(rand.Reader)
	publish(5, first)
	refused("a repository that somebody else has signed")
	refused("another trust anchor", "--tuf-root", filepath.Join(dir, "timestamp.json"))
}

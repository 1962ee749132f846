package spool

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"muniment.dev/muniment/ledger/entry"
)

func newSpool(t *testing.T) (*Spool, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a", "spool")
	s, err := Make(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, dir
}

func put(t *testing.T, s *Spool, text string) string {
	t.Helper()
	digest, err := s.Put([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// TestSpool writes documents, reads them by another handle, and removes them.
func TestSpool(t *testing.T) {
	s, dir := newSpool(t)
	one, two := put(t, s, `{"type":"one"}`), put(t, s, `{"type":"two"}`)
	if again := put(t, s, `{"type":"one"}`); again != one || one != entry.SHA256([]byte(`{"type":"one"}`)) {
		t.Errorf("digests %s and %s", one, again)
	}
	for _, stray := range []string{"readme.txt", "sha256-1.json", ".muniment-x.part", fileName(one) + ".bak"} {
		if err := os.WriteFile(filepath.Join(dir, stray), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	all, err := other.Digests()
	if err != nil || len(all) != 2 {
		t.Fatalf("documents %q: %v", all, err)
	}
	if d, err := other.Get(two); err != nil || Type(d) != "two" {
		t.Errorf("%s: %v", d, err)
	}
	if info, err := os.Stat(filepath.Join(dir, fileName(one))); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	for range 2 { // the second time it is not there
		if err := other.Remove(one); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Get(one); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a removed document: %v", err)
	}
}

// TestChangedFile checks that a file with another content is not returned, and
// that writing the document again restores it.
func TestChangedFile(t *testing.T) {
	s, dir := newSpool(t)
	digest := put(t, s, `{"decision":"blocked"}`)
	path := filepath.Join(dir, fileName(digest))
	if err := os.WriteFile(path, []byte(`{"decision":"pass"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(digest); !errors.Is(err, ErrChanged) {
		t.Errorf("a changed file: %v", err)
	}
	put(t, s, `{"decision":"blocked"}`)
	if _, err := s.Get(digest); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, make([]byte, MaxDocument+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(digest); err == nil {
		t.Error("a file beyond the bound is read")
	}
}

// TestLinks checks that a link out of the folder is not followed.
func TestLinks(t *testing.T) {
	s, dir := newSpool(t)
	outside := filepath.Join(t.TempDir(), "outside")
	text := []byte(`{"type":"outside"}`)
	if err := os.WriteFile(outside, text, 0o600); err != nil {
		t.Fatal(err)
	}
	digest := entry.SHA256(text)
	if err := os.Symlink(outside, filepath.Join(dir, fileName(digest))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(digest); err == nil {
		t.Error("a link out of the folder is followed")
	}
	put(t, s, string(text))
	if info, err := os.Lstat(filepath.Join(dir, fileName(digest))); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the link is not replaced: %v, %v", info, err)
	}
}

// TestBounds checks that a full spool refuses documents until some are removed.
func TestBounds(t *testing.T) {
	s, _ := newSpool(t)
	if _, err := s.Put(make([]byte, MaxDocument+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a large document: %v", err)
	}
	put(t, s, `{"n":1}`)
	s.files = MaxFiles // as if others had been moved away meanwhile
	put(t, s, `{"n":2}`)
	if s.files != 2 {
		t.Errorf("%d files are counted, want 2", s.files)
	}
	if err := s.reserve(MaxBytes); !errors.Is(err, ErrFull) {
		t.Errorf("a full spool: %v", err)
	}
}

// TestType reads the types of documents.
func TestType(t *testing.T) {
	for document, want := range map[string]string{
		`{"type":"a","payloadType":"b"}`: "a", `{"payloadType":"b","payload":""}`: "b", `{}`: "", `[]`: "", `"type"`: "", `{"type":1}`: "", "\x00": "",
	} {
		if got := Type([]byte(document)); got != want {
			t.Errorf("%s: %q, want %q", document, got, want)
		}
	}
}

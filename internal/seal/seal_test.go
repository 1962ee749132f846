package seal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func load(t *testing.T, text string) (*Key, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path)
}

func TestSeal(t *testing.T) {
	text := Generate()
	one, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	same, err := load(t, strings.ToUpper(text))
	if err != nil {
		t.Fatal(err)
	}
	other, err := load(t, Generate())
	if err != nil {
		t.Fatal(err)
	}
	sealed := one.Seal("a", []byte("secret"))
	if got, err := same.Open("a", sealed); err != nil || string(got) != "secret" {
		t.Errorf("opened %q, error %v", got, err)
	}
	changed := append([]byte(nil), sealed...)
	changed[len(changed)-1] ^= 1
	for name, f := range map[string]func() ([]byte, error){
		"another context": func() ([]byte, error) { return one.Open("b", sealed) },
		"another key":     func() ([]byte, error) { return other.Open("a", sealed) },
		"a changed text":  func() ([]byte, error) { return one.Open("a", changed) },
		"an empty text":   func() ([]byte, error) { return one.Open("a", nil) },
	} {
		if got, err := f(); !errors.Is(err, ErrOpen) {
			t.Errorf("%s: opened %q, error %v", name, got, err)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, text := range []string{"", "zz", Generate()[:62], Generate()[:64] + "00"} {
		if _, err := load(t, text); err == nil || !strings.Contains(err.Error(), "64 hexadecimal digits") {
			t.Errorf("key of %d characters: %v", len(text), err)
		}
	}
}

package bounded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestReadSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		mode fs.FileMode
		want []string
	}{
		{0o600, nil},
		{0o400, nil},
		{0o611, nil}, // executing is not reading
		{0o640, []string{path + " 0640"}},
		{0o604, []string{path + " 0604"}},
		{0o644, []string{path + " 0644"}},
	} {
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		var got []string
		reset := OnExposed(func(path string, mode fs.FileMode) {
			got = append(got, fmt.Sprintf("%s %04o", path, mode))
		})
		for range 2 {
			if data, err := ReadSecret(path); err != nil || string(data) != "secret" {
				t.Errorf("%04o: %q, %v", c.mode, data, err)
			}
		}
		reset()
		if _, err := ReadSecret(path); err != nil {
			t.Error(err)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%04o: reported %q, not %q", c.mode, got, c.want)
		}
	}
	if err := os.Truncate(path, maxSecret+1); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSecret(path); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a byte too many: %v", err)
	}
}

// A key or token in UTF-16 is refused here, for all readers. The error has no
// part of it.
func TestSecretInUTF16(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	for _, text := range []string{"\xff\xfem\x00n\x00t\x00_\x00", "m\x00n\x00t\x00_\x00", "\xfe\xff\x00m\x00n\x00t\x00_"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadSecret(path); err == nil || err.Error() != path+": it is encoded in UTF-16: save it as UTF-8 without BOM" {
			t.Error(err)
		}
	}
}

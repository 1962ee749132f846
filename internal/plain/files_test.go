package plain

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestFileErrors checks that errors of real operations, inside a folder and by
// path, contain no name of a system call.
func TestFileErrors(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, statErr := os.Stat(filepath.Join(dir, "none"))
	_, lstatErr := filepath.EvalSymlinks(filepath.Join(dir, "none"))
	_, rootStat := root.Stat("none")
	_, rootLstat := root.Lstat("none")
	_, rootOpen := root.Open("none")
	_, rootReadlink := root.Readlink("file")
	none := "none: no such file or directory"
	for _, c := range []struct {
		err  error
		want string
	}{
		{statErr, "open " + filepath.Join(dir, none)},
		{lstatErr, "open " + filepath.Join(dir, none)},
		{rootStat, "open " + none},
		{rootLstat, "open " + none},
		{rootOpen, "open " + none},
		{rootReadlink, "read link file: invalid argument"},
		{root.Mkdir("file", 0o700), "create folder file: file exists"},
		{root.Link("none", "b"), "link none b: no such file or directory"},
		{root.Rename("none", "b"), "rename none b: no such file or directory"},
		{root.Symlink("none", "file"), "symlink none file: file exists"},
		{root.Remove("none"), "remove " + none},
		{root.Chmod("none", 0o600), "chmod " + none},
		{root.Chown("none", 0, 0), "chown " + none},
	} {
		for _, err := range []error{c.err, errors.Join(c.err), fmt.Errorf("%w", c.err)} {
			if got := FileErrors(err); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		}
	}
	two := fmt.Errorf("first: %w; second: %w", rootStat, rootOpen)
	if got, want := FileErrors(two), "first: open "+none+"; second: open "+none; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := FileErrors(errors.New("statat none")); got != "statat none" {
		t.Errorf("an error about no file became %q", got)
	}
}

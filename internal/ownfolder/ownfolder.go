// Package ownfolder recognizes the folders of logs and witnesses, which only
// their own programs may write to.
package ownfolder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// folders describes the folders. A file named config does not suffice to
// identify a log: clients also have a configuration of that name.
var folders = []struct {
	config string
	beside []string // one of these must exist too; nil: none required
}{
	{"muniment.yaml", []string{"store", "store.mark", "store.anchor"}},
	{"witness.yaml", nil},
}

// CheckFolder returns an error if the folder, which need not exist, is the
// folder of a log or witness, or inside one.
func CheckFolder(dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for parent := resolve(abs); ; parent = filepath.Dir(parent) {
		if owned(parent) {
			return fmt.Errorf("%s is part of the folder of a log or witness, %s: use another folder", dir, parent)
		}
		if parent == filepath.Dir(parent) {
			return nil
		}
	}
}

// CheckFile is CheckFolder for the folder of a file. The file itself can be a
// link, because files are replaced rather than written through.
func CheckFile(path string) error { return CheckFolder(filepath.Dir(path)) }

func owned(dir string) bool {
	has := func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return err == nil
	}
	for _, f := range folders {
		if has(f.config) && (f.beside == nil || slices.ContainsFunc(f.beside, has)) {
			return true
		}
	}
	return false
}

// resolve follows links in the existing part of an absolute path.
func resolve(path string) string {
	resolved, err := filepath.EvalSymlinks(path)
	if err == nil {
		return resolved
	}
	if parent := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && parent != path {
		return filepath.Join(resolve(parent), filepath.Base(path))
	}
	return path
}

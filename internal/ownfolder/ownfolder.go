// Package ownfolder recognizes the folders of logs and witnesses, in which only
// their own programs write.
package ownfolder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// folders describes the folders. A file of the name config alone is no proof
// for a log: clients have a configuration of that name, too.
var folders = []struct {
	config string
	beside []string // one of these is there, too; nil requires none
}{
	{"muniment.yaml", []string{"store", "store.mark", "store.anchor"}},
	{"witness.yaml", nil},
}

// CheckFolder returns an error if the folder, which need not exist, is that of
// a log or witness, or below one.
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

// CheckFile is CheckFolder for the folder of a file. The file itself may be a
// link, because files are replaced and not written through.
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

// resolve follows links in the part of an absolute path that exists.
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

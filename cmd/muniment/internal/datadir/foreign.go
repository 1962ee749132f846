package datadir

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ownFolders maps the file that marks a folder to the folders in it whose files
// belong to the program.
var ownFolders = map[string][]string{
	ConfigFile:     {StoreDir, RekorStoreDir, TokenDir, StreamDir, OperatorDir, KeysDir, PolicyDir, RootsDir},
	"witness.yaml": {"state"},
}

const separator = string(filepath.Separator)

// CheckForeign returns an error if the folder belongs to a log or a witness.
// Commands that write files of another kind into a folder call it.
func CheckForeign(dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if resolved, err := filepath.EvalSymlinks(abs); err == nil {
		abs = resolved
	}
	for parent := abs; ; parent = filepath.Dir(parent) {
		rest := strings.TrimPrefix(strings.TrimPrefix(abs, parent), separator)
		first, _, _ := strings.Cut(rest, separator)
		for mark, folders := range ownFolders {
			if _, err := os.Lstat(filepath.Join(parent, mark)); err == nil && (first == "" || slices.Contains(folders, first)) {
				return fmt.Errorf("%s is part of the folder of a log or witness, %s: use another folder", dir, parent)
			}
		}
		if parent == filepath.Dir(parent) {
			return nil
		}
	}
}

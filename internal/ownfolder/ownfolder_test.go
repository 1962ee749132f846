package ownfolder

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"log/muniment.yaml", "log/store.mark", "log/store/CURRENT", "witness/witness.yaml", "client/muniment.yaml", "client/policy"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("log/store", filepath.Join(dir, "link")), os.Symlink("log/muniment.yaml", filepath.Join(dir, "file"))); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for path, own := range map[string]bool{
		"log/muniment.yaml": true, "log/new": true, "./log/store/CURRENT": true, "log/new/folder/file": true,
		"link/new": true, "link/new/file": true, "witness/state/file": true, dir + "/log/x": true,
		"file": false, "new": false, "client/receipt.json": false, "logs/x": false, "/dev/stdout": false,
	} {
		if err := CheckFile(path); (err != nil) != own {
			t.Errorf("%s: %v", path, err)
		}
	}
	t.Chdir("log/store")
	if CheckFile("x") == nil || CheckFolder(".") == nil || CheckFile("../../x") != nil {
		t.Error("relative paths in a log's folder")
	}
}

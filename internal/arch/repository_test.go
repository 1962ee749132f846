package arch

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

const root = "../.."

// TestRepository holds the repository to the tables of rooms.go.
func TestRepository(t *testing.T) {
	packages, err := Load(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) < 50 {
		t.Fatalf("found only %d packages below %s", len(packages), root)
	}
	for _, fault := range Check(Rooms, packages) {
		t.Error(fault)
	}
	for _, fault := range Unused(Rooms, packages) {
		t.Error(fault)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var folders []string
	for _, e := range entries {
		if e.IsDir() {
			folders = append(folders, e.Name())
		}
	}
	for _, fault := range StrayFolders(Rooms, folders) {
		t.Error(fault)
	}
}

// TestWeights checks what the offline verifier and the auditor link.
func TestWeights(t *testing.T) {
	for _, w := range Weights {
		out, err := exec.Command("go", "list", "-deps", module+w.Room).Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", w.Room, err)
		}
		deps := strings.Fields(string(out))
		if len(deps) < 10 {
			t.Fatalf("%s links only %q", w.Room, deps)
		}
		for _, fault := range w.check(deps) {
			t.Error(fault)
		}
	}
}

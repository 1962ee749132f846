package owner

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The IDs of an account that exists on no machine.
const uid, gid = 54321, 54322

func TestKeep(t *testing.T) {
	if !Root() {
		t.Skip("NOT TESTED: only root can make files that belong to others; run the test as root")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(outside, filepath.Join(dir, "linked")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "symlinked")); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"new", "a/b/new", "linked", "symlinked"} {
		f, err := OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	f, err := CreateTemp(dir, "x")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		s, name := info.Sys().(*syscall.Stat_t), d.Name()
		if mine := name == "linked" || name == "symlinked"; mine != (s.Uid != uid || s.Gid != gid) {
			t.Errorf("%s belongs to %d:%d", path, s.Uid, s.Gid)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// makers lists functions whose files and folders belong to the process's
// account.
var makers = []string{"OpenFile", "Create", "CreateTemp", "WriteFile", "Mkdir", "MkdirAll", "MkdirTemp"}

// elsewhere lists sources that create files outside of data folders.
var elsewhere = map[string]string{
	"cmd/muniment/internal/evidence/append.go":            "receipts, in the user's folder",
	"cmd/muniment/internal/evidence/appendlarge.go":       "the system's temporary folder",
	"internal/term/save.go":                               "the output",
	"cmd/muniment/internal/remote/gitbranch/gitbranch.go": "the system's temporary folder",
	"cmd/conductor/backfill.go":                           "reports, in the user's folder",
	"conductor/backfill/rehearse/clone.go":                "the folder of a clone",
	"conductor/backfill/rehearse/load.go":                 "the system's temporary folder",
	"conductor/backfill/rehearse/server.go":               "the folder of a clone",
	"deploy/monitoring/main.go":                           "generated files",
	"internal/bounded/bounded.go":                         "files that exist",
	"internal/interrupt/interrupt.go":                     "files that exist",
	"verifiers/helm/provenance.go":                        "the system's temporary folder",
	"cmd/muniment/internal/decide/gatedelta.go":           "the system's temporary folder",
	"cmd/muniment/internal/prove/exportrelease.go":        "the system's temporary folder, and one beside the release",
	"controls/spool/spool.go":                             "folders of offline gates",
	"internal/wholefile/sweep.go":                         "its callers choose",
	"internal/wholefile/wholefile.go":                     "its callers choose",
	"ledger/pebblestore/ownerfs.go":                       "the file system of stores",
	"proto/kinds/gen/main.go":                             "generated code",
}

// TestNoOtherMakers checks that files and folders in data folders are created
// by this package only, so that root owns none of them.
func TestNoOtherMakers(t *testing.T) {
	module, files := filepath.Join("..", ".."), 0
	err := filepath.WalkDir(module, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(module, path)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && rel != "." || slices.Contains([]string{"bench", "deploy/release", "internal/peers", "internal/owner", "verifiers/export/gen", "node_modules"}, rel) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || elsewhere[rel] != "" {
			return nil
		}
		files++
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || !slices.Contains(makers, sel.Sel.Name) {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); ok && (pkg.Name == "os" || strings.Contains(strings.ToLower(pkg.Name), "root")) {
				t.Errorf("%s:%d: %s.%s: use internal/owner for files in data folders", rel, fset.Position(n.Pos()).Line, pkg.Name, sel.Sel.Name)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Fatalf("found only %d files", files)
	}
}

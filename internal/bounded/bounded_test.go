package bounded

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"muniment.dev/muniment/internal/soak"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, []byte("12345678"), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := ReadFile(path, 8); err != nil || string(data) != "12345678" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := ReadFile(path, 7); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), path) {
		t.Errorf("a byte too many: %v", err)
	}
	if _, err := ReadFile(filepath.Join(dir, "none"), 7); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	// The size in the metadata can be wrong.
	if _, err := ReadFile("/dev/zero", 1<<20); !errors.Is(err, ErrTooLarge) {
		t.Errorf("an endless device: %v", err)
	}
	sparse := filepath.Join(dir, "sparse")
	if err := os.WriteFile(sparse, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(sparse, 1<<40); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1, func() { _, _ = ReadFile(sparse, Document) }); n > 100 {
		t.Errorf("%v allocations for a file that is too large", n)
	}
}

func TestReadFileIn(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(sub, "f"), []byte("f"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("f", filepath.Join(sub, "inside")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../secret", filepath.Join(sub, "outside")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(sub, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(sub)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{"f", "inside"} {
		if data, err := ReadFileIn(root, name, 1); err != nil || string(data) != "f" {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	for _, name := range []string{"outside", "../secret", "pipe", "."} {
		if data, err := ReadFileIn(root, name, 1); err == nil {
			t.Errorf("%s was read: %q", name, data)
		}
	}
}

// unbounded lists functions that read to the end. io.ReadAll is allowed if its
// argument is bounded in the same expression.
var unbounded = map[string][]string{
	"os":     {"ReadFile"},
	"io":     {"ReadAll"},
	"fs":     {"ReadFile"},
	"ioutil": {"ReadFile", "ReadAll"},
	"bufio":  {"NewScanner"},
}

// TestNoUnboundedReads checks that no other package reads input of untrusted
// length whole.
func TestNoUnboundedReads(t *testing.T) {
	soak.WithoutRace(t)
	module := filepath.Join("..", "..")
	files := 0
	err := filepath.WalkDir(module, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(module, path)
		if d.IsDir() {
			// None of these is in the program: bench measures, peers, arch and
			// storetest are for tests, release and gen write files of the
			// repository.
			if strings.HasPrefix(d.Name(), ".") && rel != "." || slices.Contains([]string{"bench", "internal/arch", "internal/peers", "ledger/store/storetest", "internal/bounded", "deploy/release", "verifiers/export/gen", "node_modules"}, filepath.ToSlash(rel)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files++
		return checkFile(t, path, rel)
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Fatalf("found only %d files", files)
	}
}

func checkFile(t *testing.T, path, rel string) error {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && boundedOnTheSpot(call) {
			return false
		}
		if pkg, name := selector(n); slices.Contains(unbounded[pkg], name) {
			t.Errorf("%s:%d: %s.%s reads input of any length: use internal/bounded", rel, fset.Position(n.Pos()).Line, pkg, name)
		}
		return true
	})
	return nil
}

// boundedOnTheSpot reports whether a call is io.ReadAll of io.LimitReader or
// http.MaxBytesReader, or internal/edge.MaxBytes, which calls it.
func boundedOnTheSpot(call *ast.CallExpr) bool {
	pkg, name := selector(call.Fun)
	if pkg != "io" || name != "ReadAll" || len(call.Args) != 1 {
		return false
	}
	inner, ok := call.Args[0].(*ast.CallExpr)
	if !ok {
		return false
	}
	pkg, name = selector(inner.Fun)
	return pkg == "io" && name == "LimitReader" || pkg == "http" && name == "MaxBytesReader" || pkg == "edge" && name == "MaxBytes"
}

func selector(n ast.Node) (pkg, name string) {
	s, ok := n.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	x, ok := s.X.(*ast.Ident)
	if !ok {
		return "", ""
	}
	return x.Name, s.Sel.Name
}

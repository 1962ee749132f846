package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// inServers are the rooms whose goroutines run in servers, and rooms below them
// that only tests use, or that import nothing and make errors of panics.
var (
	inServers = []string{"api", "ledger", "ingest", "controls", "clients/go", "cmd/muniment/internal/operate"}
	excepted  = []string{"ledger/store/storetest", "api/oidc/oidctest", "clients/go/adaptivecache"}
)

// TestGoroutinesReportPanics checks that every goroutine of a server begins
// with the line that reports its panic in the format of the log.
func TestGoroutinesReportPanics(t *testing.T) {
	found := 0
	for _, room := range inServers {
		err := filepath.WalkDir(filepath.Join(root, room), func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(root, name)
			if slices.ContainsFunc(excepted, func(test string) bool { return within(filepath.ToSlash(rel), test) }) || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
				return nil
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, f := range started(file) {
				found++
				if !reports(f) {
					t.Errorf("%s: the goroutine must be a function literal that begins with: defer crash.Report()", files.Position(f.Pos()))
				}
			}
			return nil
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	if found < 10 {
		t.Errorf("found only %d goroutines", found)
	}
}

// started returns the functions that a file starts in goroutines: by go
// statements, and by the method Go of groups.
func started(file *ast.File) (functions []ast.Expr) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			functions = append(functions, n.Call.Fun)
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Go" && len(n.Args) == 1 {
				functions = append(functions, n.Args[0])
			}
		}
		return true
	})
	return functions
}

func reports(f ast.Expr) bool {
	lit, ok := f.(*ast.FuncLit)
	if !ok || len(lit.Body.List) == 0 {
		return false
	}
	first, ok := lit.Body.List[0].(*ast.DeferStmt)
	if !ok {
		return false
	}
	sel, ok := first.Call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == "crash" && sel.Sel.Name == "Report"
}

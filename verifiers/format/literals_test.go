package format

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/receipt"
)

// owners are the folders whose packages define media types.
var owners = []string{"verifiers", "ledger/receipt", "ledger/cosereceipt"}

// TestMediaTypesHaveOneTable checks that only the formats' packages have media
// types as literals.
func TestMediaTypesHaveOneTable(t *testing.T) {
	const module = "../.."
	files := 0
	err := filepath.WalkDir(module, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(module, path)
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && rel != "." && (name == "node_modules" || name == "testdata" || strings.HasPrefix(name, ".") || slices.Contains(owners, filepath.ToSlash(rel))) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil || ast.IsGenerated(file) {
			return err
		}
		files++
		for _, lit := range mediaTypes(file) {
			t.Errorf("%s: literal %s: use the constant of the format's package, or the registry", set.Position(lit.Pos()), lit.Value)
		}
		return nil
	})
	if err != nil || files < 100 {
		t.Fatalf("read %d files: %v", files, err)
	}
}

// TestMediaTypeLiterals checks that the test above finds what it looks for.
func TestMediaTypeLiterals(t *testing.T) {
	for code, want := range map[string]int{
		`var x = "application/vnd.in-toto+json"`:                 1,
		`var x = "application/vnd.dev.sigstore.bundle" + suffix`: 1,
		"var x = `application/vnd.cncf.helm.config.v1+json`":     1,
		`var x = "Application/VND.dsse.envelope.v1+json"`:        1,
		`var x = "application/cose"`:                             1,
		`var x = "application/json"`:                             0,
		`var help = "such as application/vnd.in-toto+json"`:      0,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+code, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := mediaTypes(file); len(got) != want {
			t.Errorf("%s: found %d literals, want %d", code, len(got), want)
		}
	}
}

// mediaTypes returns the literals of a file that are media types of evidence.
func mediaTypes(file *ast.File) (found []*ast.BasicLit) {
	ast.Inspect(file, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		s, err := strconv.Unquote(lit.Value)
		s = strings.ToLower(s)
		if err == nil && (strings.HasPrefix(s, "application/vnd.") || Of(s) != nil || s == receipt.MediaType) {
			found = append(found, lit)
		}
		return true
	})
	return found
}

package ingest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/kindname"
)

// TestKindsHaveOneTable checks that no code names a kind by a literal. Package
// kindname has the names, and proto/kinds the table. Names that are also
// ordinary words count only where a kind is expected.
func TestKindsHaveOneTable(t *testing.T) {
	files := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != ".." && (name == "node_modules" || name == "testdata" || strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".pb.go") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil || ast.IsGenerated(file) {
			return err
		}
		files++
		for _, lit := range kindLiterals(file) {
			t.Errorf("%s: literal %s: use package kindname, or the table in proto/kinds", set.Position(lit.Pos()), lit.Value)
		}
		return nil
	})
	if err != nil || files < 100 {
		t.Fatalf("read %d files: %v", files, err)
	}
}

// clientSources maps the source folders of the clients in other languages to
// their generated tables.
var clientSources = map[string]string{
	"../clients/ts/packages/verify/src": "../clients/ts/packages/verify/src/kinds.ts",
	"../clients/python/src":             "../clients/python/src/muniment/kinds.py",
}

// TestClientKindsHaveOneTable is TestKindsHaveOneTable for TypeScript and
// Python.
func TestClientKindsHaveOneTable(t *testing.T) {
	for root, generated := range clientSources {
		files := 0
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path == generated || !slices.Contains([]string{".ts", ".tsx", ".py"}, filepath.Ext(path)) {
				return err
			}
			text, err := os.ReadFile(path)
			files++
			text = apart.ReplaceAll(text, nil)
			for _, literal := range clientLiterals(string(text)) {
				t.Errorf("%s: literal %s: use the table of kinds", path, literal)
			}
			return err
		})
		if err != nil || files < 5 {
			t.Errorf("%s: read %d files: %v", root, files, err)
		}
		if _, err := os.Stat(generated); err != nil {
			t.Error(err)
		}
	}
}

// apart matches what is no code of a client: docstrings of Python, and the
// types of artifacts, of which one has the name of a kind.
var apart = regexp.MustCompile(`(?s)""".*?"""|Literal\["image", [^\]]*\]`)

var (
	quotedWord = regexp.MustCompile("[\"'`]([a-z]+(?:-[a-z]+)*)[\"'`]")
	besideKind = regexp.MustCompile(`(?i)kind\w*["']?\s*(?:[:=!]=*)\s*$`)
)

// clientLiterals returns the string literals that name a kind. Names that are
// also ordinary words count only where a kind is compared or assigned.
func clientLiterals(text string) []string {
	var found []string
	for _, m := range quotedWord.FindAllStringSubmatchIndex(text, -1) {
		name := text[m[2]:m[3]]
		if _, ok := table[name]; !ok {
			continue
		}
		if strings.Contains(name, "-") || name == "attestation" || besideKind.MatchString(text[:m[0]]) {
			found = append(found, text[m[0]:m[1]])
		}
	}
	return found
}

// TestClientLiterals checks that clientLiterals finds the literals of kinds.
func TestClientLiterals(t *testing.T) {
	for code, want := range map[string]int{
		`if (e.kind === 'finding') {`:            1,
		`if header.kind == "exception-request":`: 1,
		`const x = {kind: "control"}`:            1,
		`x = {"kind": 'config'}`:                 1,
		`const all = ['gate-decision', "a"]`:     1,
		"`attestation`":                          1,
		`"control": control,`:                    0,
		`const help = "--kind gate-decision"`:    0,
		`const config = parse('config')`:         0,
		`if (e.kind !== other) return "config"`:  0,
	} {
		if got := clientLiterals(code); len(got) != want {
			t.Errorf("%s: found %q, want %d", code, got, want)
		}
	}
}

// TestKindLiterals checks that kindLiterals finds the literals of kinds.
func TestKindLiterals(t *testing.T) {
	for code, want := range map[string]int{
		`var x = "attestation"`:                                                    1,
		`var x = "gate-decision"`:                                                  1,
		`var x = "gate" + "-decision"`:                                             1,
		`var x = "attes" + ("ta" + "tion")`:                                        1,
		`const help = "default:\"attestation\""`:                                   0,
		`var x = "control"`:                                                        0,
		`const ConfigKind = "config"`:                                              1,
		`var x = Filter{Kind: "config"}`:                                           1,
		`var x = Filter{Name: "config"}`:                                           0,
		`func f(kind string) bool { return kind == "finding" }`:                    1,
		`func f(e E) bool { return e.Kind != "finding" }`:                          1,
		`func f(s string) bool { return s == "finding" }`:                          0,
		`func f(e E) { switch e.Kind { case "exception-request", "inventory": } }`: 2,
		`func f(s string) { switch s { case "inventory": } }`:                      0,
		`var may = map[string]bool{"exception-request": true, "control": true}`:    2,
		`func f(f F) { f.Kind = "erasure" }`:                                       1,
		"type T struct { Kind string `default:\"attestation\"` }":                  1,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+code, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := kindLiterals(file); len(got) != want {
			t.Errorf("%s: found %d literals, want %d", code, len(got), want)
		}
	}
}

// kindLiterals returns the literals of a file that name a kind.
func kindLiterals(file *ast.File) []*ast.BasicLit {
	var found []*ast.BasicLit
	add := func(exprs ...ast.Expr) {
		for _, e := range exprs {
			if lit, ok := e.(*ast.BasicLit); ok && kindIn(lit) != "" && !slices.Contains(found, lit) {
				found = append(found, lit)
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			if name := kindIn(n); strings.Contains(name, "-") || name == "attestation" {
				add(n)
			}
		case *ast.Field:
			if n.Tag != nil && strings.Contains(n.Tag.Value, `default:"attestation"`) {
				found = append(found, n.Tag)
			}
		case *ast.KeyValueExpr:
			if ofKind(n.Key) {
				add(n.Value)
			}
		case *ast.BinaryExpr:
			if ofKind(n.X) || ofKind(n.Y) {
				add(n.X, n.Y)
			}
			if first, name := joined(n); strings.Contains(name, "-") || name == kindname.Attestation {
				if _, ok := table[name]; ok {
					found = append(found, first)
				}
			}
		case *ast.SwitchStmt:
			if n.Tag != nil && ofKind(n.Tag) {
				for _, c := range n.Body.List {
					add(c.(*ast.CaseClause).List...)
				}
			}
		case *ast.AssignStmt:
			if slices.ContainsFunc(n.Lhs, ofKind) {
				add(n.Rhs...)
			}
		case *ast.ValueSpec:
			if slices.ContainsFunc(n.Names, func(i *ast.Ident) bool { return ofKind(i) }) {
				add(n.Values...)
			}
		case *ast.CompositeLit:
			if all := elements(n); len(all) > 1 {
				add(all...)
			}
		}
		return true
	})
	return found
}

// joined returns the text of literals joined by +, and the first of them, or
// nil.
func joined(e ast.Expr) (first *ast.BasicLit, text string) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return e, s
		}
	case *ast.ParenExpr:
		return joined(e.X)
	case *ast.BinaryExpr:
		x, head := joined(e.X)
		y, tail := joined(e.Y)
		if e.Op == token.ADD && x != nil && y != nil {
			return x, head + tail
		}
	}
	return nil, ""
}

// elements returns the keys or elements of a literal that are names of kinds.
func elements(n *ast.CompositeLit) []ast.Expr {
	var all []ast.Expr
	for _, e := range n.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			e = kv.Key
		}
		if lit, ok := e.(*ast.BasicLit); ok && kindIn(lit) != "" {
			all = append(all, lit)
		}
	}
	return all
}

// kindIn returns the kind that the literal names, or "".
func kindIn(lit *ast.BasicLit) string {
	s, err := strconv.Unquote(lit.Value)
	if _, ok := table[s]; lit.Kind != token.STRING || err != nil || !ok {
		return ""
	}
	return s
}

// ofKind reports whether the expression is called kind.
func ofKind(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return strings.HasSuffix(strings.ToLower(e.Name), "kind")
	case *ast.SelectorExpr:
		return ofKind(e.Sel)
	case *ast.CallExpr:
		return ofKind(e.Fun)
	}
	return false
}

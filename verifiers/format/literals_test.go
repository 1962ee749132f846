package format

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

	"muniment.dev/muniment/ledger/receipt"
)

// owners are the folders whose packages define media types.
var owners = []string{"cmd/muniment/internal/remote/forge", "verifiers", "ledger/receipt", "ledger/cosereceipt", "proto/kinds"}

// TestMediaTypesHaveOneTable checks that media types are literals only in the
// formats' packages, and each in one file.
func TestMediaTypesHaveOneTable(t *testing.T) {
	const module = "../.."
	files, defined := 0, map[string]string{}
	walkSources(t, module, []string{".go"}, func(path, rel string) {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			t.Error(err)
			return
		}
		if ast.IsGenerated(file) {
			return
		}
		files++
		for _, found := range mediaTypes(file) {
			if !slices.ContainsFunc(owners, func(o string) bool { return strings.HasPrefix(rel, o+"/") }) {
				t.Errorf("%s: literal %q: use the constant of the format's package, or the registry", set.Position(found.pos), found.text)
			} else if other := defined[found.text]; other != "" && other != rel && !twice[found.text] {
				t.Errorf("%s: literal %q is in %s as well", set.Position(found.pos), found.text, other)
			}
			defined[found.text] = rel
		}
	})
	if files < 100 {
		t.Fatalf("read only %d files", files)
	}
}

// twice has the media types that two packages define, because neither may
// import the other.
var twice = map[string]bool{"application/cose": true}

// TestClientMediaTypesHaveOneTable checks that the clients in other languages
// define each media type in one file.
func TestClientMediaTypesHaveOneTable(t *testing.T) {
	for _, root := range []string{"../../clients/ts/packages/verify/src", "../../clients/python/src"} {
		files, defined := 0, map[string]string{}
		walkSources(t, root, []string{".ts", ".tsx", ".py"}, func(path, rel string) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Error(err)
				return
			}
			files++
			if rel == "sigstore/publicgood.ts" {
				return // contains a document
			}
			for _, m := range quotedMediaType.FindAllStringSubmatch(string(text), -1) {
				if other := defined[m[1]]; other != "" && other != rel {
					t.Errorf("%s: literal %q is in %s as well", rel, m[1], other)
				}
				defined[m[1]] = rel
			}
		})
		if files < 5 {
			t.Errorf("%s: read only %d files", root, files)
		}
	}
}

var quotedMediaType = regexp.MustCompile("[\"'`](application/(?:vnd\\.|cose)[^\"'`\\s]*)[\"'`]")

// walkSources calls f for the source files below root that are not tests, with
// their paths and their paths relative to root.
func walkSources(t *testing.T, root string, extensions []string, f func(path, rel string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (name == "node_modules" || name == "testdata" || strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if d.IsDir() || !slices.Contains(extensions, filepath.Ext(name)) || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err == nil {
			f(path, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
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
		`var x = "application/" + "vnd.in-toto+json"`:            1,
		`var x = "application" + ("/" + "cose")`:                 1,
		`var x = kind + "/vnd.in-toto" + "+json"`:                1,
		`var x = "vnd.dsse.envelope.v1+json"`:                    1,
		`var x = fmt.Sprintf("%s/vnd.in-toto+json", "a")`:        1,
		`var x = "application/json"`:                             0,
		`var x = "application/" + "json"`:                        0,
		`var x = "/vnd.docker.reference.type"`:                   0,
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

// A literal is a constant string of a file.
type literal struct {
	pos  token.Pos
	text string
}

// mediaTypes returns the literals of a file that are media types of evidence,
// or parts of them. Literals that are joined by + count as one.
func mediaTypes(file *ast.File) (found []literal) {
	ast.Inspect(file, func(n ast.Node) bool {
		e, ok := n.(ast.Expr)
		if !ok {
			return true
		}
		s, constant := joined(e)
		if constant && isMediaType(strings.ToLower(s)) {
			found = append(found, literal{e.Pos(), s})
			return false
		}
		return true
	})
	return found
}

// joined returns the value of a string literal, or of literals joined by +.
func joined(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		return s, e.Kind == token.STRING && err == nil
	case *ast.ParenExpr:
		return joined(e.X)
	case *ast.BinaryExpr:
		x, okX := joined(e.X)
		y, okY := joined(e.Y)
		return x + y, e.Op == token.ADD && okX && okY
	}
	return "", false
}

// isMediaType reports whether a text without spaces contains a media type of
// evidence, or is the second part of one.
func isMediaType(s string) bool {
	if strings.ContainsAny(s, " \n") {
		return false // help text
	}
	if strings.HasPrefix(s, "application/vnd.") || Of(s) != nil || s == receipt.MediaType {
		return true
	}
	return slices.ContainsFunc(All(), func(f *Format) bool {
		_, sub, _ := strings.Cut(f.MediaType, "/")
		sub, _, _ = strings.Cut(sub, "+")
		return strings.HasPrefix(sub, "vnd.") && strings.Contains(s, sub)
	})
}

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/clients/go/verify"
)

var codeSpan = regexp.MustCompile("`([^`]+)`")

// sdkNames returns the names in the column of Go of the tables of a section of
// docs/sdks.md, by the rows' titles.
func sdkNames(t *testing.T, heading string) map[string][]string {
	page, err := os.ReadFile("../../docs/sdks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := map[string][]string{}
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || strings.TrimSpace(cells[2]) == "Go" || strings.HasPrefix(cells[1], "---") {
			continue
		}
		title := strings.TrimSpace(cells[1])
		for _, span := range codeSpan.FindAllStringSubmatch(cells[2], -1) {
			rows[title] = append(rows[title], span[1])
		}
		if rows[title] == nil {
			t.Errorf("%s: no name for Go", title)
		}
	}
	if len(rows) < 10 {
		t.Fatalf("section %q: %d rows", heading, len(rows))
	}
	return rows
}

// functionsOf returns the exported functions of a package and the numbers of
// their parameters.
func functionsOf(t *testing.T, folder string) map[string]int {
	paths, err := filepath.Glob(folder + "/*.go")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int{}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.IsExported() {
				all[f.Name.Name] = f.Type.Params.NumFields()
			}
		}
	}
	return all
}

// hasMethod reports whether a type has a method, or a field with a method for
// the names "Field.Method", with the number of parameters.
func hasMethod(of reflect.Type, name, args string) bool {
	if field, method, nested := strings.Cut(name, "."); nested {
		f, ok := of.Elem().FieldByName(field)
		if !ok {
			return false
		}
		_, ok = f.Type.MethodByName(method)
		return ok
	}
	m, ok := of.MethodByName(name)
	return ok && (args == "" || m.Type.NumIn()-1 == countOf(args))
}

// countOf returns the number of arguments in parentheses.
func countOf(args string) int {
	if args = strings.Trim(args, "()"); args == "" {
		return 0
	}
	return strings.Count(args, ",") + 1
}

// Every name of Go in the tables that compare the SDKs exists.
func TestSideBySide(t *testing.T) {
	functions := map[string]map[string]int{"muniment": functionsOf(t, "../../clients/go"), "verify": functionsOf(t, "../../clients/go/verify")}
	values := map[string]reflect.Type{"verifier": reflect.TypeFor[*verify.Verifier](), "report": reflect.TypeFor[*verify.Report]()}
	client := reflect.TypeFor[*muniment.Client]()
	exists := func(span string) bool {
		name, args := span, ""
		if at := strings.IndexByte(span, '('); at >= 0 {
			name, args = span[:at], span[at:]
		}
		base, member, _ := strings.Cut(name, ".")
		if of, ok := functions[base]; ok {
			n, ok := of[member]
			return ok && (args == "" || n == countOf(args))
		}
		if of, ok := values[base]; ok {
			return hasMethod(of, member, args)
		}
		_, ok := functions["muniment"][name]
		return ok || hasMethod(client, name, args)
	}
	for _, heading := range []string{"Verify", "Call the API"} {
		for title, names := range sdkNames(t, heading) {
			for _, name := range names {
				if !exists(name) {
					t.Errorf("docs/sdks.md, %s, %s: Go has no %s", heading, title, name)
				}
			}
		}
	}
	for _, wrong := range []string{"verify.LoadConfig(path, open)", "verify.Nothing", "verifier.Nothing", "report.Nothing()", "Nothing", "Gate.Nothing", "Nothing.Decide", "nothing.New"} {
		if exists(wrong) {
			t.Errorf("%s exists", wrong)
		}
	}
}

// Command gen writes the generated tables of entry kinds below a folder: the
// names as Go constants, and the whole table in TypeScript and Python.
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"go/format"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"

	"muniment.dev/muniment/proto/kinds"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// outputs are the generated files and their templates.
var outputs = []struct{ path, text string }{
	{"internal/kindname/kindname.go", goText},
	{"clients/ts/packages/verify/src/kinds.ts", tsText},
	{"clients/python/src/muniment/kinds.py", pythonText},
}

//go:embed kindname.go.tmpl
var goText string

//go:embed kinds.ts.tmpl
var tsText string

//go:embed kinds.py.tmpl
var pythonText string

var functions = template.FuncMap{
	"goName": goName,
	"class":  class,
	"author": author,
	"others": others,
	"single": single,
	"double": double,
	"tuple":  tuple,
	"value":  value,
	"upper":  upper,
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: gen FOLDER")
	}
	for _, o := range outputs {
		if err := write(filepath.Join(os.Args[1], filepath.FromSlash(o.path)), o.text); err != nil {
			log.Fatal(err)
		}
	}
}

func write(path, text string) error {
	t, err := template.New(filepath.Base(path)).Funcs(functions).Parse(text)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, kinds.All()); err != nil {
		return err
	}
	code := out.Bytes()
	if strings.HasSuffix(path, ".go") {
		if code, err = format.Source(code); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, code, 0o644)
}

// goName returns the Go name of a kind: ExportManifest of export-manifest.
func goName(kind string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(kind, "-") {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

func class(k *kinds.Kind) string {
	return strings.ToLower(strings.TrimPrefix(k.Class.String(), "KIND_CLASS_"))
}

// author returns the role that may append entries of the kind, or server.
func author(k *kinds.Kind) string {
	if k.Author == munimentv1.Role_ROLE_UNSPECIFIED {
		return "server"
	}
	return roleName(k.Author)
}

// others returns the further roles that may append entries of the kind.
func others(k *kinds.Kind) (names []string) {
	for _, r := range k.OtherAuthors {
		names = append(names, roleName(r))
	}
	return names
}

func roleName(r munimentv1.Role) string {
	return strings.ToLower(strings.TrimPrefix(r.String(), "ROLE_"))
}

// single returns a TypeScript string literal as Prettier writes it: in single
// quotes, or in double quotes if the string contains an apostrophe.
func single(s string) string {
	quoted := strconv.Quote(s)
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		return quoted
	}
	return "'" + strings.ReplaceAll(strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`), "'", `\'`) + "'"
}

// upper returns the name of a constant in Python.
func upper(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }

// double returns a Python string literal in double quotes.
func double(s string) (string, error) {
	b, err := json.Marshal(s)
	return string(b), err
}

// tuple returns a Python tuple, wrapped as ruff does it: the line has 8 spaces
// and key_facts= before it, a comma after it, and at most 100 columns.
func tuple(items []string) (string, error) {
	quoted := make([]string, len(items))
	for i, item := range items {
		var err error
		if quoted[i], err = double(item); err != nil {
			return "", err
		}
	}
	if len(quoted) == 1 {
		return "(" + quoted[0] + ",)", nil
	}
	line := "(" + strings.Join(quoted, ", ") + ")"
	if len("        key_facts=")+len(line)+len(",") <= 100 {
		return line, nil
	}
	return "(\n            " + strings.Join(quoted, ",\n            ") + ",\n        )", nil
}

// value returns the value of a member of a TypeScript object, after its name
// and colon, wrapped as prettier does it.
func value(columns int, literal string) string {
	if len("    summary: ")+len(literal)+len(",") <= columns {
		return " " + literal
	}
	return "\n      " + literal
}

package verify_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// Every exported symbol of the package has a doc comment: types, functions,
// methods, constants, variables, and fields of exported structs. Symbols of one
// group can share its comment, and fields one line.
func TestEverySymbolIsDocumented(t *testing.T) {
	files := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var parsed []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, file)
	}
	seen := 0
	require := func(at ast.Node, name string, comments ...*ast.CommentGroup) {
		if !ast.IsExported(name) {
			return
		}
		seen++
		for _, c := range comments {
			if c.Text() != "" {
				return
			}
		}
		t.Errorf("%s: %s has no doc comment", files.Position(at.Pos()), name)
	}
	for _, file := range parsed {
		for _, declared := range file.Decls {
			switch d := declared.(type) {
			case *ast.FuncDecl:
				require(d, d.Name.Name, d.Doc)
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.ValueSpec:
						for _, name := range s.Names {
							require(s, name.Name, s.Doc, s.Comment, d.Doc)
						}
					case *ast.TypeSpec:
						require(s, s.Name.Name, s.Doc, d.Doc)
						if of, ok := s.Type.(*ast.StructType); ok && s.Name.IsExported() {
							requireFields(of, require)
						}
					}
				}
			}
		}
	}
	if seen < 80 {
		t.Errorf("only %d symbols were found", seen)
	}
}

// requireFields requires a comment above or beside each field, or above the
// block of lines that it is in.
func requireFields(of *ast.StructType, require func(ast.Node, string, ...*ast.CommentGroup)) {
	for _, field := range of.Fields.List {
		for _, name := range field.Names {
			require(field, name.Name, field.Doc, field.Comment)
		}
		if inner, ok := field.Type.(*ast.StructType); ok {
			requireFields(inner, require)
		}
	}
}

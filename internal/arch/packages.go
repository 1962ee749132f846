package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// module is the path of the module, with a slash.
const module = "muniment.dev/muniment/"

// A Package is a folder of Go files. Its import lists are sorted and contain
// folders of the module only.
type Package struct {
	Folder  string
	Imports []string
	Tests   []string // of its test files

	// References counts the uses of each restricted function or type outside of
	// tests, by its package and name: "ledger/entry.ParseHeader", "net.Listen".
	References map[string]int
}

// Load reads the imports of all packages below the root of the repository, for
// every system and build tag.
func Load(root fs.FS) ([]Package, error) {
	found := map[string]*Package{}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || path.Ext(name) != ".go" {
			return nil
		}
		data, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		folder := path.Dir(name)
		if found[folder] == nil {
			found[folder] = &Package{Folder: folder, References: map[string]int{}}
		}
		return found[folder].add(name, data)
	})
	if err != nil {
		return nil, err
	}
	var packages []Package
	for _, folder := range slices.Sorted(maps.Keys(found)) {
		p := found[folder]
		slices.Sort(p.Imports)
		slices.Sort(p.Tests)
		p.Imports, p.Tests = slices.Compact(p.Imports), slices.Compact(p.Tests)
		packages = append(packages, *p)
	}
	return packages, nil
}

// add adds the imports of a file, and its references to restricted functions.
func (p *Package) add(name string, data []byte) error {
	mode := parser.ImportsOnly
	isTest := strings.HasSuffix(name, "_test.go")
	if !isTest && slices.ContainsFunc(Restrictions, func(r Restriction) bool { return bytes.Contains(data, []byte(r.Func)) }) {
		mode = parser.SkipObjectResolution
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, data, mode)
	if err != nil {
		return err
	}
	locals := map[string]string{} // name in this file to folder, or to import path
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		to, ours := strings.CutPrefix(imported, module)
		local := path.Base(to)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		if !ours {
			locals[local] = imported
			continue
		}
		if local == "." {
			return fmt.Errorf("%s: dot import of %s: import it under its name", name, to)
		}
		locals[local] = to
		if isTest {
			p.Tests = append(p.Tests, to)
		} else {
			p.Imports = append(p.Imports, to)
		}
	}
	if mode != parser.ImportsOnly {
		p.count(file, locals)
	}
	return nil
}

// count counts a file's references to restricted functions.
func (p *Package) count(file *ast.File, locals map[string]string) {
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		for _, r := range Restrictions {
			if locals[x.Name] == r.Package && sel.Sel.Name == r.Func {
				p.References[r.Package+"."+r.Func]++
			}
		}
		return true
	})
}

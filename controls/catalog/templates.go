package catalog

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
)

//go:embed templates/*.yaml tests/*.yaml
var templates embed.FS

// Templates returns the names of the starter sets, sorted.
func Templates() []string {
	files, err := templates.ReadDir("templates")
	if err != nil {
		panic(err) // embedded
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(f.Name(), path.Ext(f.Name())))
	}
	slices.Sort(names)
	return names
}

// Template returns the file of a starter set.
func Template(name string) ([]byte, error) {
	if !slices.Contains(Templates(), name) {
		return nil, fmt.Errorf("no template has the name %q: use one of %s", name, strings.Join(Templates(), ", "))
	}
	return templates.ReadFile("templates/" + name + ".yaml")
}

// TemplateHint returns what to change in a starter set before it is applied.
func TemplateHint(name string) string {
	if name == "backfill" {
		return "give the token of the conductor the ID conductor, or replace token:conductor"
	}
	return "replace its signers"
}

// TemplateTest returns the cases of a starter set, for its test file.
func TemplateTest(name string) ([]byte, error) {
	return templates.ReadFile("tests/" + name + ".yaml")
}

package trial

import (
	"testing"

	"muniment.dev/muniment/controls/catalog"
)

// TestTemplates runs the cases of each starter set.
func TestTemplates(t *testing.T) {
	for _, name := range catalog.Templates() {
		text, err := catalog.Template(name)
		if err != nil {
			t.Fatal(err)
		}
		set, err := catalog.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := set.Entries()
		if err != nil {
			t.Fatal(err)
		}
		cases, err := catalog.TemplateTest(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := Parse(cases, noFiles)
		if err == nil {
			err = file.Check(set)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, c := range file.Cases {
			out, err := Run(t.Context(), entries, c, preview)
			if err != nil || len(out.Differences) > 0 {
				t.Errorf("%s: %s: %v, %+v", name, c.Name, err, out)
			}
		}
	}
}

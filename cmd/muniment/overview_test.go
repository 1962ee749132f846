package main

import (
	"testing"

	"github.com/alecthomas/kong"

	"muniment.dev/muniment/controls/views"
)

// The overview of the portal shows commands that connect what is missing. The
// parser accepts each, and each names its kind if it appends a document.
func TestOverviewCommandsParse(t *testing.T) {
	t.Setenv("MUNIMENT_CONFIG", "")
	n := 0
	for kind, line := range views.Commands() {
		n++
		calls := shellWords(t, line)
		if len(calls) != 1 {
			t.Errorf("%s: %q is not one command: %q", kind, line, calls)
			continue
		}
		parser, err := kong.New(&cli{}, append(flagValues(), kong.Name("muniment"))...)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkEmptyFlags(parser.Model, calls[0]); err != nil {
			t.Errorf("%s: %s: %v", kind, line, err)
		}
		k, err := parser.Parse(calls[0])
		if err != nil {
			t.Errorf("%s: %s: %v", kind, line, err)
			continue
		}
		for _, f := range k.Flags() {
			if f.Name == "kind" && f.Set && f.Target.String() != kind {
				t.Errorf("%s: %s: it appends an entry of kind %s", kind, line, f.Target)
			}
		}
	}
	if n < 9 {
		t.Errorf("%d commands", n)
	}
}

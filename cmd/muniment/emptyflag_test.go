package main

import (
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestEmptyFlags gives an empty value to every flag of every command.
func TestEmptyFlags(t *testing.T) {
	parser, err := kong.New(&cli{}, append(flagValues(), kong.Name("muniment"))...)
	if err != nil {
		t.Fatal(err)
	}
	flags := 0
	for name, leaf := range leaves(t) {
		command := strings.Fields(name)
		for _, group := range leaf.AllFlags(false) {
			for _, f := range group {
				forms := [][]string{{"--" + f.Name, ""}, {"--" + f.Name + "="}}
				if f.Short != 0 {
					forms = append(forms, []string{"-" + string(f.Short), ""})
				}
				for _, form := range forms {
					err := checkEmptyFlags(parser.Model, append(command, form...))
					if refused := err != nil; refused == f.IsBool() {
						t.Errorf("muniment %s %q: %v", name, form, err)
					}
				}
				flags++
			}
		}
	}
	if flags < 100 {
		t.Errorf("only %d flags", flags)
	}
	for _, args := range [][]string{{"verify", "a", "--tenant", "x", ""}, {"verify", "--", "--tenant", ""}, {"verify", "--tenant=x"}, {"verify", ""}, {}} {
		if err := checkEmptyFlags(parser.Model, args); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
}

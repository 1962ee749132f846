package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// checkEmptyFlags returns an error if a flag is given an empty value. In a
// script, that is a variable that is not set. It would disable a check, such as
// that of --stream-key, or name the current folder.
func checkEmptyFlags(app *kong.Application, args []string) error {
	node := app.Node
	for i, arg := range args {
		if arg == "--" {
			return nil
		}
		for _, child := range node.Children {
			if child.Name == arg {
				node = child
				break
			}
		}
		name, value, inline := strings.Cut(arg, "=")
		switch {
		case inline && value != "":
			continue
		case !inline && (i+1 == len(args) || args[i+1] != ""):
			continue
		}
		if f := flagOf(node, name); f != nil && !f.IsBool() {
			return fmt.Errorf("--%s: must not be empty: is a variable unset?", f.Name)
		}
	}
	return nil
}

// flagOf returns the flag of a command, or of the commands above it, that an
// argument such as --name or -n selects. It returns nil if there is none.
func flagOf(node *kong.Node, arg string) *kong.Flag {
	for _, group := range node.AllFlags(false) {
		for _, f := range group {
			if arg == "--"+f.Name || f.Short != 0 && arg == "-"+string(f.Short) {
				return f
			}
			for _, alias := range f.Aliases {
				if arg == "--"+alias {
					return f
				}
			}
		}
	}
	return nil
}

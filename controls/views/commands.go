package views

import "iter"

// Commands yields the commands with which the overview shows how to connect
// what it lacks, each with its kind.
func Commands() iter.Seq2[string, string] {
	return func(yield func(kind, command string) bool) {
		for kind, h := range how {
			for _, command := range h.commands {
				if !yield(kind, command) {
					return
				}
			}
		}
	}
}

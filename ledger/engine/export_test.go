package engine

import (
	"maps"
	"slices"

	"muniment.dev/muniment/ledger/store"
)

// Schemes returns the schemes of the table.
func Schemes() []string { return slices.Sorted(maps.Keys(engines)) }

// At returns the engine of a scheme.
func At(scheme string) store.Engine { return engines[scheme] }

package arch

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// groups abbreviates lists that several rows share. A group comes before those
// that are parts of it.
var groups = []struct {
	name, meaning string
	rooms         []string
}{
	{"*server*", "the rooms of the server and its clients", server},
	{"*shared*", "the packages that all groups of commands share", shared},
}

// Markdown returns the table of rooms for docs/architecture.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| room | purpose | may import | its tests also |\n|---|---|---|---|\n")
	for _, r := range Rooms {
		name := "`" + r.Folder + "`"
		if r.Coming {
			name += " (coming)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, r.Purpose, cell(r.Imports), cell(r.Tests))
	}
	b.WriteByte('\n')
	item := func(format string, args ...any) { b.WriteString(wrap(fmt.Sprintf("- "+format, args...))) }
	for _, g := range groups {
		item("%s: %s, which are %s.", g.name, g.meaning, quoted(g.rooms))
	}
	item("Every package may also import its own room and %s.", quoted(everyone))
	item("Every test may also import %s.", quoted(forTests))
	var byName []string
	for _, r := range Rooms {
		if r.ByName {
			byName = append(byName, r.Folder)
		}
	}
	item("A name covers the rooms below it, except for %s, which must be listed themselves.", quoted(byName))
	return b.String()
}

// wrap wraps a list item at 100 columns.
func wrap(text string) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		switch n := utf8.RuneCountInString(word); {
		case i == 0:
			column = n
		case column+1+n > 100:
			b.WriteString("\n  ")
			column = 2 + n
		default:
			b.WriteByte(' ')
			column += 1 + n
		}
		b.WriteString(word)
	}
	b.WriteByte('\n')
	return b.String()
}

// cell returns a list of rooms as a cell of the table, by the names of groups
// where it contains them whole.
func cell(rooms []string) string {
	if len(rooms) == 0 {
		return "–"
	}
	var names []string
	rest := slices.Clone(rooms)
	for _, g := range groups {
		whole := !slices.ContainsFunc(g.rooms, func(r string) bool { return !slices.Contains(rest, r) })
		if whole {
			names = append(names, g.name)
			rest = slices.DeleteFunc(rest, func(r string) bool { return slices.Contains(g.rooms, r) })
		}
	}
	if len(rest) > 0 {
		names = append(names, quoted(rest))
	}
	return strings.Join(names, ", ")
}

func quoted(rooms []string) string { return "`" + strings.Join(rooms, "`, `") + "`" }

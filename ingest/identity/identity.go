// Package identity compares names of people as text.
//
// Text is no proof of who somebody is. The comparison only refuses two
// spellings of one name where two people are required.
package identity

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Fold returns the form in which names are compared: NFKC
// (https://www.unicode.org/reports/tr15/), case-folded, without white space and
// without characters that are not visible. It is empty if nothing of the name
// is visible.
func Fold(name string) string {
	fold := cases.Fold()
	for {
		next := strings.Map(visible, norm.NFKC.String(fold.String(norm.NFKC.String(name))))
		if next == name {
			return name
		}
		name = next // removing a character may let its neighbours compose
	}
}

// Same reports whether two names differ at most in how they are written.
func Same(a, b string) bool { return Fold(a) == Fold(b) }

func visible(r rune) rune {
	if unicode.IsSpace(r) || !Visible(r) {
		return -1
	}
	return r
}

// Visible reports whether a character is white space or can be seen: it is no
// format character, control, private use, default ignorable, nor damaged.
func Visible(r rune) bool {
	switch {
	case unicode.IsSpace(r):
		return true
	case unicode.Is(unicode.Z, r), unicode.Is(unicode.C, r):
		return false
	case unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r), unicode.Is(unicode.Variation_Selector, r):
		return false
	}
	// an empty Braille cell, a damaged character
	return r != '\u2800' && r != unicode.ReplacementChar
}

// Package identity compares names of people as text.
//
// A textual name does not identify a person. Comparing names only prevents one
// person from appearing as two by spelling a name differently.
package identity

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Fold returns a name in the form used for comparison: in NFKC
// (https://www.unicode.org/reports/tr15/), case-folded, without white space and
// without invisible characters. The result is empty if the name has no visible
// characters.
func Fold(name string) string {
	fold := cases.Fold()
	for {
		next := strings.Map(visible, norm.NFKC.String(fold.String(norm.NFKC.String(name))))
		if next == name {
			return name
		}
		name = next // after a removal, neighbouring characters can compose
	}
}

// Same reports whether two strings are spellings of one name.
func Same(a, b string) bool { return Fold(a) == Fold(b) }

func visible(r rune) rune {
	if unicode.IsSpace(r) || !Visible(r) {
		return -1
	}
	return r
}

// Visible reports whether a character is white space or visible. Format,
// control, private-use and default-ignorable characters are not visible, nor is
// the replacement character.
func Visible(r rune) bool {
	switch {
	case unicode.IsSpace(r):
		return true
	case unicode.Is(unicode.Z, r), unicode.Is(unicode.C, r):
		return false
	case unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r), unicode.Is(unicode.Variation_Selector, r):
		return false
	}
	// U+2800 is an empty Braille cell.
	return r != '\u2800' && r != unicode.ReplacementChar
}

// personPrefix begins the submitters of entries that are persons.
const personPrefix = "oidc:"

// Person returns the text by which a person is compared with others, or "" if
// the submitter is not a person: it has the form oidc:ISSUER#SUBJECT.
func Person(submitter string) string {
	issuer, subject, ok := strings.Cut(strings.TrimPrefix(submitter, personPrefix), "#")
	if !strings.HasPrefix(submitter, personPrefix) || !ok || Fold(issuer) == "" || Fold(subject) == "" {
		return ""
	}
	return Fold(submitter)
}

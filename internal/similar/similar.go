// Package similar finds the known name that a mistyped one resembles.
package similar

import (
	"fmt"
	"strings"
)

// DidYouMean returns a suggestion to append to an error, or "" if no name is
// similar.
func DidYouMean(given string, names []string) string {
	best, least := "", max(2, len(given)/3)+1
	for _, name := range names {
		if d := distance(strings.ReplaceAll(given, "-", "_"), strings.ReplaceAll(name, "-", "_")); d < least {
			best, least = name, d
		}
	}
	if best == "" || len(given) > 40 {
		return ""
	}
	return fmt.Sprintf(": did you mean %s?", best)
}

// distance returns the Levenshtein distance of a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

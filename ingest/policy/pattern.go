package policy

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// A regular expression takes memory, and time for each character that it looks
// at, in proportion to its weight: roughly, its length after counted
// repetitions are written out. "x{1000}" is short, and weighs a thousand.
const (
	maxWeight  = 4_000   // of one
	maxWeights = 200_000 // of a policy's
)

// anchored makes a regular expression that must match the whole text, and
// returns its weight.
func anchored(pattern string) (*regexp.Regexp, int, error) {
	weight, err := weigh(pattern) // it is an expression by itself, so that it can't close the group
	if err != nil {
		return nil, 0, err
	}
	re, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
	return re, weight, err
}

// weigh returns an error if the pattern is none, or weighs too much.
func weigh(pattern string) (int, error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0, fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	n := weightOf(re)
	if n > maxWeight {
		return 0, fmt.Errorf("the regular expression is too large: written out it has more than %d parts; repeat less", maxWeight)
	}
	return n, nil
}

func weightOf(re *syntax.Regexp) int {
	n := len(re.Rune)
	if re.Op != syntax.OpLiteral { // of a class, the runes are its bounds
		n = 0
	}
	for _, sub := range re.Sub {
		n += weightOf(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(1, re.Min, re.Max)
	}
	return min(n+1, maxWeight+1)
}

package condition

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// The memory of a regular expression, and its time for each character of the
// text, are proportional to its weight. The weight is roughly the expression's
// length after expansion of counted repetitions: "x{1000}" weighs a thousand.
const (
	maxWeight = 4_000 // of one expression
	// MaxWeights is the limit for all expressions of a document together.
	MaxWeights = 200_000
)

// Anchored returns a regular expression that must match the whole text, and its
// weight.
func Anchored(pattern string) (*regexp.Regexp, int, error) {
	weight, err := weigh(pattern) // also ensures that the pattern cannot close the group
	if err != nil {
		return nil, 0, err
	}
	re, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
	return re, weight, err
}

// weigh returns the weight of a regular expression. The error reports that it
// is malformed or too heavy.
func weigh(pattern string) (int, error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0, fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	n := weightOf(re)
	if n > maxWeight {
		return 0, fmt.Errorf("the regular expression is too large: its repetitions expand to more than %d parts", maxWeight)
	}
	return n, nil
}

func weightOf(re *syntax.Regexp) int {
	n := len(re.Rune)
	if re.Op != syntax.OpLiteral { // the runes of a class are its bounds
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

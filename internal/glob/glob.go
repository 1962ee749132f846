// Package glob matches names against patterns, in which every character but *
// matches itself. Match, MatchParts and MatchText differ in what a * matches.
package glob

import (
	"errors"
	"fmt"
	"strings"
)

// MaxSize is the size limit of a glob in bytes. Artifact names have the same
// limit.
const MaxSize = 2048

// Check returns an error if a glob is malformed or too large.
func Check(glob string) error {
	switch {
	case glob == "":
		return errors.New("must not be empty")
	case len(glob) > MaxSize:
		return fmt.Errorf("%d bytes, above the limit of %d", len(glob), MaxSize)
	case strings.Contains(glob, "***"):
		return errors.New("*** is not allowed: use ** for any characters, or * for any characters except /")
	case strings.Count(glob, "*") > 32:
		return errors.New("more than 32 stars")
	}
	return nil
}

// Match reports whether a name matches a glob, in which * matches any
// characters except /, and ** matches any characters.
//
// It does not backtrack. Its time is proportional to the product of two
// lengths: that of the glob between its first and last star, and that of the
// part of the name which this part must match.
func Match(glob, name string) bool {
	glob, name, ok := trim(glob, name)
	if !ok || glob == "" {
		return ok && name == ""
	}
	// reach[i] reports whether the glob up to here matches name[:i].
	reach := make([]bool, len(name)+1)
	reach[0] = true
	for i := 0; i < len(glob); i++ {
		if glob[i] != '*' {
			for j := len(name); j > 0; j-- {
				reach[j] = reach[j-1] && name[j-1] == glob[i]
			}
			reach[0] = false
			continue
		}
		all := i+1 < len(glob) && glob[i+1] == '*'
		if all {
			i++
		}
		for j := 1; j <= len(name); j++ {
			reach[j] = reach[j] || reach[j-1] && (all || name[j-1] != '/')
		}
	}
	return reach[len(name)]
}

// Overlap reports whether some name matches both globs. Its time is
// proportional to the product of their lengths.
func Overlap(a, b string) bool {
	x, y := tokens(a), tokens(b)
	// reach[i][j] reports whether some text matches both x[:i] and y[:j]. A
	// star matches nothing, or one more token of the other glob.
	reach := make([][]bool, len(x)+1)
	for i := range reach {
		reach[i] = make([]bool, len(y)+1)
		for j := range reach[i] {
			fromX := i > 0 && reach[i-1][j] && (x[i-1].star || j > 0 && y[j-1].matches(x[i-1]))
			fromY := j > 0 && reach[i][j-1] && (y[j-1].star || i > 0 && x[i-1].matches(y[j-1]))
			both := i > 0 && j > 0 && reach[i-1][j-1] && x[i-1] == y[j-1]
			reach[i][j] = i+j == 0 || fromX || fromY || both
		}
	}
	return reach[len(x)][len(y)]
}

// A token is a star or a byte of a glob.
type token struct {
	star, all bool // all: the star matches / too
	char      byte
}

// matches reports whether t is a star that can match the byte.
func (t token) matches(o token) bool { return t.star && (t.all || o.char != '/') }

func tokens(glob string) (all []token) {
	for i := 0; i < len(glob); i++ {
		switch {
		case glob[i] != '*':
			all = append(all, token{char: glob[i]})
		case i+1 < len(glob) && glob[i+1] == '*':
			all = append(all, token{star: true, all: true})
			i++
		default:
			all = append(all, token{star: true})
		}
	}
	return all
}

// Steps returns the maximum number of steps that Match takes.
func Steps(glob, name string) int {
	g, n, ok := trim(glob, name)
	if !ok {
		return 1
	}
	return 1 + len(g)*(len(n)+1)
}

// trim removes the literal text before the glob's first and after its last star
// from both the glob and the name. It reports false if the name differs there.
func trim(glob, name string) (string, string, bool) {
	first := strings.IndexByte(glob, '*')
	if first < 0 {
		return "", "", glob == name
	}
	last := strings.LastIndexByte(glob, '*') + 1
	head, tail := glob[:first], glob[last:]
	if len(name) < len(head)+len(tail) || !strings.HasPrefix(name, head) || !strings.HasSuffix(name, tail) {
		return "", "", false
	}
	return glob[first:last], name[len(head) : len(name)-len(tail)], true
}

// MatchParts reports whether a text matches a pattern in which * matches any
// characters except /. A ** counts as two stars.
func MatchParts(pattern, text string) bool {
	patterns, parts := strings.Split(pattern, "/"), strings.Split(text, "/")
	if len(patterns) != len(parts) {
		return false
	}
	for i := range parts {
		if !MatchText(patterns[i], parts[i]) {
			return false
		}
	}
	return true
}

// MatchText reports whether a text matches a pattern in which * matches any
// characters.
func MatchText(pattern, text string) bool {
	pieces := strings.Split(pattern, "*")
	if len(pieces) == 1 {
		return pattern == text
	}
	first, last := pieces[0], pieces[len(pieces)-1]
	if len(text) < len(first)+len(last) || !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, piece := range pieces[1 : len(pieces)-1] {
		_, after, found := strings.Cut(text, piece)
		if !found {
			return false
		}
		text = after
	}
	return true
}

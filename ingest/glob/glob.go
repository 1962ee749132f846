// Package glob matches names against patterns: * stands for any characters but
// /, ** for any at all, and everything else for itself.
package glob

import (
	"errors"
	"fmt"
	"strings"
)

// MaxSize is the longest glob, in bytes. Names of artifacts are no longer.
const MaxSize = 2048

// Check returns an error if a glob has no meaning, or is too long.
func Check(glob string) error {
	switch {
	case glob == "":
		return errors.New("empty")
	case len(glob) > MaxSize:
		return fmt.Errorf("%d bytes, more than %d", len(glob), MaxSize)
	case strings.Contains(glob, "***"):
		return errors.New("*** stands for nothing; ** is any characters, * any but /")
	case strings.Count(glob, "*") > 32:
		return errors.New("more than 32 stars")
	}
	return nil
}

// Match reports whether the name is one of the glob's. It backtracks nowhere:
// it takes time in proportion to the product of the two lengths between the
// glob's first and last star, and of nothing if the ends differ.
func Match(glob, name string) bool {
	glob, name, ok := trim(glob, name)
	if !ok || glob == "" {
		return ok && name == ""
	}
	// reach[i] reports whether what was read of the glob matches name[:i].
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

// Steps returns how many steps Match takes, at most.
func Steps(glob, name string) int {
	g, n, ok := trim(glob, name)
	if !ok {
		return 1
	}
	return 1 + len(g)*(len(n)+1)
}

// trim cuts off the ends before the first and after the last star. It reports
// false if the name has other ends.
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

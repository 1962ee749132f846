// Package glob matches names against patterns: * stands for any characters but /, ** for any at all, and everything else for itself.
package glob

import (
	"errors"
	"strings"
)

// Check says whether a glob makes sense.
func Check(glob string) error {
	switch {
	case glob == "":
		return errors.New("empty")
	case strings.Contains(glob, "***"):
		return errors.New("*** stands for nothing; ** is any characters, * any but /")
	case strings.Count(glob, "*") > 32:
		return errors.New("more than 32 stars")
	}
	return nil
}

// Match says whether the name is one of the glob's. It takes time in proportion to the two lengths.
func Match(glob, name string) bool {
	// reach[i] says whether what was read of the glob matches name[:i].
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

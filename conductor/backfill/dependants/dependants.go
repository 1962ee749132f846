// Package dependants makes the statements that move what depends on a column
// to the column that takes its name, and back: indexes, constraints, views,
// triggers, rules, policies, functions, publications, statistics, privileges
// and comments. See docs/spec/backfill.md.
//
// What takes time is prepared under other names while the table is in use
// (Prepare). The swap itself changes names and definitions only (Swap). What
// depends on a column by its number is renamed together with it. What would
// follow the column, although it belongs to the name, is dropped and created
// again from its own definition, which contains the public name.
package dependants

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/catalog"
)

// A Direction is that of a swap.
type Direction int

const (
	Cutover  Direction = iota // the shadow column takes the public name
	Rollback                  // the retired column takes it back
)

// Suffixes of the names of indexes, constraints and statistics.
const (
	beforeCutover = "__new" // of those of the shadow column
	afterCutover  = "__old" // of those of the retired column
)

// columns returns the name of the secondary column, which the swap makes the
// public one, and the name that the public column gets.
func (d Direction) columns(ref catalog.Ref) (secondary, retired string) {
	if d == Rollback {
		return ref.Retired, ref.Shadow
	}
	return ref.Shadow, ref.Retired
}

func (d Direction) suffixes() (secondary, retired string) {
	if d == Rollback {
		return afterCutover, beforeCutover
	}
	return beforeCutover, afterCutover
}

// maxName is the limit of PostgreSQL for names, in bytes.
const maxName = 63

// hidden returns the name of an object while another one has its name. A name
// that would be too long is cut, and made unique by a hash.
func hidden(name, suffix string) string {
	if len(name)+len(suffix) <= maxName {
		return name + suffix
	}
	sum := sha256.Sum256([]byte(name))
	hash := "_" + hex.EncodeToString(sum[:4])
	cut := name[:maxName-len(hash)-len(suffix)]
	for !utf8.ValidString(cut) {
		cut = cut[:len(cut)-1]
	}
	return cut + hash + suffix
}

func ident(parts ...string) string { return pgx.Identifier(parts).Sanitize() }

func idents(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = ident(n)
	}
	return strings.Join(quoted, ", ")
}

// literal quotes a text.
func literal(text string) string {
	if strings.Contains(text, `\`) {
		return " E'" + strings.NewReplacer(`\`, `\\`, "'", "''").Replace(text) + "'"
	}
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}

// comment returns the statement for a comment, or nothing without one.
func comment(object string, text *string) []string {
	if text == nil {
		return nil
	}
	return []string{fmt.Sprintf("COMMENT ON %s IS %s", object, literal(*text))}
}

// settings are set before the statements of this package are executed: they
// contain the names that are unqualified under this search_path.
const settings = "SET LOCAL search_path = " + catalog.SearchPath

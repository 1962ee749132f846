package run

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"muniment.dev/muniment/conductor/backfill/cutover"
	"muniment.dev/muniment/conductor/backfill/rehearse"
	"muniment.dev/muniment/internal/safetext"
)

// Entries cannot be changed, so they contain no values of rows. Values occur in
// errors of PostgreSQL about data, and in the statements of other sessions,
// which are shown to the person who runs the command instead.

// reasonOf returns an error for evidence.
func reasonOf(err error) string {
	var blocked *cutover.BlockedError
	if errors.As(err, &blocked) {
		text := "failed after " + safetext.Count(blocked.Attempts, "attempt")
		for _, b := range blocked.Last.Blockers {
			text += fmt.Sprintf("; blocked by process %d (user %s, application %s)", b.PID, b.User, b.Application)
		}
		return clip(text)
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && len(pg.Code) == 5 && slices.Contains([]string{"22", "23", "P0"}, pg.Code[:2]) {
		return clip(redact(err.Error()))
	}
	return clip(err.Error())
}

var quoted = regexp.MustCompile(`(?s)"[^"]*"?|'[^']*'?`)

// redact replaces what is quoted in a message.
func redact(text string) string { return quoted.ReplaceAllString(text, "[…]") }

// withoutQueries returns sessions for evidence.
func withoutQueries(list []cutover.Blocker) []cutover.Blocker {
	list = slices.Clone(list)
	for i := range list {
		list[i].Query = ""
	}
	return list
}

// redacted returns the result of a rehearsal for evidence. Its errors are those
// of the application's statements.
func redacted(r rehearse.Result) rehearse.Result {
	r.Steps, r.Failures = slices.Clone(r.Steps), slices.Clone(r.Failures)
	for i := range r.Steps {
		r.Steps[i].Error, r.Steps[i].Load.Error = redact(r.Steps[i].Error), redact(r.Steps[i].Load.Error)
	}
	for i := range r.Failures {
		r.Failures[i] = redact(r.Failures[i])
	}
	return r
}

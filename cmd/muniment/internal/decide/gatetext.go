package decide

import (
	"fmt"
	"strings"

	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/internal/term"
)

// Text returns the report for people.
func (r *gateReport) Text() string {
	var b strings.Builder
	at := answer.AtStage(r.Stage, r.Environment)
	for i := range r.Subjects {
		r.Subjects[i].Write(&b, at)
	}
	if len(r.Subjects) == 0 {
		fmt.Fprintf(&b, "no images: nothing to decide at %s\n", at)
	}
	answer.WriteUnknown(&b, r.Unknown, r.warnUnknown)
	r.glassText(&b)
	if len(r.Subjects) > 1 || len(r.Unknown) > 0 {
		fmt.Fprintf(&b, "\n%s  %s\n", answer.Marks[r.Decision], r.counts())
	}
	return b.String()
}

// glassText lists the uses of break-glass.
func (r *gateReport) glassText(b *strings.Builder) {
	for _, u := range r.BreakGlass {
		fmt.Fprintf(b, "! break-glass %s from %s until %s", u.ID, term.Quoted(u.Control), u.Expires)
		if u.Entry != nil {
			fmt.Fprintf(b, " (entry %d)", *u.Entry)
		}
		b.WriteString("\n")
	}
	switch {
	case r.Offline && len(r.BreakGlass) > 0:
		fmt.Fprintf(b, "  not decided by the ledger. Submit the signed requests later: muniment exception submit %s\n", term.Quoted(r.spool))
	case len(r.BreakGlass) > 0:
		b.WriteString("  another person must confirm or reject it: muniment exception approve|reject ID\n")
	}
}

// counts returns the number of subjects for each outcome.
func (r *gateReport) counts() string {
	n := map[string]int{}
	for i := range r.Subjects {
		n[r.Subjects[i].Decision]++
	}
	parts := []string{term.Count(len(r.Subjects), "artifact")}
	for _, outcome := range []string{outcomeBlocked, outcomeUndecided} {
		if n[outcome] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[outcome], outcome))
		}
	}
	return strings.Join(parts, ", ")
}

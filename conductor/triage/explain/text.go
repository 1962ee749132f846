package explain

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/conductor/triage/classify"
	"muniment.dev/muniment/internal/safetext"
)

// Text returns the explanation for people.
func (e *Explanation) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, as of %s", safetext.Count(e.Messages, "message"), e.At.UTC().Format(time.RFC3339))
	for _, effect := range slices.Sorted(maps.Keys(e.Effects)) {
		fmt.Fprintf(&b, ", %d %s", e.Effects[effect], effect)
	}
	b.WriteString("\n")
	if e.Skewed > 0 {
		fmt.Fprintf(&b, "%s with a time that cannot be right: check the clock of the sender\n", safetext.Count(e.Skewed, "signal"))
	}
	if e.Left > 0 {
		fmt.Fprintf(&b, "%s left out by the sender: raise max_alerts of its receiver\n", safetext.Count(e.Left, "alert"))
	}
	for _, r := range e.Refused {
		fmt.Fprintf(&b, "message %d, alert %d refused: %s\n", r.Message, r.Alert, r.Reason)
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "and %d more refused\n", e.More)
	}
	for _, r := range e.Results {
		e.result(&b, r)
	}
	return b.String()
}

func (e *Explanation) result(b *strings.Builder, r *classify.Result) {
	fmt.Fprintf(b, "\n%s%s: %s\n", r.Type, labels(r.Key), r.Verdict)
	for _, reason := range r.Reasons {
		fmt.Fprintf(b, "  because %s\n", reason)
	}
	for _, s := range r.Signals {
		fmt.Fprintf(b, "  %s: %d of %d", s.Name, s.Counted, s.Required)
		if s.For != "" {
			fmt.Fprintf(b, ", for %s", s.For)
		}
		b.WriteString("\n")
		for _, a := range s.Alerts {
			alert(b, &a)
		}
		if s.Unlisted > 0 {
			fmt.Fprintf(b, "      and %d more\n", s.Unlisted)
		}
	}
	if r.Verdict != classify.Classified {
		return
	}
	b.WriteString("  steps of the playbook:\n")
	for i, s := range e.Steps[r.Type] {
		fmt.Fprintf(b, "    %d. %s%s on %s, undo: %s", i+1, s.Action, labels(s.Parameters), s.Target, s.Undo)
		if s.Approval {
			b.WriteString(", after approval by a person")
		}
		b.WriteString("\n")
	}
}

func alert(b *strings.Builder, a *classify.Alert) {
	mark := "-"
	if a.Counted {
		mark = "+"
	}
	fmt.Fprintf(b, "    %s %s%s", mark, safetext.Quoted(a.Name), labels(a.Labels))
	if a.Why != "" {
		fmt.Fprintf(b, ": %s", a.Why)
	}
	b.WriteString("\n")
}

// labels returns names and values after a space each.
func labels(m map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, " %s=%s", safetext.Quoted(name), safetext.Quoted(m[name]))
	}
	return b.String()
}

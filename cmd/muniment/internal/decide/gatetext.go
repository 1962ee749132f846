package decide

import (
	"fmt"
	"slices"
	"strings"

	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/controls/evaluate"
)

// marks are the marks of outcomes and of results.
var (
	marks       = map[string]string{outcomePass: "✓ PASS", outcomeBlocked: "✗ BLOCKED", outcomeUndecided: "? UNDECIDED"}
	resultMarks = map[string]string{evaluate.Satisfied: "✓", evaluate.NotSatisfied: "✗", evaluate.Unclear: "?", evaluate.Excepted: "~", evaluate.NotApplicable: "–"}
)

// Text returns the report for people.
func (r *gateReport) Text() string {
	var b strings.Builder
	at := atStage(r.Stage, r.Environment)
	for i := range r.Subjects {
		r.Subjects[i].text(&b, at)
	}
	if len(r.Subjects) == 0 {
		fmt.Fprintf(&b, "no images: nothing to decide at %s\n", at)
	}
	for _, u := range r.Unknown {
		mark := "?"
		if r.warnUnknown {
			mark = "!"
		}
		fmt.Fprintf(&b, "%s %s in %s looks like an image (%s), but it is in no known place\n", mark, term.Quoted(u.Field), term.Quoted(u.Resource), term.Quoted(u.Reference))
	}
	if len(r.Unknown) > 0 && !r.warnUnknown {
		b.WriteString("  fix      add the field to image_paths in controls.yaml, or set unknown_image_fields: warn\n")
	}
	r.glassText(&b)
	if len(r.Subjects) > 1 || len(r.Unknown) > 0 {
		fmt.Fprintf(&b, "\n%s  %s\n", marks[r.Decision], r.counts())
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

func (s *gateSubject) text(b *strings.Builder, at string) {
	name := s.Name
	if name == "" {
		name = digestText(s.Digest)
	}
	fmt.Fprintf(b, "%s  %s (%s) at %s\n", marks[s.Decision], term.Quoted(name), s.Type, at)
	if s.Name != "" {
		line(b, "digest", digestText(s.Digest))
	}
	for _, p := range s.Parts {
		line(b, "", p)
	}
	for _, w := range s.Where {
		line(b, "used in", w)
	}
	switch {
	case s.Reason != "" && s.Decision != outcomePass:
		line(b, "reason", undecidedReasons.explain(s.Reason))
	case s.Entry != nil && s.Repeated:
		line(b, "recorded", fmt.Sprintf("entry %d (the same decision as before), valid until %s", *s.Entry, s.ValidUntil))
	case s.Entry != nil && s.Decision == outcomePass:
		line(b, "recorded", fmt.Sprintf("entry %d, valid until %s", *s.Entry, s.ValidUntil))
	case s.Entry != nil:
		line(b, "recorded", fmt.Sprintf("entry %d", *s.Entry))
	}
	if s.Spooled != "" {
		line(b, "spooled", s.Spooled+", until it is submitted to the log with muniment spool submit")
	}
	for i := range s.Results {
		s.Results[i].text(b)
	}
}

// line writes a labeled line of untrusted text.
func line(b *strings.Builder, label, text string) {
	fmt.Fprintf(b, "  %-9s%s\n", label, term.Quoted(text))
}

func (g *gateResult) text(b *strings.Builder) {
	mark := resultMarks[g.Result]
	if g.Mode != "enforce" && slices.Contains([]string{evaluate.NotSatisfied, evaluate.Unclear}, g.Result) {
		mark = "!"
	}
	suffix := ""
	if g.Mode != "enforce" {
		suffix = " [" + g.Mode + " only]"
	}
	fmt.Fprintf(b, "  %s %s%s%s\n", mark, g.Control, term.Optional("  ", g.Title), suffix)
	if g.Result == evaluate.Satisfied || g.Result == evaluate.NotApplicable {
		g.evidence(b, true)
		return
	}
	for _, x := range g.Exceptions {
		detail(b, "exception", x.String())
	}
	if g.Result == evaluate.Excepted {
		return
	}
	detail(b, "because", g.Reason)
	g.evidence(b, false)
	for _, m := range g.Missing {
		detail(b, "missing", m)
	}
	if fix := g.fix(); fix != "" {
		detail(b, "fix", fix)
	}
	if g.Owner != "" {
		detail(b, "owner", g.Owner)
	}
}

func (x *gateException) String() string {
	text := fmt.Sprintf("%s (entry %d) until %s, requested by %s", x.ID, x.Entry, x.Expires, x.Requester)
	if len(x.Approvers) > 0 {
		text += ", approved by " + strings.Join(x.Approvers, " and ")
	}
	if x.Unconfirmed {
		text += ", by break-glass: another person must confirm or reject it"
	}
	return text
}

// evidence lists what each requirement needs, and what was found for it.
func (g *gateResult) evidence(b *strings.Builder, short bool) {
	for _, q := range g.Requirements {
		if !short {
			detail(b, "needs", q.Name+": "+q.Needs)
		}
		for _, f := range q.Found {
			detail(b, "found", f.String())
			if short {
				break
			}
		}
		for _, f := range q.Ignored {
			if !short {
				detail(b, "ignored", f.String()+": "+f.Why)
			}
		}
	}
	if g.Condition != "" && !short {
		fmt.Fprintf(b, "      %-10s%s\n", "condition", term.Escape(strings.Join(strings.Fields(g.Condition), " ")))
	}
}

func detail(b *strings.Builder, label, text string) {
	fmt.Fprintf(b, "      %-10s%s\n", label, term.Quoted(text))
}

func (f *gateFound) String() string {
	what := f.Kind
	if f.PredicateType != "" {
		what = f.PredicateType
	}
	by := ""
	if len(f.Signers) > 0 {
		by = " by " + strings.Join(f.Signers, " and ")
	}
	return fmt.Sprintf("entry %d: %s%s, %s ago", f.Entry, what, by, f.Age)
}

// fix returns what to do about a result that is not satisfied.
func (g *gateResult) fix() string {
	code, _, _ := strings.Cut(g.Reason, ":")
	return fixes[code]
}

// fixes has the remedy for each reason code of a result.
var fixes = map[string]string{
	"missing-evidence":  "append the missing evidence with muniment append, then ask again",
	"too-few-signers":   "have another of the listed signers sign, append the signature, then ask again",
	"condition-false":   "resolve what the condition is about, or request an exception with muniment exception request",
	"included-control":  "see the included control",
	"condition-error":   "correct the condition in controls.yaml, or the evidence that it reads",
	"too-much-evidence": "the artifact has more entries than a decision reads: rebuild it, so that it has a new digest",
	"facts-unavailable": "the evidence is erased or exceeds the bounds of facts: append it again, in a smaller form",
}

// A reasonTable explains reason codes of decisions without results.
type reasonTable map[string]string

func (t reasonTable) explain(code string) string {
	if text, ok := t[code]; ok {
		return text + " (" + code + ")"
	}
	return code
}

var undecidedReasons = reasonTable{
	"no-control-set":         "no control set is in force: put one in force with muniment control apply",
	"unreadable-control-set": "the control set cannot be read, because an entry of it is erased or invalid: apply it again with muniment control apply",
	"unknown-stage":          "the control set does not define this stage: see muniment control list",
	"unknown-environment":    "the control set does not list this environment: check its spelling, or add it to environments in the control set",
	"no-control-applies":     "no control applies to this artifact at this stage, so nothing is proven about it: add a control for its type",
}

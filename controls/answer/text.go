package answer

import (
	"fmt"
	"slices"
	"strings"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/safetext"
)

// AtStage returns a stage and environment for people.
func AtStage(stage, environment string) string {
	at := "stage " + stage
	if environment != "" {
		at += ", environment " + safetext.Quoted(environment)
	}
	return at
}

// Marks are the marks of outcomes and of results.
var (
	Marks       = map[string]string{string(evaluate.Pass): "✓ PASS", string(evaluate.Blocked): "✗ BLOCKED", string(evaluate.Undecided): "? UNDECIDED"}
	resultMarks = map[string]string{evaluate.Satisfied: "✓", evaluate.NotSatisfied: "✗", evaluate.Unclear: "?", evaluate.Excepted: "~", evaluate.NotApplicable: "–"}
)

// Write writes the answer for people. at is what AtStage returns.
func (s *Subject) Write(b *strings.Builder, at string) {
	name := s.Name
	if name == "" {
		name = DigestText(s.Digest)
	}
	fmt.Fprintf(b, "%s  %s (%s) at %s\n", Marks[s.Decision], safetext.Quoted(name), s.Type, at)
	if s.Name != "" {
		Line(b, "digest", DigestText(s.Digest))
	}
	for _, p := range s.Parts {
		Line(b, "", p)
	}
	for _, w := range s.Where {
		Line(b, "used in", w)
	}
	switch {
	case s.Reason != "" && s.Decision != string(evaluate.Pass):
		Line(b, "reason", Explain(s.Reason))
	case s.Entry != nil && s.Repeated:
		Line(b, "recorded", fmt.Sprintf("entry %d (the same decision as before), valid until %s", *s.Entry, s.ValidUntil))
	case s.Entry != nil && s.Decision == string(evaluate.Pass):
		Line(b, "recorded", fmt.Sprintf("entry %d, valid until %s", *s.Entry, s.ValidUntil))
	case s.Entry != nil:
		Line(b, "recorded", fmt.Sprintf("entry %d", *s.Entry))
	}
	if s.Spooled != "" {
		Line(b, "spooled", s.Spooled+", until it is submitted to the log with muniment spool submit")
	}
	for i := range s.Results {
		s.Results[i].Write(b)
	}
}

// Line writes a labeled line of untrusted text.
func Line(b *strings.Builder, label, text string) {
	fmt.Fprintf(b, "  %-9s%s\n", label, safetext.Quoted(text))
}

// Write writes the result for people.
func (g *Result) Write(b *strings.Builder) {
	mark := resultMarks[g.Result]
	if g.Mode != "enforce" && slices.Contains([]string{evaluate.NotSatisfied, evaluate.Unclear}, g.Result) {
		mark = "!"
	}
	suffix := ""
	if g.Mode != "enforce" {
		suffix = " [" + g.Mode + " only]"
	}
	fmt.Fprintf(b, "  %s %s%s%s\n", mark, g.Control, safetext.Optional("  ", g.Title), suffix)
	if g.Result == evaluate.Satisfied || g.Result == evaluate.NotApplicable {
		g.evidence(b, true)
		return
	}
	for _, x := range g.Exceptions {
		Detail(b, "exception", x.String())
	}
	if g.Result == evaluate.Excepted {
		return
	}
	Detail(b, "because", g.Reason)
	g.evidence(b, false)
	for _, m := range g.Missing {
		Detail(b, "missing", m)
	}
	if fix := g.fix(); fix != "" {
		Detail(b, "fix", fix)
	}
	if g.Owner != "" {
		Detail(b, "owner", g.Owner)
	}
}

func (x *Exception) String() string {
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
func (g *Result) evidence(b *strings.Builder, short bool) {
	for _, q := range g.Requirements {
		if !short {
			Detail(b, "needs", q.Name+": "+q.Needs)
		}
		for _, f := range q.Found {
			Detail(b, "found", f.String())
			if short {
				break
			}
		}
		for _, f := range q.Ignored {
			if !short {
				Detail(b, "ignored", f.String()+": "+f.Why)
			}
		}
	}
	if g.Condition != "" && !short {
		fmt.Fprintf(b, "      %-10s%s\n", "condition", safetext.Escape(strings.Join(strings.Fields(g.Condition), " ")))
	}
}

// WriteUnknown writes fields that look like images, and what to do about them
// unless the control set only warns of them.
func WriteUnknown(b *strings.Builder, all []UnknownField, warn bool) {
	mark := "?"
	if warn {
		mark = "!"
	}
	for i := range all {
		fmt.Fprintf(b, "%s %s\n", mark, &all[i])
	}
	if len(all) > 0 && !warn {
		b.WriteString("  fix      add the field to image_paths in controls.yaml, or set unknown_image_fields: warn\n")
	}
}

func (u *UnknownField) String() string {
	return fmt.Sprintf("%s in %s looks like an image (%s), but it is in no known place", safetext.Quoted(u.Field), safetext.Quoted(u.Resource), safetext.Quoted(u.Reference))
}

// Detail writes a labeled line below a result.
func Detail(b *strings.Builder, label, text string) {
	fmt.Fprintf(b, "      %-10s%s\n", label, safetext.Quoted(text))
}

func (f *Found) String() string {
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
func (g *Result) fix() string {
	ignored := func(q Requirement) bool { return !q.Met && len(q.Ignored) > 0 }
	if strings.HasPrefix(g.Reason, missingEvidence) && slices.ContainsFunc(g.Requirements, ignored) {
		return "resolve why evidence is ignored, or append other evidence with muniment append, then ask again"
	}
	return Fix(g.Reason)
}

// Fix returns what to do about a result with the reason, or "".
func Fix(reason string) string {
	code, _, _ := strings.Cut(reason, ":")
	return fixes[code]
}

// missingEvidence is the code of a result without the evidence that it needs.
const missingEvidence = "missing-evidence"

// fixes has the remedy for each reason code of a result.
var fixes = map[string]string{
	missingEvidence:     "append the missing evidence with muniment append, then ask again",
	"too-few-signers":   "have another of the listed signers sign, append the signature, then ask again",
	"condition-false":   "resolve what the condition is about, or request an exception with muniment exception request",
	"included-control":  "see the included control",
	"condition-error":   "correct the condition in controls.yaml, or the evidence that it reads",
	"too-much-evidence": "the artifact has more entries than a decision reads: rebuild it, so that it has a new digest",
	"facts-unavailable": "the evidence is erased or exceeds the bounds of facts: append it again, in a smaller form",
}

// Explain returns the reason for a decision without results for people.
func Explain(code string) string {
	if text, ok := undecidedReasons[code]; ok {
		return text + " (" + code + ")"
	}
	return code
}

var undecidedReasons = map[string]string{
	"no-control-set":         "no control set is in force: put one in force with muniment control apply",
	"unreadable-control-set": "the control set cannot be read, because an entry of it is erased or invalid: apply it again with muniment control apply",
	"unknown-stage":          "the control set does not define this stage: see muniment control list",
	"unknown-environment":    "the control set does not list this environment: check its spelling, or add it to environments in the control set",
	"no-control-applies":     "no control applies to this artifact at this stage, so nothing is proven about it: add a control for its type",
}

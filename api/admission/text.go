package admission

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/safetext"
)

// Bounds of texts. An API server passes on warnings of 4,096 characters
// together, and cuts each to 256 if there are more. Events show the first 1,024
// bytes of a denial.
const (
	maxMessage  = 16 << 10 // bytes
	maxWarning  = 250      // characters
	maxWarnings = 15
)

// cut returns at most n characters of a text.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// message returns a text of several lines, up to the bound. The last line
// reports what was left out.
func message(text, more string) string {
	text = strings.TrimRight(text, "\n")
	if len(text) <= maxMessage {
		return text
	}
	kept := text[:strings.LastIndexByte(text[:maxMessage], '\n')+1]
	left := strings.Count(text[len(kept):], "\n") + 1
	return fmt.Sprintf("%s… %s more: %s", kept, safetext.Count(left, "line"), more)
}

// warnings returns the texts as the API server passes them on: one line each,
// and not too many.
func warnings(all []string) []string {
	seen := map[string]bool{}
	var out []string
	left := 0
	for _, w := range all {
		w = cut(safetext.Escape(strings.Join(strings.Fields(w), " ")), maxWarning)
		switch {
		case seen[w]:
		case len(out) == maxWarnings:
			left++
		default:
			seen[w], out = true, append(out, w)
		}
	}
	if left > 0 {
		out = append(out, fmt.Sprintf("muniment: %s more", safetext.Count(left, "warning")))
	}
	return out
}

// A verdict is the answer about one image of a resource.
type verdict struct {
	reference string
	field     string
	// decided is the decision. Nil: there is none, and problem is the reason.
	decided *decided
	problem string
	// stale is the age of the decision, if it is above the largest.
	stale time.Duration
	// unknown is a field that looks like an image, whose decision is that of
	// the control set.
	unknown *answer.UnknownField
}

func (v *verdict) passes() bool {
	return v.problem == "" && v.unknown == nil && v.decided != nil && v.decided.passes()
}

// write writes the reasons for people, as muniment gate does.
func (v *verdict) write(b *strings.Builder, at string) {
	if v.unknown != nil {
		answer.WriteUnknown(b, []answer.UnknownField{*v.unknown}, false)
		return
	}
	if v.problem == "" {
		s := v.decided.subject
		s.Where = []string{v.field}
		s.Write(b, at)
		return
	}
	fmt.Fprintf(b, "%s  %s (image) at %s\n", answer.Marks[string(evaluate.Undecided)], safetext.Quoted(v.reference), at)
	answer.Line(b, "used in", v.field)
	answer.Line(b, "reason", v.problem)
}

// brief returns the reasons in one line each.
func (v *verdict) brief() []string {
	name := safetext.Quoted(v.reference)
	if v.unknown != nil {
		return []string{v.unknown.String()}
	}
	if v.problem != "" {
		return []string{name + ": " + v.problem}
	}
	s := &v.decided.subject
	var lines []string
	for i := range s.Results {
		if r := &s.Results[i]; r.Mode == string(evaluate.Enforce) && fails(r) {
			lines = append(lines, name+": "+resultLine(r))
		}
	}
	if len(lines) == 0 {
		lines = []string{name + ": " + s.Decision + ": " + answer.Explain(s.Reason)}
	}
	return lines
}

// advice returns what people are warned of although the image passes: failing
// controls that only warn, and unconfirmed break-glass.
func (v *verdict) advice() []string {
	if v.decided == nil || v.problem != "" {
		return nil
	}
	name := safetext.Quoted(v.reference)
	var lines []string
	for i := range v.decided.subject.Results {
		r := &v.decided.subject.Results[i]
		if r.Mode == string(evaluate.Warn) && fails(r) {
			lines = append(lines, name+": "+resultLine(r))
		}
		for k := range r.Exceptions {
			if x := &r.Exceptions[k]; x.Unconfirmed {
				lines = append(lines, fmt.Sprintf("%s: %s: passes by break-glass %s until %s, which another person must confirm or reject", name, r.Control, x.ID, x.Expires))
			}
		}
	}
	return lines
}

func fails(r *answer.Result) bool {
	return r.Result == evaluate.NotSatisfied || r.Result == evaluate.Unclear
}

func resultLine(r *answer.Result) string {
	text := r.Control + " [" + r.Mode + "]: " + r.Reason
	if len(r.Missing) > 0 {
		text += ": " + strings.Join(r.Missing, "; ")
	}
	return text
}

package decide

import (
	"fmt"
	"strings"
	"time"

	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/internal/term"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// sinceTime returns the time that a flag names: a day or time in the past, or
// how long ago.
func sinceTime(flag, s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			if t.After(now) {
				return t, fmt.Errorf("%s: %s is in the future", flag, s)
			}
			return t, nil
		}
	}
	until, err := remote.ParseExpiry(s, now)
	if err != nil || until.IsZero() {
		return time.Time{}, fmt.Errorf("%s: %q is neither a day or time in the past, such as 2026-11-01, nor how long ago, such as 30d", flag, s)
	}
	return now.Add(now.Sub(until)), nil
}

// A pastQuestion is what a recorded decision is about. Its JSON is stable.
type pastQuestion struct {
	Name        string            `json:"name,omitempty"`
	Type        string            `json:"type,omitempty"`
	Digest      map[string]string `json:"digest"`
	Parts       []string          `json:"parts,omitempty"`
	Stage       string            `json:"stage"`
	Environment string            `json:"environment,omitempty"`
}

func newQuestion(typ, stage, environment string, subjects []*munimentv1.Artifact) pastQuestion {
	q := pastQuestion{Type: typ, Stage: stage, Environment: environment, Digest: map[string]string{}}
	for i, s := range subjects {
		if i == 0 {
			q.Name, q.Digest = s.Name, s.Digest
		} else {
			q.Parts = append(q.Parts, strings.TrimSpace(s.Name+" "+answer.DigestText(s.Digest)))
		}
	}
	return q
}

// heading returns the question in one line, without the mark.
func (q *pastQuestion) heading() string {
	name := q.Name
	if name == "" {
		name = answer.DigestText(q.Digest)
	}
	text := term.Quoted(name)
	if q.Type != "" {
		text += " (" + q.Type + ")"
	}
	text += " at " + answer.AtStage(q.Stage, q.Environment)
	return text
}

// key returns a text that is equal for equal questions.
func (q *pastQuestion) key() string {
	return fmt.Sprintf("%q", []string{q.heading(), answer.DigestText(q.Digest), strings.Join(q.Parts, "\n")})
}

// pastResults returns results as the gate shows them, without explanations.
func pastResults(all []*munimentv1.ControlResult) []answer.Result {
	out := []answer.Result{}
	for _, r := range all {
		out = append(out, answer.NewResult(r, nil, time.Time{}))
	}
	return out
}

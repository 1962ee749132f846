package report

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"

	"muniment.dev/muniment/conductor/backfill/aca"
)

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	style string
)

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"style":    func() template.CSS { return template.CSS(style) }, // embedded
	"time":     clock,
	"moment":   func(x any) string { return strings.TrimSuffix(clock(x), " UTC") },
	"waiting":  waiting,
	"class":    classOf,
	"number":   func(v *float64) string { return optional(v) },
	"score":    number,
	"count":    count,
	"compare":  compare,
	"duration": spent,
	"short":    short,
	"details":  indented,
	"percent":  func(v float64) string { return number(100*v) + " %" },
	"interval": interval,
	"add":      func(a, b float64) float64 { return a + b },
	"join":     func(all []string) string { return strings.Join(all, "; ") },
	"minute":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
	"value":    func(v *uint64) string { return fmt.Sprint(*v) },
}).Parse(pageText))

// view is what the page shows.
type view struct {
	*Report
	Scores, Rates *chart
	Outcome       string
	Class         string
	Reason        string // of a pause by a checkpoint
	Rehearsals    []*Step
	Validations   []*Step
	Cutovers      []*Step // and rollbacks and finish
	Total         int
}

// HTML returns the report as a page of its own, without scripts and without
// references to other files.
func (r *Report) HTML() ([]byte, error) {
	v := &view{Report: r, Scores: r.scores(), Rates: r.rates(), Total: len(r.Entries)}
	v.Outcome, v.Class = r.outcome()
	v.Reason = r.reason()
	for i := range r.Steps {
		s := &r.Steps[i]
		switch s.Name {
		case "rehearsal":
			v.Rehearsals = append(v.Rehearsals, s)
		case "validation":
			v.Validations = append(v.Validations, s)
		case "cutover", "rollback", "finish":
			v.Cutovers = append(v.Cutovers, s)
		}
	}
	var b bytes.Buffer
	if err := page.Execute(&b, v); err != nil {
		return nil, fmt.Errorf("report of %s: %w", r.Job.Name, err)
	}
	return b.Bytes(), nil
}

// outcome returns the state of the job in a sentence, and its class.
func (r *Report) outcome() (text, class string) {
	if len(r.Faults) > 0 {
		return "The evidence does not verify", "bad"
	}
	switch r.Job.Phase {
	case "finished":
		return "Finished: the old column is gone", "good"
	case "rolled-back":
		return "Rolled back: the table is as before", "unclear"
	case "cutover":
		return "Cut over: the new column is in use, and rollback is ready", "good"
	case "copied":
		return "Copied: ready to be cut over", "good"
	case "paused":
		return "Paused at " + number(r.Copy.Percent) + " %", "unclear"
	case "copying":
		return "Copying: " + number(r.Copy.Percent) + " %", "idle"
	}
	return "Planned", "idle"
}

// reason returns why a paused job did not pass its latest checkpoint, "" if it
// did.
func (r *Report) reason() string {
	if r.Job.Phase != "paused" || len(r.Checkpoints) == 0 {
		return ""
	}
	last := r.Checkpoints[len(r.Checkpoints)-1]
	if last.Analysis == nil || last.Verdict == string(aca.Pass) {
		return ""
	}
	return "Checkpoint " + last.Checkpoint + ": " + last.Analysis.Summary
}

// classOf returns the class of a verdict, result or status.
func classOf(x any) string {
	switch fmt.Sprint(x) {
	case "pass", "succeeded", "verified":
		return "good"
	case "fail", "failed", "blocked", "not-verified":
		return "bad"
	case "inconclusive", "below-threshold", "aborted", "pending":
		return "unclear"
	}
	return "idle"
}

// clock returns a time for people, which can be nil.
func clock(x any) string {
	switch t := x.(type) {
	case time.Time:
		if !t.IsZero() {
			return t.UTC().Format("2006-01-02 15:04:05 UTC")
		}
	case *time.Time:
		if t != nil {
			return clock(*t)
		}
	}
	return "–"
}

// waiting returns how many entries are not recorded, as a sentence.
func waiting(n int) string {
	if n == 1 {
		return "1 is not recorded yet"
	}
	return count(int64(n)) + " are not recorded yet"
}

// count returns a number with a comma after each three digits.
func count(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func optional(v *float64) string {
	if v == nil {
		return "–"
	}
	return amountOf(*v)
}

// amountOf returns a number of any sign with at most three digits.
func amountOf(v float64) string {
	if v < 0 {
		return "−" + amount(-v)
	}
	return amount(v)
}

func interval(x *aca.Result) string {
	if x.Interval == nil {
		return ""
	}
	return amountOf(x.Interval[0]) + " to " + amountOf(x.Interval[1])
}

func spent(d time.Duration) string { return d.Round(time.Second).String() }

// short returns the beginning of a hash.
func short(hash string) string {
	if len(hash) > 16 {
		return hash[:16] + "…"
	}
	return hash
}

// maxDetails limits the details of one step on the page. The JSON document has
// them whole.
const maxDetails = 16 << 10

func indented(text json.RawMessage) string {
	if len(text) == 0 {
		return ""
	}
	var b bytes.Buffer
	if json.Indent(&b, text, "", "  ") != nil {
		return ""
	}
	if b.Len() > maxDetails {
		return strings.ToValidUTF8(b.String()[:maxDetails], "") + "\n… (the JSON document has the rest)"
	}
	return b.String()
}

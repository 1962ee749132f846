// Package finding follows the findings of a stream from their discovery to
// their resolution. See docs/spec/controls.md, section 5.
package finding

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"muniment.dev/muniment/ledger/entry"
)

// A Status is the state that an entry reports.
type Status string

// The states.
const (
	Open       Status = "open"
	InProgress Status = "in-progress"
	Resolved   Status = "resolved"
	Reopened   Status = "reopened"
)

// An Entry is an entry of kind finding.
type Entry struct {
	Index  uint64
	Time   time.Time
	Header *entry.Header
}

// A Report is one report of a finding's state.
type Report struct {
	Index    uint64
	Time     time.Time // of the entry
	Status   Status
	Severity string
	By       string    // submitter
	Evidence []uint64  // linked entries, increasing
	Due      time.Time // zero if the report sets none
	Controls []string
}

// A Finding is a problem with artifacts or controls, with all reports about it.
type Finding struct {
	ID       string
	Title    string
	Source   string
	Aliases  []string
	Subjects []entry.Subject
	Detected time.Time // earliest of all reports
	Reports  []Report  // in the order of their entries; at least one
}

// Newest returns the newest report.
func (f *Finding) Newest() *Report { return &f.Reports[len(f.Reports)-1] }

// Resolved reports whether the finding is resolved with linked evidence.
func (f *Finding) Resolved() bool {
	r := f.Newest()
	return r.Status == Resolved && len(r.Evidence) > 0
}

// Deadline returns the time by which the finding must be resolved: its own, or
// that of the strictest control. sla returns the days that a control allows for
// a severity, if it limits them. The zero time means that nothing limits it.
func (f *Finding) Deadline(sla func(control, severity string) (days int, ok bool)) time.Time {
	r := f.Newest()
	if !r.Due.IsZero() {
		return r.Due
	}
	var first time.Time
	for _, c := range r.Controls {
		if days, ok := sla(c, r.Severity); ok {
			if due := f.Detected.AddDate(0, 0, days); first.IsZero() || due.Before(first) {
				first = due
			}
		}
	}
	return first
}

// Read returns the findings that entries report, in the order of their first
// reports. The entries are in the order of the stream. Reports are about the
// same finding if their IDs are equal, ignoring case, and so are the digests of
// their subjects.
func Read(entries []Entry) ([]*Finding, error) {
	var all []*Finding
	byKey := map[string]*Finding{}
	for _, e := range entries {
		h := e.Header
		if h == nil || h.NotAdmitted() {
			continue // erased, or not admitted
		}
		detected, err := time.Parse(time.RFC3339Nano, h.Attributes["detected"])
		if err != nil {
			return nil, fmt.Errorf("entry %d: invalid time of detection %q", e.Index, h.Attributes["detected"])
		}
		r := Report{Index: e.Index, Time: e.Time, Status: Status(h.Attributes["status"]), Severity: h.Attributes["severity"], By: h.Submitter, Controls: h.Controls}
		for _, text := range h.AttributeValues("entry") {
			index, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("entry %d: invalid entry %q", e.Index, text)
			}
			r.Evidence = append(r.Evidence, index)
		}
		slices.Sort(r.Evidence)
		key := keyOf(h)
		f := byKey[key]
		if f == nil {
			f = &Finding{ID: h.Attributes["finding"], Detected: detected, Subjects: h.Subjects}
			byKey[key] = f
			all = append(all, f)
		}
		if detected.Before(f.Detected) {
			f.Detected = detected
		}
		f.Title, f.Source, f.Aliases = h.Attributes["title"], h.Attributes["source"], h.AttributeValues("alias")
		if due := h.Attributes["due"]; due != "" {
			if r.Due, err = time.Parse(time.RFC3339Nano, due); err != nil {
				return nil, fmt.Errorf("entry %d: invalid due time %q", e.Index, due)
			}
		}
		f.Reports = append(f.Reports, r)
	}
	return all, nil
}

// keyOf returns what identifies the finding of an entry.
func keyOf(h *entry.Header) string {
	var about []string
	for _, s := range h.Subjects {
		for alg, v := range s.Digest {
			alg, v = entry.FoldDigest(alg, v)
			about = append(about, alg+":"+v)
		}
	}
	slices.Sort(about)
	return strings.ToLower(h.Attributes["finding"]) + "\n" + strings.Join(slices.Compact(about), "\n")
}

// A Count is the number of findings in each state at one time.
type Count struct {
	Time       time.Time
	Open       int // open or reopened
	InProgress int
	Resolved   int
	Overdue    int // of those that are not resolved
}

// Total returns the number of findings.
func (c *Count) Total() int { return c.Open + c.InProgress + c.Resolved }

// Share returns the share of findings that are resolved with linked evidence,
// from 0 to 1. It is 1 if there are none.
func (c *Count) Share() float64 {
	if c.Total() == 0 {
		return 1
	}
	return float64(c.Resolved) / float64(c.Total())
}

// CountAt counts the findings as they were at a time. A finding counts from its
// first report.
func CountAt(all []*Finding, at time.Time, sla func(control, severity string) (days int, ok bool)) Count {
	c := Count{Time: at}
	for _, f := range all {
		n := 0
		for n < len(f.Reports) && !f.Reports[n].Time.After(at) {
			n++
		}
		if n == 0 {
			continue
		}
		then := *f
		then.Reports = f.Reports[:n]
		switch {
		case then.Resolved():
			c.Resolved++
			continue
		case then.Newest().Status == InProgress:
			c.InProgress++
		default:
			c.Open++
		}
		if due := then.Deadline(sla); !due.IsZero() && !due.After(at) {
			c.Overdue++
		}
	}
	return c
}

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

// Attributes of headers that the log sets when it accepts the evidence of a
// resolution.
const (
	Resolution = "resolution" // Accepted
	AcceptedBy = "acceptedBy" // controls
	Accepted   = "accepted"
)

// Resolves reports whether an entry with the header resolves its finding.
func Resolves(h *entry.Header) bool {
	return Status(h.Attributes["status"]) == Resolved && h.Attributes[Resolution] == Accepted
}

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
	Accepted bool // it resolves the finding
	Severity string
	By       string   // submitter
	Key      string   // idempotency key of the entry
	Evidence []uint64 // linked entries, increasing
	Detected time.Time
	Due      time.Time // zero if the report sets none
	Controls []string
	// AcceptedBy has the controls that accept the evidence, if Accepted.
	AcceptedBy []string
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
	key      string
}

// Newest returns the newest report.
func (f *Finding) Newest() *Report { return &f.Reports[len(f.Reports)-1] }

// Resolved reports whether the finding is resolved, by linked evidence that the
// log has accepted.
func (f *Finding) Resolved() bool { return f.Newest().Accepted }

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
	r := newRegister()
	for i := range entries {
		if err := r.add(&entries[i]); err != nil {
			return nil, err
		}
	}
	return r.all, nil
}

// A register has the findings that entries report.
type register struct {
	all     []*Finding // in the order of their first reports
	byKey   map[string]*Finding
	byEntry map[uint64]*Finding
}

func newRegister() *register {
	return &register{byKey: map[string]*Finding{}, byEntry: map[uint64]*Finding{}}
}

// add adds the report of an entry.
func (r *register) add(e *Entry) error {
	if e.Header == nil || e.Header.NotAdmitted() {
		return nil // erased, or not admitted
	}
	report, err := readReport(e)
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.Index, err)
	}
	h := e.Header
	key := keyOf(h)
	f := r.byKey[key]
	if f == nil {
		f = &Finding{ID: h.Attributes["finding"], Detected: report.Detected, Subjects: h.Subjects, key: key}
		r.byKey[key] = f
		r.all = append(r.all, f)
	}
	if report.Detected.Before(f.Detected) {
		f.Detected = report.Detected
	}
	f.Title, f.Source, f.Aliases = h.Attributes["title"], h.Attributes["source"], h.AttributeValues("alias")
	f.Reports = append(f.Reports, *report)
	r.byEntry[e.Index] = f
	return nil
}

// erase removes the report of an entry, as if it had never existed. Of the
// newest report, the texts remain until the next one.
func (r *register) erase(index uint64) {
	f := r.byEntry[index]
	if f == nil {
		return
	}
	delete(r.byEntry, index)
	f.Reports = slices.DeleteFunc(f.Reports, func(report Report) bool { return report.Index == index })
	if len(f.Reports) == 0 {
		delete(r.byKey, f.key)
		r.all = slices.DeleteFunc(r.all, func(other *Finding) bool { return other == f })
		return
	}
	f.Detected = f.Reports[0].Detected
	for i := range f.Reports {
		if d := f.Reports[i].Detected; d.Before(f.Detected) {
			f.Detected = d
		}
	}
}

// readReport reads the report of an entry.
func readReport(e *Entry) (r *Report, err error) {
	h := e.Header
	r = &Report{Index: e.Index, Time: e.Time, Status: Status(h.Attributes["status"]), Accepted: Resolves(h), Severity: h.Attributes["severity"],
		By: h.Submitter, Key: h.IdempotencyKey, Controls: h.Controls, AcceptedBy: h.AttributeValues(AcceptedBy)}
	if r.Detected, err = time.Parse(time.RFC3339Nano, h.Attributes["detected"]); err != nil {
		return nil, fmt.Errorf("invalid time of detection %q", h.Attributes["detected"])
	}
	for _, text := range h.AttributeValues("entry") {
		index, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("invalid entry %q", text)
		}
		r.Evidence = append(r.Evidence, index)
	}
	slices.Sort(r.Evidence)
	if due := h.Attributes["due"]; due != "" {
		if r.Due, err = time.Parse(time.RFC3339Nano, due); err != nil {
			return nil, fmt.Errorf("invalid due time %q", due)
		}
	}
	return r, nil
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
	return CountsAt(all, []time.Time{at}, sla)[0]
}

// CountsAt is CountAt for several times, which increase.
func CountsAt(all []*Finding, times []time.Time, sla func(control, severity string) (days int, ok bool)) []Count {
	counts := make([]Count, len(times))
	for i, at := range times {
		counts[i].Time = at
	}
	for _, f := range all {
		n, then, due := 0, *f, time.Time{}
		for i, at := range times {
			from := n
			for n < len(f.Reports) && !f.Reports[n].Time.After(at) {
				n++
			}
			if n == 0 {
				continue
			}
			if n != from {
				then.Reports = f.Reports[:n]
				due = then.Deadline(sla)
			}
			counts[i].add(&then, due)
		}
	}
	return counts
}

func (c *Count) add(f *Finding, due time.Time) {
	switch {
	case f.Resolved():
		c.Resolved++
		return
	case f.Newest().Status == InProgress:
		c.InProgress++
	default:
		c.Open++
	}
	if !due.IsZero() && !due.After(c.Time) {
		c.Overdue++
	}
}

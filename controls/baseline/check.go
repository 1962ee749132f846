package baseline

import (
	"fmt"
	"slices"
	"time"

	"muniment.dev/muniment/controls/evaluate"
)

// Outcomes of a check.
const (
	Current   = "current"
	Drift     = "drift"
	Undecided = "undecided"
)

// A Code is the kind of a problem of an image.
type Code string

// The codes.
const (
	TagMoved          Code = "tag-moved"
	TagGone           Code = "tag-gone"
	DigestGone        Code = "digest-gone"
	ProvenanceMissing Code = "provenance-missing"
	VettingMissing    Code = "vetting-missing"
	VettingTooShort   Code = "vetting-too-short"
	VettingExpired    Code = "vetting-expired"
	VettingExpiring   Code = "vetting-expiring"
	ControlOutdated   Code = "control-outdated" // of the file as a whole
)

// DefaultWarning is the time before the end of a vetting in which it is
// reported.
const DefaultWarning = 14 * 24 * time.Hour

// A Problem is a difference between the file and what there is.
type Problem struct {
	Code Code   `json:"code"`
	Text string `json:"text"`
}

// Evidence is the decision about one digest of an image.
type Evidence struct {
	Outcome evaluate.Outcome
	Reason  string   // of the result, or of the decision if it has none
	Missing []string // what the requirements lack
	Entries []uint64 // that count
}

// holds reports whether the evidence that the image needs is there.
func (e *Evidence) holds() bool { return e != nil && e.Outcome == evaluate.Pass }

// A State is what registry and ledger contain about an image.
type State struct {
	Tag     string // digest of the tag; "": the registry does not have the tag
	Gone    bool   // the registry does not have the digest of the file
	Listed  *Evidence
	Moved   *Evidence // about the digest of the tag; nil if it is the listed one
	Failed  []string  // why something is not known
	Decided time.Time
}

// A Result is that of the check of one image.
type Result struct {
	Image    string    `json:"image"`
	Digest   string    `json:"digest"`
	Tag      string    `json:"tag,omitempty"` // digest of the tag
	Problems []Problem `json:"problems"`
	// Update is the digest to which the image can be updated.
	Update    string   `json:"update,omitempty"`
	Undecided []string `json:"undecided,omitempty"`
	Entries   []uint64 `json:"entries,omitempty"` // evidence about the digest
}

// Outcome returns the outcome for the image.
func (r *Result) Outcome() string {
	switch {
	case len(r.Problems) > 0:
		return Drift
	case len(r.Undecided) > 0:
		return Undecided
	}
	return Current
}

// Outcome returns the outcome of a check.
func Outcome(problems []Problem, results []*Result) string {
	outcomes := []string{Current}
	if len(problems) > 0 {
		outcomes = append(outcomes, Drift)
	}
	for _, r := range results {
		outcomes = append(outcomes, r.Outcome())
	}
	for _, o := range []string{Drift, Undecided} {
		if slices.Contains(outcomes, o) {
			return o
		}
	}
	return Current
}

// Check compares an image with its state. A vetting that ends within the time
// warn is a problem.
func (i *Image) Check(s *State, warn time.Duration) *Result {
	r := &Result{Image: i.Reference, Digest: i.Digest, Tag: s.Tag, Problems: []Problem{}, Undecided: s.Failed}
	wrong := func(code Code, format string, args ...any) {
		r.Problems = append(r.Problems, Problem{code, fmt.Sprintf(format, args...)})
	}
	known := len(s.Failed) == 0
	switch {
	case s.Tag == "" && known:
		wrong(TagGone, "the registry does not have the tag any more")
	case s.Tag != "" && s.Tag != i.Digest:
		wrong(TagMoved, "the tag is now %s", s.Tag)
	}
	if s.Gone {
		wrong(DigestGone, "the registry does not have the digest any more")
	}
	i.checkEvidence(s, r, wrong)
	expired := i.checkExpiry(s.Decided, warn, wrong)
	if s.Tag == "" || s.Tag == i.Digest {
		return r
	}
	switch {
	case s.Moved.holds() && !expired:
		r.Update = s.Tag
	case s.Moved != nil && s.Moved.Outcome == evaluate.Undecided:
		r.Undecided = append(r.Undecided, "evidence about "+s.Tag+": "+s.Moved.Reason)
	}
	return r
}

// checkEvidence reports what the digest of the file lacks.
func (i *Image) checkEvidence(s *State, r *Result, wrong func(Code, string, ...any)) {
	e := s.Listed
	switch {
	case e == nil:
		return
	case e.holds():
		r.Entries = e.Entries
		return
	case e.Outcome != evaluate.Blocked:
		r.Undecided = append(r.Undecided, "evidence about "+i.Digest+": "+e.Reason)
		return
	}
	text := e.Reason
	if len(e.Missing) > 0 {
		text = e.Missing[0]
	}
	switch {
	case i.Vetted == nil:
		wrong(ProvenanceMissing, "%s", text)
	case len(e.Missing) > 0:
		wrong(VettingMissing, "%s", text)
	default:
		wrong(VettingTooShort, "the newest vetting does not cover the time from now until %s, or deviates from the rules for vettings", timeText(i.Vetted.Expires))
	}
}

// checkExpiry reports a vetting that has ended or will soon, and returns
// whether it has ended.
func (i *Image) checkExpiry(now time.Time, warn time.Duration, wrong func(Code, string, ...any)) bool {
	if i.Vetted == nil || now.IsZero() {
		return i.Vetted != nil
	}
	left := i.Vetted.Expires.Sub(now)
	switch {
	case left <= 0:
		wrong(VettingExpired, "the vetting ended at %s", timeText(i.Vetted.Expires))
		return true
	case left <= warn:
		wrong(VettingExpiring, "the vetting ends at %s", timeText(i.Vetted.Expires))
	}
	return false
}

// timeText returns a time in RFC 3339 in UTC.
func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

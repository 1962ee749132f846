// Package evaluate decides whether an artifact may pass a stage.
//
// A decision is a pure function of its input: there is no clock and no I/O
// here. docs/spec/decision.md specifies it.
package evaluate

import (
	"cmp"
	"slices"
	"time"

	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/keyevent"
	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/facts"
)

// MaxEvidence is the largest number of entries about one subject from which
// decisions are made.
const MaxEvidence = 4096

// MaxRecent is the number of entries about a subject that count, of the kinds
// for which RecentOnly returns true.
const MaxRecent = 64

// RecentOnly reports whether only the newest entries of a kind count, because
// any number of them can be about a subject.
func RecentOnly(kind string) bool { return kind == kindname.GateDecision || kind == kindname.Inventory }

// maxEntries is the largest number of entries that a result lists.
const maxEntries = 64

// A Subject is the artifact that a decision is about.
type Subject struct {
	Type   string // one of artifact.Types
	Name   string // can be empty
	Digest map[string]string
}

// An Input is everything that a decision depends on.
type Input struct {
	// Set is the control set in force. If it is nil, Unreadable is why it
	// cannot be read, or nil if no set is in force.
	Set        *Set
	Unreadable error

	Size        uint64 // entries at or above it do not exist
	Time        time.Time
	Subject     Subject
	Parts       []Part // of an index of several platforms
	Stage       string
	Environment string

	// Evidence has the entries about the subject and its parts, in their order.
	Evidence []Evidence
	// Findings has the entries of kind finding without subjects.
	Findings   []Evidence
	Exceptions []*exception.Exception
	KeyEvents  []KeyEvent

	// Linked reports that all evidence is about the subject, whatever its
	// subjects are.
	Linked bool
	// Resolves is a finding that conditions do not see.
	Resolves *FindingKey
}

// A FindingKey identifies a finding about an artifact or a control.
type FindingKey struct {
	ID       string // in upper case
	Subjects bool   // it has some
}

// Digests returns the digests by which evidence about the subject and its parts
// is found.
func (in *Input) Digests() map[entry.Digest]bool {
	sets := []map[string]string{in.Subject.Digest}
	for i := range in.Parts {
		sets = append(sets, in.Parts[i].Digest)
	}
	return artifact.Digests(sets...)
}

// A Part is the manifest of one platform.
type Part struct {
	Name   string
	Digest map[string]string
}

// Evidence is an entry about a subject.
type Evidence struct {
	Index  uint64
	Time   time.Time
	Header *entry.Header // nil: erased
	Facts  *facts.Facts  // nil: the entry has none
	// Unavailable reports that the entry's facts cannot be read, because its
	// payload was erased.
	Unavailable bool
}

// A KeyEvent is an entry of kind key-event.
type KeyEvent = keyevent.Event

// An Outcome is that of a decision.
type Outcome string

// The outcomes. Only Pass lets an artifact through.
const (
	Pass      Outcome = "pass"
	Blocked   Outcome = "blocked"
	Undecided Outcome = "undecided"
)

// Outcomes lists the outcomes.
var Outcomes = []Outcome{Pass, Blocked, Undecided}

// Reasons of decisions without results.
const (
	NoControlSet    = "no-control-set"
	UnreadableSet   = "unreadable-control-set"
	UnknownStage    = "unknown-stage"
	UnknownEnv      = "unknown-environment"
	NothingApplies  = "no-control-applies"
	reasonSeparator = ": "
)

// A Decision is the answer for one subject.
type Decision struct {
	Decision   Outcome   `json:"decision"`
	Reason     string    `json:"reason,omitempty"`
	Results    []Result  `json:"results,omitempty"`
	Size       uint64    `json:"treeSize"`
	Decided    time.Time `json:"decided"`
	ControlSet string    `json:"controlSet,omitempty"`
	Inputs     string    `json:"inputs"`
	ValidUntil time.Time `json:"validUntil"`
}

// Decide makes a decision whose input has all facts.
func Decide(m *condition.Meter, in *Input) (*Decision, error) { return Prepare(m, in).Decide() }

// outcome combines the results of the controls.
func outcome(d *Decision) Outcome {
	applies, undecided := false, d.Reason != ""
	for i := range d.Results {
		r := &d.Results[i]
		applies = applies || r.Result != NotApplicable
		if r.Mode != Enforce {
			continue
		}
		switch {
		case r.Holds():
		case r.Result == NotSatisfied:
			return Blocked
		default:
			undecided = true
		}
	}
	if undecided || !applies {
		return Undecided
	}
	return Pass
}

// Combine returns the outcome for several subjects.
func Combine(all ...Outcome) Outcome {
	combined := Pass
	for _, o := range all {
		switch {
		case o == Blocked:
			return Blocked
		case o != Pass:
			combined = Undecided
		}
	}
	if len(all) == 0 {
		return Undecided
	}
	return combined
}

// A hearing is the state of the decision about a subject, or about one of its
// parts.
type hearing struct {
	*Input
	part       *Part                 // without a digest: the subject has no parts
	digest     map[string]string     // of the part, or of the subject
	digests    map[entry.Digest]bool // by which entries about them are found
	meter      *condition.Meter
	counted    []*counted
	tooMany    bool
	selections map[*Control]*selection
	checks     map[*Control]*verdict // without exceptions
	joins      map[string]*joined
	findings   []*finding
	validUntil *time.Time
}

func newHearing(m *condition.Meter, in *Input, part *Part, until *time.Time) *hearing {
	h := &hearing{Input: in, part: part, digest: part.Digest, meter: m, validUntil: until,
		selections: map[*Control]*selection{}, checks: map[*Control]*verdict{}, joins: map[string]*joined{}}
	if len(part.Digest) == 0 {
		h.digest = in.Subject.Digest
	}
	h.digests = artifact.Digests(h.digest, in.Subject.Digest)
	h.count()
	return h
}

// until makes the decision valid until t at most.
func (h *hearing) until(t time.Time) {
	if t.Before(*h.validUntil) {
		*h.validUntil = t
	}
}

// results evaluates the controls that have a mode.
func (h *hearing) results() (all []Result) {
	for _, c := range h.Set.Controls {
		if mode := c.mode(h.Stage, h.Environment); mode != "" {
			all = append(all, h.result(c, mode))
		}
	}
	return all
}

// isAbout reports whether the header is about the subject or the part.
func (h *hearing) isAbout(header *entry.Header) bool {
	return About(header, h.digest) || len(h.part.Digest) > 0 && About(header, h.Subject.Digest)
}

// counted is an entry that counts, with the signers that count.
type counted struct {
	*Evidence
	signers   []Party
	submitter Party
}

// count finds the entries that count, and their signers.
func (h *hearing) count() {
	evidence := h.relevant()
	if evidence == nil {
		h.tooMany = true
		return
	}
	for _, e := range evidence {
		c := h.countOne(e)
		if c == nil {
			continue
		}
		h.counted = append(h.counted, c)
		if e.Header.Kind == kindname.Finding {
			h.findings = append(h.findings, readFinding(c))
		}
	}
	for i := range h.Findings {
		e := &h.Findings[i]
		if e.Index >= h.Size || e.Header == nil || len(e.Header.Subjects) > 0 || e.Header.Kind != kindname.Finding {
			continue
		}
		if c := h.countOne(e); c != nil {
			h.findings = append(h.findings, readFinding(c))
		}
	}
	slices.SortStableFunc(h.findings, func(a, b *finding) int { return cmp.Compare(a.Index, b.Index) })
}

// subjectsPerUnit is the number of subjects that one unit pays to compare.
const subjectsPerUnit = 4

// relevant returns the entries about the subject of the kinds that matter, in
// their order, or nil if they are too many. All that have a digest in common
// with it are counted, as they are found by it, so that the number read never
// depends on who reads them.
func (h *hearing) relevant() []*Evidence {
	kinds := h.Set.Kinds()
	about, recent := 0, map[string]int{}
	all := []*Evidence{}
	for i := len(h.Evidence) - 1; i >= 0; i-- {
		e := &h.Evidence[i]
		if e.Index >= h.Size || e.Header == nil || !kinds[e.Header.Kind] {
			continue
		}
		if h.meter.Charge(1+len(e.Header.Subjects)/subjectsPerUnit) != nil {
			return nil
		}
		if h.Linked {
			all = append(all, e)
			continue
		}
		if !artifact.Mentioned(h.digests, e.Header.Subjects) {
			continue
		}
		if RecentOnly(e.Header.Kind) {
			if recent[e.Header.Kind]++; recent[e.Header.Kind] > MaxRecent {
				continue
			}
		} else if about++; about > MaxEvidence {
			return nil
		}
		if h.isAbout(e.Header) {
			all = append(all, e)
		}
	}
	slices.Reverse(all)
	return all
}

// countOne returns the entry if it counts, and otherwise nil.
func (h *hearing) countOne(e *Evidence) *counted {
	header := e.Header
	if !Counts(header) {
		return nil
	}
	c := &counted{Evidence: e, submitter: Party{Submitter: header.Submitter}}
	if header.Verification.Result != entry.Verified {
		return c
	}
	for i := range header.Signers {
		s := &header.Signers[i]
		if !slices.ContainsFunc(h.KeyEvents, func(k KeyEvent) bool { return k.Index < h.Size && k.Excludes(s, e.Time) }) {
			c.signers = append(c.signers, Party{Signer: *s})
		}
	}
	return c
}

// Counts reports whether the entry with the header counts for decisions.
func Counts(h *entry.Header) bool {
	return !h.NotAdmitted() && h.Verification.Result != entry.Failed && !submittedLater(h)
}

// submittedLater reports whether the header is that of a decision which a gate
// made offline. The submitter has chosen its tree size and time, possibly of a
// past in which the artifact passed.
func submittedLater(h *entry.Header) bool {
	return h.Kind == kindname.GateDecision && h.Attributes["spooled"] != ""
}

// About reports whether the entry with the header is about the artifact with a
// digest.
func About(h *entry.Header, digest map[string]string) bool {
	subjects := h.Subjects
	if h.Kind == kindname.GateDecision && len(subjects) > 1 {
		// The others are parts of the first by the caller's word only.
		subjects = subjects[1:]
	}
	return slices.ContainsFunc(subjects, func(s entry.Subject) bool { return artifact.Same(s.Digest, digest) })
}

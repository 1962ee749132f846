// Package report makes the report of a backfill: one page and one JSON
// document. What it shows of a step is read from the entry of the step, whose
// receipt is verified offline. See docs/spec/backfill.md, section 7.
package report

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"muniment.dev/muniment/ledger/receipt"
)

// Format is the format of the JSON document.
const Format = "muniment-backfill-report-1"

// Limits of the input.
const (
	maxEntries = 100_000
	maxPoints  = 2_000 // of a line
)

// Input is what a report is made from.
type Input struct {
	Job    Job
	Made   time.Time
	Tenant string
	// Policy is the trust policy of the job, by which receipts are verified.
	Policy []byte
	// Entries are those of the outbox, in the order of their numbers.
	Entries []Entry
	Copy    Copy
	// Rate and Throttle are measurements of the runner, oldest first. They are
	// not evidence.
	Rate     []Rate
	Throttle []Throttle
}

// A Job is what the report is about.
type Job struct {
	Name   string `json:"name"`
	File   string `json:"file"`
	SHA256 string `json:"sha256"` // of JOB.yaml, in hexadecimal digits
	Run    string `json:"run"`
	Entity string `json:"entity"`
	Table  string `json:"table"`
	Column string `json:"column"`
	Type   string `json:"type"` // of the new column
	Up     string `json:"up"`
	Down   string `json:"down"`
	Phase  string `json:"phase"` // as docs/spec/backfill.md, section 5, defines it
}

// An Entry is one of the outbox. Without a receipt it is not recorded yet.
type Entry struct {
	Seq     uint64 `json:"seq,string"`
	Kind    string `json:"kind"`
	Payload []byte `json:"payload"` // base64 in JSON
	Receipt []byte `json:"receipt,omitempty"`
}

// Copy is the progress of the copy.
type Copy struct {
	Rows    int64   `json:"rows"`    // estimated
	Visited int64   `json:"visited"` // rows that the copy has looked at
	Written int64   `json:"written"`
	Chunks  int64   `json:"chunks"`
	Percent float64 `json:"percent"`
}

// A Rate is the rate of the copy at a time.
type Rate struct {
	Time time.Time `json:"time"`
	Rows float64   `json:"rows"` // per second
}

// A Throttle is how long one input has slowed the copy down.
type Throttle struct {
	Input    string        `json:"input"`
	Slowed   time.Duration `json:"slowedNanoseconds"`
	Waited   time.Duration `json:"waitedNanoseconds"`
	Times    int64         `json:"times"`
	Greatest float64       `json:"greatest"` // share of the limit
}

// A Report is the account of a backfill.
type Report struct {
	Format      string       `json:"format"`
	Made        time.Time    `json:"made"`
	Tenant      string       `json:"tenant"`
	Job         Job          `json:"job"`
	Copy        Copy         `json:"copy"`
	Steps       []Step       `json:"steps"`
	Checkpoints []Checkpoint `json:"checkpoints,omitempty"`
	Rate        []Rate       `json:"rate,omitempty"`
	Throttle    []Throttle   `json:"throttle,omitempty"`
	Verified    int          `json:"verified"` // entries with a valid receipt
	Pending     int          `json:"pending"`  // entries without one
	Faults      []string     `json:"faults,omitempty"`
	Policy      string       `json:"policy"`
	Entries     []Recorded   `json:"entries"`
}

// A Recorded entry is one whose receipt was verified, or the reason why not.
type Recorded struct {
	Entry
	Index    *uint64   `json:"index,omitempty,string"`
	LeafHash string    `json:"leafHash,omitempty"`
	Time     time.Time `json:"time,omitzero"` // of the ledger
	Status   Status    `json:"status"`
	Reason   string    `json:"reason,omitempty"`
}

// A Status is the result of verifying an entry.
type Status string

// The statuses.
const (
	Verified    Status = "verified"
	Pending     Status = "pending"
	NotVerified Status = "not-verified"
)

// Make makes a report. Receipts that do not verify are listed as faults.
func Make(in Input) (*Report, error) {
	policy, err := receipt.ParseTrustPolicy("policy", in.Policy)
	if err != nil {
		return nil, fmt.Errorf("report of %s: trust policy: %w", in.Job.Name, err)
	}
	if len(in.Entries) > maxEntries {
		return nil, fmt.Errorf("report of %s: %d entries, above the limit of %d", in.Job.Name, len(in.Entries), maxEntries)
	}
	r := &Report{
		Format: Format, Made: in.Made.UTC(), Tenant: in.Tenant, Job: in.Job, Copy: in.Copy, Policy: string(in.Policy),
		Rate: thin(in.Rate), Throttle: slices.Clone(in.Throttle),
	}
	before := uint64(0)
	for i := range in.Entries {
		if seq := in.Entries[i].Seq; seq != before+1 {
			r.fault("entry %d follows entry %d: what is between them is missing", seq, before)
		}
		before = in.Entries[i].Seq
		r.verify(&in.Entries[i], policy)
	}
	if err := r.read(); err != nil {
		return nil, err
	}
	return r, nil
}

// JSON returns the report as a JSON document.
func (r *Report) JSON() ([]byte, error) {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("report of %s: %w", r.Job.Name, err)
	}
	return append(text, '\n'), nil
}

// verify adds an entry with the result of verifying its receipt.
func (r *Report) verify(e *Entry, policy *receipt.TrustPolicy) {
	one := Recorded{Entry: *e, Status: Pending}
	if len(e.Receipt) == 0 {
		r.Pending++
		r.Entries = append(r.Entries, one)
		return
	}
	s, err := receipt.Verify(e.Receipt, []*receipt.TrustPolicy{policy}, receipt.Options{Payload: e.Payload, Kind: &e.Kind, Tenant: &r.Tenant})
	if err == nil {
		err = r.matches(s, e.Seq)
	}
	if err != nil {
		one.Status, one.Reason = NotVerified, err.Error()
		r.fault("entry %d: %v", e.Seq, err)
	} else {
		r.Verified++
		one.Status, one.Index, one.LeafHash, one.Time = Verified, &s.Index, hex.EncodeToString(s.LeafHash[:]), time.UnixMilli(int64(s.Time)).UTC()
	}
	r.Entries = append(r.Entries, one)
}

// matches checks that a receipt is for the entry with the number.
func (r *Report) matches(s *receipt.Statement, seq uint64) error {
	if s.Header == nil {
		return errors.New("the receipt has no header, because the entry was erased")
	}
	if key := fmt.Sprintf("%s/%s/%d", r.Job.Name, r.Job.Run, seq); s.Header.IdempotencyKey != key {
		return fmt.Errorf("the receipt is for an entry with the key %q, not %q", s.Header.IdempotencyKey, key)
	}
	return nil
}

// maxFaults limits the faults that are listed.
const maxFaults = 100

func (r *Report) fault(format string, args ...any) {
	if len(r.Faults) < maxFaults {
		r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
	}
}

// thin returns at most maxPoints rates, each the mean of as many neighbours.
func thin(all []Rate) []Rate {
	if len(all) <= maxPoints {
		return slices.Clone(all)
	}
	per := (len(all) + maxPoints - 1) / maxPoints
	var out []Rate
	for group := range slices.Chunk(all, per) {
		sum := 0.0
		for _, x := range group {
			sum += x.Rows
		}
		out = append(out, Rate{group[0].Time, sum / float64(len(group))})
	}
	return out
}

package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"muniment.dev/muniment/conductor/backfill/aca"
	"muniment.dev/muniment/conductor/backfill/record"
)

// A Step is an intent with its outcome.
type Step struct {
	Name        record.Name     `json:"step"`
	Actor       string          `json:"actor"`
	Intended    time.Time       `json:"intended"`
	Ended       *time.Time      `json:"ended,omitempty"` // nil: there is no outcome
	Result      record.Result   `json:"result,omitempty"`
	Checkpoint  string          `json:"checkpoint,omitempty"`
	Score       *float64        `json:"acaScore,omitempty"`
	Verdict     string          `json:"verdict,omitempty"`
	Differences *uint64         `json:"differences,omitempty,string"`
	Expires     *time.Time      `json:"expires,omitempty"`
	Details     json.RawMessage `json:"details,omitempty"`
	Pending     bool            `json:"pending,omitempty"`  // an entry of it has no receipt
	Intent      uint64          `json:"intentEntry,string"` // its number in Entries
	Outcome     *uint64         `json:"outcomeEntry,omitempty,string"`
}

// A Checkpoint is a point of the copy that was judged.
type Checkpoint struct {
	Checkpoint    string      `json:"checkpoint"`
	Time          time.Time   `json:"time"`
	Score         float64     `json:"acaScore"`
	RollbackReady bool        `json:"rollbackReady"`
	Verdict       string      `json:"verdict,omitempty"`
	Analysis      *aca.Report `json:"analysis,omitempty"` // nil: there is none that verifies
	Entry         uint64      `json:"entry,string"`       // its number in Entries
}

// A document is a payload of the kind backfill-step.
type document struct {
	Run         string          `json:"run"`
	Step        record.Name     `json:"step"`
	Phase       string          `json:"phase"`
	Result      record.Result   `json:"result"`
	TS          time.Time       `json:"ts"`
	Actor       string          `json:"actor"`
	Checkpoint  string          `json:"checkpoint"`
	Score       *float64        `json:"acaScore"`
	Verdict     string          `json:"verdict"`
	Differences *uint64         `json:"differences,string"`
	Expires     *time.Time      `json:"expires"`
	Intent      *reference      `json:"intent"`
	Progress    *reference      `json:"checkpointEntry"`
	Report      json.RawMessage `json:"report"`
	Details     json.RawMessage `json:"details"`
	Job         struct {
		Digest map[string]string `json:"digest"`
	} `json:"job"`
}

type reference struct {
	Index    uint64 `json:"index,string"`
	LeafHash string `json:"leafHash"`
}

// A reader fills a report from its entries.
type reader struct {
	*Report
	steps map[record.Name]int // of each name, the newest step without outcome
	bySeq map[uint64]*Recorded
}

// read reads the steps and checkpoints of the entries. Entries whose receipts
// do not verify are not read.
func (r *Report) read() error {
	all := &reader{r, map[record.Name]int{}, map[uint64]*Recorded{}}
	for i := range r.Entries {
		all.bySeq[r.Entries[i].Seq] = &r.Entries[i]
	}
	for i := range r.Entries {
		e := &r.Entries[i]
		if e.Status == NotVerified {
			continue
		}
		var err error
		switch e.Kind {
		case record.KindStep:
			err = all.step(e)
		case record.KindCheckpoint:
			err = all.checkpoint(e)
		default:
			err = fmt.Errorf("kind %.64q", e.Kind)
		}
		if err != nil {
			return fmt.Errorf("report of %s: entry %d: %w", r.Job.Name, e.Seq, err)
		}
	}
	return nil
}

func (r *reader) checkpoint(e *Recorded) error {
	var m struct {
		Checkpoint    string  `json:"checkpoint"`
		ACAScore      float64 `json:"acaScore"`
		TS            string  `json:"ts"`
		RollbackReady bool    `json:"rollbackReady"`
	}
	if err := json.Unmarshal(e.Payload, &m); err != nil {
		return err
	}
	at, err := time.Parse("2006-01-02T15:04Z07:00", m.TS)
	if err != nil {
		return err
	}
	r.Checkpoints = append(r.Checkpoints, Checkpoint{Checkpoint: m.Checkpoint, Time: at, Score: m.ACAScore, RollbackReady: m.RollbackReady, Entry: e.Seq})
	return nil
}

func (r *reader) step(e *Recorded) error {
	var d document
	if err := json.Unmarshal(e.Payload, &d); err != nil {
		return err
	}
	if d.Run != r.Job.Run || d.Job.Digest["sha256"] != r.Job.SHA256 {
		r.fault("entry %d: about another job or run", e.Seq)
		return nil
	}
	if d.Phase == "intent" {
		r.steps[d.Step] = len(r.Steps)
		r.Steps = append(r.Steps, Step{Name: d.Step, Actor: d.Actor, Intended: d.TS, Checkpoint: d.Checkpoint, Details: d.Details, Intent: e.Seq, Pending: e.Status == Pending})
		return nil
	}
	i, ok := r.steps[d.Step]
	if !ok {
		r.fault("entry %d: an outcome of %s without an intent", e.Seq, d.Step)
		return nil
	}
	delete(r.steps, d.Step)
	s := &r.Steps[i]
	s.Pending = s.Pending || e.Status == Pending
	s.Ended, s.Result, s.Score, s.Verdict, s.Differences, s.Expires, s.Outcome = &d.TS, d.Result, d.Score, d.Verdict, d.Differences, d.Expires, &e.Seq
	if len(d.Details) > 0 {
		s.Details = d.Details
	}
	if e.Status == Verified {
		r.refers(e, "intent", d.Intent, s.Intent)
	}
	if d.Step == record.Checkpoint && d.Score != nil {
		r.judged(e, &d)
	}
	return nil
}

// judged adds the canary analysis to the checkpoint that it is about, which is
// the newest.
func (r *reader) judged(e *Recorded, d *document) {
	if len(r.Checkpoints) == 0 {
		r.fault("entry %d: the outcome of a checkpoint without a checkpoint", e.Seq)
		return
	}
	c := &r.Checkpoints[len(r.Checkpoints)-1]
	if e.Status == Verified {
		r.refers(e, "checkpointEntry", d.Progress, c.Entry)
	}
	c.Verdict = d.Verdict
	analysis, err := aca.Parse(bytes.Clone(d.Report))
	if err == nil && (analysis.Score != *d.Score || string(analysis.Verdict) != d.Verdict || c.Score != *d.Score || c.Checkpoint != d.Checkpoint) {
		err = fmt.Errorf("another score, verdict or percentage than that of the checkpoint")
	}
	if err != nil {
		r.fault("entry %d: %v", e.Seq, err)
		return
	}
	c.Analysis = analysis
}

// refers checks a reference of an entry to another.
func (r *reader) refers(e *Recorded, name string, ref *reference, seq uint64) {
	to := r.bySeq[seq]
	if ref == nil || to.Status != Verified || ref.Index != *to.Index || ref.LeafHash != to.LeafHash {
		r.fault("entry %d: its %s is not entry %d", e.Seq, name, seq)
	}
}

package record

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// A Name is the name of a step.
type Name string

// The steps.
const (
	Plan       Name = "plan"
	Start      Name = "start"
	Checkpoint Name = "checkpoint"
	Throttle   Name = "throttle"
	Pause      Name = "pause"
	Resume     Name = "resume"
	Validation Name = "validation"
	Rehearsal  Name = "rehearsal"
	Cutover    Name = "cutover"
	Rollback   Name = "rollback"
	Finish     Name = "finish"
)

// Names lists the steps.
var Names = []Name{Plan, Start, Checkpoint, Throttle, Pause, Resume, Validation, Rehearsal, Cutover, Rollback, Finish}

// A Result is whether a step was carried out.
type Result string

// The results.
const (
	Succeeded Result = "succeeded"
	Failed    Result = "failed"
	Aborted   Result = "aborted"
)

// verdicts lists the verdicts of docs/spec/aca.md.
var verdicts = []string{"pass", "below-threshold", "blocked"}

// A Step is what an intent contains.
type Step struct {
	Name    Name
	Time    time.Time
	Actor   string  // empty: the job's
	Percent float64 // of a checkpoint: 0 to 100
	// Details is any JSON object. Nil: none.
	Details []byte
}

// An Outcome is what the outcome of a step contains.
type Outcome struct {
	Step
	Result Result
	Intent uint64 // the number of the item with the intent

	// Judged is set for a checkpoint that succeeded, and for no other step.
	Judged *Judged
	// Differences is the number of rows that do not agree. It is set for a
	// validation that succeeded, and can be set for a rehearsal.
	Differences *uint64
	// Expires is when a rehearsal that succeeded ceases to count.
	Expires time.Time
}

// Judged is the judgement of a checkpoint.
type Judged struct {
	Score      float64
	Verdict    string
	Report     []byte // of the canary analysis, a JSON object
	Checkpoint uint64 // the number of the item of kind backfill-checkpoint
}

// document is the JSON form of a step, whose members have a fixed order.
type document struct {
	Entity      string          `json:"entity"`
	Job         artifact        `json:"job"`
	Run         string          `json:"run"`
	Step        Name            `json:"step"`
	Phase       string          `json:"phase"`
	Result      Result          `json:"result,omitempty"`
	TS          string          `json:"ts"`
	Actor       string          `json:"actor"`
	Checkpoint  string          `json:"checkpoint,omitempty"`
	ACAScore    *float64        `json:"acaScore,omitempty"`
	Verdict     string          `json:"verdict,omitempty"`
	Differences *uint64         `json:"differences,omitempty,string"`
	Expires     string          `json:"expires,omitempty"`
	Report      json.RawMessage `json:"report,omitempty"`
	Details     json.RawMessage `json:"details,omitempty"`
}

type artifact struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// Intent returns the entry that is recorded before a step.
func (j *Job) Intent(s Step) (Draft, error) {
	d, err := j.document(&s, "intent")
	if err != nil {
		return Draft{}, fmt.Errorf("intent of step %s: %w", s.Name, err)
	}
	return d.draft(Draft{})
}

// Outcome returns the entry that is recorded after a step.
func (j *Job) Outcome(o Outcome) (Draft, error) {
	d, err := j.document(&o.Step, "outcome")
	if err == nil {
		err = d.addOutcome(&o)
	}
	if err != nil {
		return Draft{}, fmt.Errorf("outcome of step %s: %w", o.Name, err)
	}
	draft := Draft{Intent: o.Intent}
	if o.Judged != nil {
		draft.Checkpoint = o.Judged.Checkpoint
	}
	return d.draft(draft)
}

// Progress returns the entry of kind backfill-checkpoint of a checkpoint.
func (j *Job) Progress(percent, score float64, t time.Time, rollbackReady bool) (Draft, error) {
	if err := j.check(); err != nil {
		return Draft{}, err
	}
	if err := checkShare(percent, score); err != nil {
		return Draft{}, fmt.Errorf("checkpoint: %w", err)
	}
	payload, err := json.Marshal(struct {
		Entity        string  `json:"entity"`
		Checkpoint    string  `json:"checkpoint"`
		ACAScore      float64 `json:"acaScore"`
		TS            string  `json:"ts"`
		RollbackReady bool    `json:"rollbackReady"`
	}{j.Entity, percentage(percent), score, t.UTC().Format("2006-01-02T15:04Z"), rollbackReady})
	return Draft{Kind: KindCheckpoint, Payload: payload}, err
}

func (j *Job) document(s *Step, phase string) (*document, error) {
	if err := j.check(); err != nil {
		return nil, err
	}
	if !slices.Contains(Names, s.Name) {
		return nil, fmt.Errorf("no step has the name %q", s.Name)
	}
	d := &document{
		Entity: j.Entity, Job: artifact{j.File, map[string]string{"sha256": j.Digest()}}, Run: j.Run,
		Step: s.Name, Phase: phase, TS: timestamp(s.Time), Actor: s.Actor,
	}
	if d.Actor == "" {
		d.Actor = j.Actor
	}
	if err := checkText("actor", d.Actor, maxText); err != nil {
		return nil, err
	}
	if s.Name == Checkpoint {
		if err := checkShare(s.Percent, 0); err != nil {
			return nil, err
		}
		d.Checkpoint = percentage(s.Percent)
	}
	var err error
	d.Details, err = object("details", s.Details)
	return d, err
}

// addOutcome adds what only outcomes have.
func (d *document) addOutcome(o *Outcome) error {
	ok := o.Result == Succeeded
	switch {
	case !ok && o.Result != Failed && o.Result != Aborted:
		return fmt.Errorf("no result has the name %q", o.Result)
	case o.Intent == 0:
		return fmt.Errorf("lacks the number of its intent")
	case (o.Judged != nil) != (ok && d.Step == Checkpoint):
		return fmt.Errorf("must have a judgement if it is a checkpoint that succeeded, and otherwise none")
	case o.Differences != nil && d.Step != Validation && d.Step != Rehearsal, o.Differences == nil && ok && d.Step == Validation:
		return fmt.Errorf("a validation that succeeded must have the number of differences, and no step but validation and rehearsal can have it")
	case o.Expires.IsZero() == (ok && d.Step == Rehearsal):
		return fmt.Errorf("must have an expiry if it is a rehearsal that succeeded, and otherwise none")
	case !o.Expires.IsZero() && !o.Expires.Truncate(time.Second).After(o.Time.Truncate(time.Second)):
		return fmt.Errorf("expires at %s, which is not after %s", timestamp(o.Expires), timestamp(o.Time))
	}
	d.Result, d.Differences = o.Result, o.Differences
	if !o.Expires.IsZero() {
		d.Expires = timestamp(o.Expires)
	}
	if o.Judged == nil {
		return nil
	}
	d.ACAScore, d.Verdict = &o.Judged.Score, o.Judged.Verdict
	if err := checkShare(o.Percent, o.Judged.Score); err != nil {
		return err
	}
	if !slices.Contains(verdicts, d.Verdict) {
		return fmt.Errorf("no verdict has the name %q", d.Verdict)
	}
	if o.Judged.Checkpoint == 0 || len(o.Judged.Report) == 0 {
		return fmt.Errorf("lacks the number of its checkpoint, or the report of the canary analysis")
	}
	var err error
	d.Report, err = object("report", o.Judged.Report)
	return err
}

// draft completes a draft with the document.
func (d *document) draft(draft Draft) (Draft, error) {
	var err error
	draft.Kind = KindStep
	if draft.Payload, err = json.Marshal(d); err != nil {
		return Draft{}, fmt.Errorf("step %s: %w", d.Step, err)
	}
	if len(draft.Payload) > MaxPayload {
		return Draft{}, fmt.Errorf("step %s: %d bytes, above the limit of %d: reduce the checks and windows of the canary analysis, or the details", d.Step, len(draft.Payload), MaxPayload)
	}
	return draft, nil
}

// timestamp returns a time as kinds.md requires it. Entries have whole seconds,
// whose form is the same in every program.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// percentage returns a percentage with at most two decimals, which is 100 only
// for 100.
func percentage(p float64) string {
	if p < 100 {
		p = min(p, 99.99)
	}
	text := strconv.FormatFloat(p, 'f', 2, 64)
	for text[len(text)-1] == '0' {
		text = text[:len(text)-1]
	}
	if text[len(text)-1] == '.' {
		text = text[:len(text)-1]
	}
	return text + "%"
}

func checkShare(percent, score float64) error {
	if !(percent >= 0 && percent <= 100) {
		return fmt.Errorf("%g %%: must be from 0 to 100", percent)
	}
	if !(score >= 0 && score <= 1) {
		return fmt.Errorf("score %g: must be from 0 to 1", score)
	}
	return nil
}

func checkText(name, value string, most int) error {
	switch {
	case value == "":
		return fmt.Errorf("%s is required", name)
	case !utf8.ValidString(value):
		return fmt.Errorf("%s %q: not valid UTF-8", name, value)
	case utf8.RuneCountInString(value) > most:
		return fmt.Errorf("%s: %d characters, above the limit of %d", name, utf8.RuneCountInString(value), most)
	}
	return nil
}

// object checks that the text is a JSON object by the strict rules of the
// ledger, which refuse duplicate members.
func object(name string, text []byte) (json.RawMessage, error) {
	if len(text) == 0 {
		return nil, nil
	}
	v := jsontext.Value(text)
	if len(text) > MaxPayload || !v.IsValid() || v.Kind() != '{' {
		return nil, fmt.Errorf("%s: not a JSON object of at most %d bytes", name, MaxPayload)
	}
	return text, nil
}

package record_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/internal/fieldrules"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

var (
	job  = record.Job{Name: "asset-price", File: "asset-price.yaml", SHA256: [32]byte{0xab}, Run: "r-1", Entity: "Asset", Actor: "conductor@db1"}
	noon = time.Date(2026, 4, 19, 12, 0, 4, 500, time.UTC)
)

const report = `{"format":"muniment-aca-1","score":0.96}`

func step(name record.Name) record.Step { return record.Step{Name: name, Time: noon} }

// outcomes returns an outcome of each step that is well formed.
func outcomes() []record.Outcome {
	var all []record.Outcome
	for _, name := range record.Names {
		for _, result := range []record.Result{record.Succeeded, record.Failed, record.Aborted} {
			o := record.Outcome{Step: step(name), Result: result, Intent: 1}
			switch ok := result == record.Succeeded; {
			case ok && name == record.Checkpoint:
				o.Percent, o.Judged = 50, &record.Judged{Score: 0.96, Verdict: "pass", Report: []byte(report), Checkpoint: 2}
			case ok && name == record.Validation:
				o.Differences = new(uint64(0))
			case ok && name == record.Rehearsal:
				o.Differences, o.Expires = new(uint64(0)), noon.Add(time.Hour)
			}
			all = append(all, o)
		}
	}
	return all
}

// valid checks an entry by the rules of the ledger, with its references.
func valid(d record.Draft) error {
	var m proto.Message = &munimentv1.BackfillStep{}
	text := string(d.Payload)
	if d.Kind == record.KindCheckpoint {
		m = &munimentv1.BackfillCheckpoint{}
	}
	for name, seq := range map[string]uint64{"intent": d.Intent, "checkpointEntry": d.Checkpoint} {
		if seq != 0 {
			text = fmt.Sprintf(`%s,%q:{"index":"1","leafHash":"%064x"}}`, strings.TrimSuffix(text, "}"), name, 7)
		}
	}
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		return err
	}
	return fieldrules.Validate(m)
}

// TestEntries checks that each entry that is built obeys the rules of its kind.
func TestEntries(t *testing.T) {
	for _, name := range record.Names {
		d, err := job.Intent(record.Step{Name: name, Time: noon, Actor: "kim", Details: []byte(`{"sql": ["a < b"]}`)})
		if err == nil {
			err = valid(d)
		}
		if err != nil {
			t.Errorf("intent of %s: %v", name, err)
		}
	}
	for _, o := range outcomes() {
		d, err := job.Outcome(o)
		if err == nil {
			err = valid(d)
		}
		if err != nil {
			t.Errorf("outcome %s of %s: %v", o.Result, o.Name, err)
		}
	}
	d, err := job.Progress(50, 0.96, time.Date(2026, 4, 19, 12, 0, 4, 0, time.FixedZone("", 0)), true)
	if want := `{"entity":"Asset","checkpoint":"50%","acaScore":0.96,"ts":"2026-04-19T12:00Z","rollbackReady":true}`; err != nil || string(d.Payload) != want {
		t.Errorf("checkpoint: %s, %v, want %s", d.Payload, err, want)
	}
	for percent, want := range map[float64]string{0: "0%", 5: "5%", 99.999: "99.99%", 100: "100%", 33.333: "33.33%", 12.5: "12.5%"} {
		if d, err = job.Progress(percent, 1, noon, false); err != nil || !strings.Contains(string(d.Payload), `"`+want+`"`) || valid(d) != nil {
			t.Errorf("%g %%: %s, %v, %v", percent, d.Payload, err, valid(d))
		}
	}
}

// TestRefusedEntries checks that what the ledger would refuse is refused before
// a step begins.
func TestRefusedEntries(t *testing.T) {
	outcome := func(name record.Name, change func(*record.Outcome)) error {
		for _, o := range outcomes() {
			if o.Name == name && o.Result == record.Succeeded {
				change(&o)
				_, err := job.Outcome(o)
				return err
			}
		}
		return nil
	}
	with := func(change func(*record.Job)) error {
		j := job
		change(&j)
		_, err := j.Intent(step(record.Plan))
		return err
	}
	for what, err := range map[string]error{
		"no entity":                      with(func(j *record.Job) { j.Entity = "" }),
		"a long entity":                  with(func(j *record.Job) { j.Entity = strings.Repeat("é", 257) }),
		"an entity that is not text":     with(func(j *record.Job) { j.Entity = "\xff" }),
		"no run":                         with(func(j *record.Job) { j.Run = "" }),
		"a run with a slash":             with(func(j *record.Job) { j.Run = "a/b" }),
		"a run that begins with -":       with(func(j *record.Job) { j.Run = "-a" }),
		"no file":                        with(func(j *record.Job) { j.File = "" }),
		"no actor":                       with(func(j *record.Job) { j.Actor = "" }),
		"another step":                   outcome("plan", func(o *record.Outcome) { o.Name = "copy" }),
		"another result":                 outcome("plan", func(o *record.Outcome) { o.Result = "worked" }),
		"no intent":                      outcome("plan", func(o *record.Outcome) { o.Intent = 0 }),
		"differences of a pause":         outcome("pause", func(o *record.Outcome) { o.Differences = new(uint64(1)) }),
		"a pause that expires":           outcome("pause", func(o *record.Outcome) { o.Expires = noon.Add(time.Hour) }),
		"a rehearsal that has expired":   outcome("rehearsal", func(o *record.Outcome) { o.Expires = noon }),
		"a rehearsal that does not":      outcome("rehearsal", func(o *record.Outcome) { o.Expires = time.Time{} }),
		"a validation without result":    outcome("validation", func(o *record.Outcome) { o.Differences = nil }),
		"a checkpoint without judgement": outcome("checkpoint", func(o *record.Outcome) { o.Judged = nil }),
		"a judged plan":                  outcome("plan", func(o *record.Outcome) { o.Judged = &record.Judged{} }),
		"another verdict":                outcome("checkpoint", func(o *record.Outcome) { o.Judged.Verdict = "green" }),
		"a score above 1":                outcome("checkpoint", func(o *record.Outcome) { o.Judged.Score = 1.1 }),
		"a score that is no number":      outcome("checkpoint", func(o *record.Outcome) { o.Judged.Score = math.NaN() }),
		"101 %":                          outcome("checkpoint", func(o *record.Outcome) { o.Percent = 101 }),
		"no report":                      outcome("checkpoint", func(o *record.Outcome) { o.Judged.Report = nil }),
		"a report that is an array":      outcome("checkpoint", func(o *record.Outcome) { o.Judged.Report = []byte("[]") }),
		"details with a duplicate":       outcome("plan", func(o *record.Outcome) { o.Details = []byte(`{"a":1,"a":2}`) }),
		"a report above the limit": outcome("checkpoint", func(o *record.Outcome) {
			o.Judged.Report, _ = json.Marshal(map[string]string{"a": strings.Repeat("x", record.MaxPayload-20)})
		}),
	} {
		if err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
}

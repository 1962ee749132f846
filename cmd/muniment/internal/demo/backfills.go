package main

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/kindname"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// jobs has two backfills: the file of each, and its entries in the order in
// which 'conductor backfill' has sent them on a real PostgreSQL. Members that
// refer to other entries are left out.
//
//go:embed backfills
var jobs embed.FS

// A sent entry is a line of a job's entries.
type sent struct {
	At      time.Time       `json:"at"` // by the clock of its ledger
	Kind    string          `json:"kind"`
	Payload json.RawMessage `json:"payload"`
}

// A backfill repeats the entries of a job at other times.
type backfill struct {
	*company
	name, digest string
	run          string            // of the job
	intents      map[string]string // references to the newest intents, by step
	checkpoint   string            // reference to the newest checkpoint
	rehearsed    bool
}

func (c *company) backfills(day func(int, string) time.Time) (steps []step) {
	steps = append(steps, c.backfill("customer-phone", day(-6, "20:10"), 60)...)
	return append(steps, c.backfill("order-total", day(-4, "19:00"), 15)...)
}

// backfill returns the steps of a job. They take longer than on the recorded
// database, whose tables are small.
func (c *company) backfill(name string, start time.Time, longer time.Duration) (steps []step) {
	file, err := jobs.ReadFile("backfills/" + name + ".yaml")
	c.failed(name, err)
	lines, err := jobs.ReadFile("backfills/" + name + ".jsonl")
	c.failed(name, err)
	b := &backfill{company: c, name: name, digest: digest(string(file)), intents: map[string]string{}}
	var began time.Time
	for i, line := range bytes.Split(bytes.TrimSpace(lines), []byte("\n")) {
		var e sent
		if err := json.Unmarshal(line, &e); err != nil {
			c.failed(fmt.Sprintf("%s.jsonl:%d", name, i+1), err)
			return nil
		}
		if i == 0 {
			began = e.At
		}
		at := start.Add(e.At.Sub(began) * longer)
		steps = append(steps, step{at, func() { b.repeat(i+1, at, e) }})
	}
	return steps
}

// repeat records an entry as the conductor has sent it. A cutover asks the gate
// once its intent is recorded.
func (b *backfill) repeat(seq int, at time.Time, e sent) {
	var s struct{ Run, Step, Phase, Result string }
	err := json.Unmarshal(e.Payload, &s)
	if b.failed(b.name, err); b.err != nil {
		return
	}
	b.run = cmp.Or(s.Run, b.run) // checkpoints have none
	payload := string(moved(e.Payload, at.Sub(e.At)))
	if s.Phase == "outcome" {
		payload = with(payload, "intent", b.intents[s.Step])
		if s.Step == "checkpoint" && s.Result == "succeeded" {
			payload = with(payload, "checkpointEntry", b.checkpoint)
		}
	}
	conductor := b.system("conductor")
	if b.err != nil {
		return
	}
	r, err := conductor.Append(b.ctx, muniment.Submission{Kind: e.Kind, Payload: []byte(payload), IdempotencyKey: fmt.Sprintf("%s/%s/%d", b.name, b.run, seq)})
	b.failed(fmt.Sprintf("entry %d of %s", seq, b.name), err)
	switch {
	case e.Kind == kindname.BackfillCheckpoint:
		b.checkpoint = b.reference(r.Index)
	case s.Phase == "intent":
		b.intents[s.Step] = b.reference(r.Index)
	}
	b.rehearsed = b.rehearsed || s.Step == "rehearsal" && s.Result == "succeeded"
	if s.Step == "cutover" && s.Phase == "intent" {
		want := "blocked"
		if b.rehearsed {
			want = "pass"
		}
		b.gate(conductor, artifact{"file", b.name + ".yaml", b.digest}, "cutover", "production", want)
	}
}

// reference returns the member of a payload that refers to an entry.
func (b *backfill) reference(index uint64) string {
	return fmt.Sprintf(`{"index":"%d","leafHash":%q}`, index, b.leafHash(index))
}

// leafHash returns the leaf hash of an entry in hexadecimal digits.
func (c *company) leafHash(index uint64) string {
	if c.err != nil {
		return ""
	}
	res, err := c.admin.GetEntry(c.ctx, connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: c.admin.Tenant, Index: index}))
	if c.failed(fmt.Sprintf("entry %d", index), err); c.err != nil {
		return ""
	}
	return hex.EncodeToString(res.Msg.Entry.LeafHash)
}

// with adds a member to the end of a JSON object.
func with(object, name, value string) string {
	return strings.TrimSuffix(object, "}") + fmt.Sprintf(`,"%s":%s}`, name, value)
}

var times = regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?Z"`)

// moved returns a document whose times are later by a duration.
func moved(document []byte, by time.Duration) []byte {
	return times.ReplaceAllFunc(document, func(quoted []byte) []byte {
		text, layout := strings.Trim(string(quoted), `"`), time.RFC3339Nano
		if len(text) == len("2026-04-19T12:00Z") {
			layout = "2006-01-02T15:04Z"
		}
		t, err := time.Parse(layout, text)
		if err != nil {
			return quoted // a text that looks like a time
		}
		t = t.Add(by)
		if !strings.Contains(text, ".") {
			t = t.Truncate(time.Second)
		}
		return []byte(`"` + t.Format(layout) + `"`)
	})
}

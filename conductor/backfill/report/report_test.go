package report

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/conductor/backfill/aca"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/internal/peers/ledgerrig"
	"muniment.dev/muniment/ledger/receipt"
)

// keep is where to write the page of TestReport and its JSON, to look at them.
var keep = flag.String("page", "", "file to write the page to")

var start = time.Date(2026, 4, 19, 8, 0, 0, 0, time.UTC)

// A story is a backfill as it is recorded.
type story struct {
	t        *testing.T
	job      record.Job
	now      time.Time
	entries  []Entry
	receipts []record.Receipt
	drafts   []record.Draft
}

func newStory(t *testing.T, job record.Job) *story {
	return &story{t: t, job: job, now: start}
}

// put adds an entry and returns its number.
func (s *story) put(d record.Draft, err error) uint64 {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	s.drafts = append(s.drafts, d)
	return uint64(len(s.drafts))
}

// step adds an intent and, a while later, its outcome.
func (s *story) step(name record.Name, d time.Duration, result record.Result, change func(*record.Outcome)) {
	s.t.Helper()
	o := record.Outcome{Step: record.Step{Name: name, Time: s.now}, Result: result}
	if change != nil {
		change(&o)
	}
	o.Intent = s.put(s.job.Intent(o.Step))
	s.now = s.now.Add(d)
	o.Time = s.now
	if o.Judged != nil {
		o.Judged.Checkpoint = s.put(s.job.Progress(o.Percent, o.Judged.Score, s.now, true))
	}
	s.put(s.job.Outcome(o))
}

// The methods of an outbox.

func (s *story) Next(context.Context) (record.Item, bool, error) {
	n := len(s.receipts)
	if n == len(s.drafts) {
		return record.Item{}, false, nil
	}
	return record.Item{Seq: uint64(n + 1), Draft: s.drafts[n]}, true, nil
}

func (s *story) Receipt(_ context.Context, seq uint64) (record.Receipt, error) {
	return s.receipts[seq-1], nil
}

func (s *story) Seal(context.Context, uint64, []byte) error { return nil }

func (s *story) Acknowledge(_ context.Context, seq uint64, r record.Receipt) error {
	s.receipts = append(s.receipts, r)
	s.entries = append(s.entries, Entry{Seq: seq, Kind: s.drafts[seq-1].Kind, Payload: r.Payload, Receipt: r.Receipt})
	return nil
}

// analysis returns the canary analysis of a checkpoint, in which the tail is
// worse with the copy by a share.
func analysis(t *testing.T, worse float64) *aca.Report {
	t.Helper()
	c := aca.NewConfig("00112233445566778899aabbccddeeff", 8)
	c.Draws = 999
	wal, errors := aca.NewCounter("wal-per-transaction", "B"), aca.NewErrors("errors")
	c.Checks = []aca.Check{wal, errors, aca.NewTail("latency-p99", "ms", 0.99)}
	c.DataChecks = []string{"checksum-up", "checksum-down", "sample", "nulls", "constraints", "rows"}
	windows := aca.Order(c.Seed, c.Pairs)
	for i := range windows {
		w := &windows[i]
		w.Start = start.Add(time.Duration(i) * time.Minute)
		w.End = w.Start.Add(50 * time.Second)
		factor := 1 + 0.01*float64(i%3)
		if w.Copy {
			factor *= 1 + worse
		}
		w.Samples = map[string]aca.Sample{
			"wal-per-transaction": {Value: 812_000 * factor, Per: 1_000},
			"errors":              {Value: 1, Per: 9_000},
			"latency-p99":         {Value: 14.2 * factor, Per: 9_000},
		}
	}
	var data []aca.DataResult
	for _, name := range c.DataChecks {
		data = append(data, aca.DataResult{Name: name, Result: aca.Pass})
	}
	r, err := aca.Judge(c, windows, data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// checkpoint adds a checkpoint with its analysis.
func (s *story) checkpoint(percent, worse float64) {
	a := analysis(s.t, worse)
	text, err := a.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	s.step(record.Checkpoint, 16*time.Minute, record.Succeeded, func(o *record.Outcome) {
		o.Percent, o.Judged = percent, &record.Judged{Score: a.Score, Verdict: string(a.Verdict), Report: text}
	})
}

var job = record.Job{Name: "asset-price", File: "asset-price.yaml", SHA256: [32]byte{0xab}, Run: "01J9ZQ4V7K", Entity: "Asset", Actor: "conductor@db1.acme.example"}

// tell records a backfill from its plan to its cutover.
func (s *story) tell() {
	s.step(record.Plan, 3*time.Second, record.Succeeded, func(o *record.Outcome) {
		o.Details = []byte(`{"rows":400000,"sql":["ALTER TABLE asset ADD COLUMN price__new numeric(12,2)"]}`)
	})
	s.step(record.Start, time.Second, record.Succeeded, nil)
	for _, at := range []float64{25, 50} {
		s.checkpoint(at, 0.02)
	}
	s.checkpoint(55, 0.31)
	s.step(record.Pause, time.Second, record.Succeeded, func(o *record.Outcome) { o.Actor = "aca" })
	s.now = s.now.Add(40 * time.Minute)
	s.step(record.Throttle, time.Second, record.Succeeded, func(o *record.Outcome) { o.Actor, o.Details = "kim@acme.example", []byte(`{"wal_rate":"4MB/s"}`) })
	s.step(record.Resume, time.Second, record.Succeeded, func(o *record.Outcome) { o.Actor = "kim@acme.example" })
	for _, at := range []float64{75, 100} {
		s.checkpoint(at, 0.01)
	}
	s.step(record.Validation, 9*time.Minute, record.Succeeded, func(o *record.Outcome) { o.Differences = new(uint64(0)) })
	s.step(record.Rehearsal, 4*time.Minute, record.Succeeded, func(o *record.Outcome) {
		o.Differences, o.Expires = new(uint64(0)), s.now.Add(24*time.Hour)
		o.Details = []byte(`{"cutover":"212ms","rollback":"187ms","clone":"pg_basebackup"}`)
	})
	s.step(record.Cutover, time.Second, record.Failed, func(o *record.Outcome) { o.Details = []byte(`{"error":"lock timeout","attempts":3}`) })
	s.step(record.Cutover, time.Second, record.Succeeded, func(o *record.Outcome) { o.Details = []byte(`{"held":"41ms","attempts":1}`) })
}

// send records the story in a ledger, except for the last entries.
func (s *story) send(server *ledgerrig.Server, rest int) {
	s.t.Helper()
	policy, err := receipt.ParseTrustPolicy("policy", server.Policy)
	if err != nil {
		s.t.Fatal(err)
	}
	all := s.drafts
	s.drafts = all[:len(all)-rest]
	sender, err := record.New(record.Options{Ledger: muniment.Options{Server: server.URL, Token: server.Token, Policy: policy}, Outbox: s, Job: s.job})
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := sender.Flush(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.drafts = all
	for i := len(s.entries); i < len(all); i++ {
		s.entries = append(s.entries, Entry{Seq: uint64(i + 1), Kind: all[i].Kind, Payload: all[i].Payload})
	}
}

// input returns that of the story's report.
func (s *story) input(policy []byte) Input {
	in := Input{
		Job: Job{Name: s.job.Name, File: s.job.File, SHA256: s.job.Digest(), Run: s.job.Run, Entity: s.job.Entity, Table: "public.asset", Column: "price", Type: "numeric(12,2)",
			Up: "price::numeric(12,2)", Down: "price::text", Phase: "cutover"},
		Made: s.now, Tenant: "acme", Policy: policy, Entries: s.entries,
		Copy:     Copy{Rows: 400_000, Visited: 400_112, Written: 399_870, Chunks: 861, Percent: 100},
		Throttle: []Throttle{{"wal_rate", 22 * time.Minute, 3 * time.Minute, 41, 1.31}, {"replication_lag", 4 * time.Minute, 0, 6, 0.82}},
	}
	for i := range 180 {
		at := start.Add(time.Duration(i) * time.Minute)
		rate := 1400 + 300*float64(i%7)/7
		if i > 48 && i < 89 {
			rate = 0
		}
		in.Rate = append(in.Rate, Rate{at, rate})
	}
	return in
}

// TestReport makes the report of a backfill whose entries are in a ledger.
func TestReport(t *testing.T) {
	server := ledgerrig.Start()
	defer server.Close()
	s := newStory(t, job)
	s.tell()
	s.send(server, 1)
	r, err := Make(s.input(server.Policy))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Faults) > 0 || r.Verified != len(s.drafts)-1 || r.Pending != 1 {
		t.Errorf("%d verified, %d pending, faults %q", r.Verified, r.Pending, r.Faults)
	}
	if len(r.Checkpoints) != 5 || r.Checkpoints[2].Verdict != "below-threshold" || r.Checkpoints[4].Analysis == nil || r.Checkpoints[4].Verdict != "pass" {
		t.Errorf("checkpoints: %+v", r.Checkpoints)
	}
	if last := r.Steps[len(r.Steps)-1]; last.Name != record.Cutover || last.Result != record.Succeeded || last.Intent == 0 || last.Outcome == nil {
		t.Errorf("last step: %+v", last)
	}
	for i, step := range r.Steps {
		if pending := i == len(r.Steps)-1; step.Pending != pending {
			t.Errorf("step %d, %s: pending is %t", i, step.Name, step.Pending)
		}
	}
	page, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	const mark = `<span class="mark unclear">succeeded</span>, not recorded yet`
	if n := bytes.Count(page, []byte(mark)); n == 0 || n != bytes.Count(page, []byte(", not recorded yet")) {
		t.Errorf("the step without a receipt has %d marks", n)
	}
	text, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if *keep != "" {
		for name, content := range map[string][]byte{*keep: page, *keep + ".json": text} {
			if err := os.WriteFile(name, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, want := range []string{"Cut over: the new column is in use", "wal-per-transaction", "below-threshold", "wal_rate", "kim@acme.example", "lock timeout", "pg_basebackup", "1 is not recorded yet", "400,112 of about 400,000 rows", "counts until"} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("the page lacks %q", want)
		}
	}
	wantSelfContained(t, page)

	var again Report
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	for i, e := range again.Entries[:r.Verified] {
		policy, err := receipt.ParseTrustPolicy("policy", []byte(again.Policy))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := receipt.Verify(e.Receipt, []*receipt.TrustPolicy{policy}, receipt.Options{Payload: e.Payload}); err != nil {
			t.Errorf("entry %d of the JSON document: %v", i+1, err)
		}
	}
}

// wantSelfContained checks that a page has no scripts, and refers to no other
// file.
func wantSelfContained(t *testing.T, page []byte) {
	t.Helper()
	z := html.NewTokenizer(bytes.NewReader(page))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if bytes.Contains(page, []byte("url(")) || bytes.Contains(page, []byte("@import")) || bytes.Contains(page, []byte("ZgotmplZ")) {
				t.Error("the style refers to another file, or a value was not allowed in its place")
			}
			return
		case html.StartTagToken, html.SelfClosingTagToken:
			token := z.Token()
			switch token.Data {
			case "script", "img", "iframe", "object", "embed", "link", "form", "base", "a":
				t.Errorf("the page has an element %s", token.Data)
			}
			for _, a := range token.Attr {
				if strings.HasPrefix(a.Key, "on") || a.Key == "src" || a.Key == "href" || a.Key == "srcdoc" {
					t.Errorf("the page has an attribute %s=%q", a.Key, a.Val)
				}
			}
		}
	}
}

// TestEscape puts markup into every text of a report.
func TestEscape(t *testing.T) {
	server := ledgerrig.Start()
	defer server.Close()
	const hostile = `</style></title></code><script>alert(1)</script><img src=x onerror=alert(1)>'"&`
	evil := job
	evil.Name, evil.File, evil.Entity, evil.Actor = hostile, hostile, hostile, hostile
	s := newStory(t, evil)
	details, err := json.Marshal(map[string]string{hostile: hostile})
	if err != nil {
		t.Fatal(err)
	}
	s.step(record.Plan, time.Second, record.Succeeded, func(o *record.Outcome) { o.Details = details })
	s.checkpoint(50, 0)
	s.send(server, 0)
	in := s.input(server.Policy)
	for _, to := range []*string{&in.Job.Table, &in.Job.Column, &in.Job.Type, &in.Job.Up, &in.Job.Down, &in.Job.Phase, &in.Throttle[0].Input} {
		*to = hostile
	}
	r, err := Make(in)
	if err != nil || len(r.Faults) > 0 {
		t.Fatal(err, r.Faults)
	}
	page, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	wantSelfContained(t, page)
	if n := bytes.Count(page, []byte("alert(1)")); n < 20 {
		t.Errorf("the page shows %d of the texts", n)
	}
}

// TestFaults changes the entries of a report in ways that its receipts reveal.
func TestFaults(t *testing.T) {
	server, other := ledgerrig.Start(), ledgerrig.Start()
	defer server.Close()
	defer other.Close()
	s := newStory(t, job)
	s.step(record.Plan, time.Second, record.Succeeded, nil)
	s.checkpoint(50, 0)
	s.send(server, 0)
	for _, c := range []struct {
		what, want string
		change     func(*Input)
	}{
		{"nothing", "", func(*Input) {}},
		{"the policy of another log", "not verified", func(in *Input) { in.Policy = other.Policy }},
		{"another payload", "entry 2: not verified", func(in *Input) {
			in.Entries[1].Payload = bytes.Replace(in.Entries[1].Payload, []byte("succeeded"), []byte("failed"), 1)
		}},
		{"two receipts in exchange", "entry 2: not verified", func(in *Input) {
			in.Entries[1].Receipt, in.Entries[3].Receipt = in.Entries[3].Receipt, in.Entries[1].Receipt
		}},
		{"another number", "the receipt is for an entry with the key", func(in *Input) { in.Entries = in.Entries[1:]; in.Entries[0].Seq = 1 }},
		{"an outcome without its intent", "an outcome of plan without an intent", func(in *Input) { in.Entries = in.Entries[1:] }},
		{"a missing entry", "entry 3 follows entry 1", func(in *Input) { in.Entries = append(in.Entries[:1:1], in.Entries[2:]...) }},
		{"another job file", "about another job or run", func(in *Input) { in.Job.SHA256 = strings.Repeat("0", 64) }},
		{"another tenant", "not verified", func(in *Input) { in.Tenant = "globex" }},
	} {
		in := s.input(server.Policy)
		in.Entries = append([]Entry(nil), in.Entries...)
		c.change(&in)
		r, err := Make(in)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		text := strings.Join(r.Faults, "\n")
		if !strings.Contains(text, c.want) || (c.want == "") != (text == "") {
			t.Errorf("%s: faults %q, want %q", c.what, text, c.want)
		}
		page, err := r.HTML()
		if err != nil {
			t.Fatal(err)
		}
		if shown := bytes.Contains(page, []byte("The evidence does not verify")); shown != (c.want != "") {
			t.Errorf("%s: the page shows a fault: %t", c.what, shown)
		}
	}
	if _, err := Make(Input{Policy: []byte("x")}); err == nil {
		t.Error("a report without a trust policy is made")
	}
	if _, err := Make(Input{Policy: server.Policy, Entries: make([]Entry, maxEntries+1)}); err == nil {
		t.Error("a report with too many entries is made")
	}
}

// TestThin bounds the points of a line.
func TestThin(t *testing.T) {
	var all []Rate
	for i := range 10_001 {
		all = append(all, Rate{start.Add(time.Duration(i) * time.Second), 7})
	}
	out := thin(all)
	if len(out) > maxPoints || out[0].Rows != 7 || out[len(out)-1].Rows != 7 {
		t.Errorf("%d points, the last is %v", len(out), out[len(out)-1])
	}
	if fmt.Sprint(thin(all[:3])) != fmt.Sprint(all[:3]) {
		t.Error("a short line is changed")
	}
}

// TestPausedBanner checks that the head of the page has the reason of a job
// that a checkpoint has paused, with the checks of that checkpoint unfolded.
func TestPausedBanner(t *testing.T) {
	r := &Report{
		Job: Job{Phase: "paused"}, Copy: Copy{Percent: 20},
		Checkpoints: []Checkpoint{{Checkpoint: "20%", Time: start, Verdict: "blocked", Analysis: &aca.Report{Summary: "checksum-down failed"}}},
		Rate:        []Rate{{start, 1}, {start.Add(time.Minute), 2}},
	}
	page, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<p>Checkpoint 20%: checksum-down failed.</p>", `<details class="checkpoint" open>`, "<small>2026-04-19 08:00 UTC", ">08:00:15<"} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

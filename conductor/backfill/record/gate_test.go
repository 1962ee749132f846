package record_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/conductor/backfill/record"
)

// control requires the outcome of a rehearsal by the conductor.
const control = `{"id":"REHEARSED","title":"It was rehearsed","state":"active","severity":"high","owner":"dba@acme.example",` +
	`"check":{"require":[{"name":"steps","kinds":["backfill-step"],"unsigned":true,"submitters":["token:conductor"]}],` +
	`"condition":"evidence.exists(e, e.attributes.step == 'rehearsal' && e.attributes.phase == 'outcome')"},"modes":[{"stage":"cutover","mode":"enforce"}]}`

// TestAsk asks the gate without a control set, without evidence, and with it.
func TestAsk(t *testing.T) {
	r, o := newRig(t), newOutbox()
	s := r.sender(r.options(o))
	ask := func(what, decision, text string) *record.Decision {
		t.Helper()
		d, err := s.Ask(patient(t), "cutover", "production")
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		err = d.Err()
		if d.Decision != decision || d.Passed() != (decision == "pass") || (err == nil) != d.Passed() {
			t.Errorf("%s: %+v, %v, want %s", what, d, err, decision)
		}
		if err != nil && (!errors.Is(err, record.ErrNotPassed) || !strings.Contains(err.Error(), text)) {
			t.Errorf("%s: %v, want %q", what, err, text)
		}
		return d
	}
	ask("no controls", "undecided", "muniment control init --template backfill")

	r.control(control)
	ask("no evidence", "blocked", "REHEARSED: It was rehearsed (missing-evidence")
	fill(t, o)
	if err := s.Await(patient(t)); err != nil {
		t.Fatal(err)
	}
	d := ask("no rehearsal", "blocked", "record what is missing (conductor backfill rehearse")
	if len(d.Results) != 1 || d.Results[0].Owner != "dba@acme.example" || d.Results[0].Result != "not-satisfied" || d.Entry == 0 || d.TreeSize == 0 || d.Decided.IsZero() {
		t.Errorf("decision: %+v", d)
	}
	rehearse(t, o)
	if err := s.Await(patient(t)); err != nil {
		t.Fatal(err)
	}
	if d := ask("a rehearsal", "pass", ""); len(d.LeafHash) != 64 {
		t.Errorf("the leaf hash is %q", d.LeafHash)
	}

	other := r.options(newOutbox())
	other.Job.SHA256[0]++
	d, err := r.sender(other).Ask(patient(t), "cutover", "")
	if err != nil || d.Passed() {
		t.Errorf("another job file: %+v, %v", d, err)
	}
	r.Close()
	if _, err := s.Ask(t.Context(), "cutover", ""); err == nil || !strings.Contains(err.Error(), "ask the gate of the ledger about asset-price.yaml") {
		t.Errorf("without the ledger: %v", err)
	}
}

// control puts a control in force for the stage cutover.
func (r *rig) control(control string) {
	r.t.Helper()
	set := fmt.Sprintf(`{"version":"1","stages":["cutover"],"controls":[{"id":"REHEARSED","digest":"sha256:%x"}]}`, sha256.Sum256([]byte(control)))
	for _, e := range [][2]string{{"control", control}, {"control-set", set}} {
		if _, err := r.admin.Append(r.t.Context(), muniment.Submission{Kind: e[0], Payload: []byte(e[1]), IdempotencyKey: e[0]}); err != nil {
			r.t.Fatal(err)
		}
	}
}

// rehearse puts a rehearsal into the outbox.
func rehearse(t *testing.T, o *outbox) {
	t.Helper()
	put := func(draft record.Draft, err error) uint64 {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return o.put(draft)
	}
	intent := put(job.Intent(step(record.Rehearsal)))
	put(job.Outcome(record.Outcome{Step: step(record.Rehearsal), Result: record.Failed, Intent: intent}))
}

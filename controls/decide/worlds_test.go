package decide

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/entry"
)

// worldsFile has the recorded cases with whole headers and payloads, from which
// a test of the commands builds logs. It asks every gate about each of them.
const worldsFile = "testdata/worlds.json"

type worldCase struct {
	Name        string           `json:"name"`
	Entries     []worldCaseEntry `json:"entries"`
	Now         int64            `json:"now"` // Unix milliseconds
	Stage       string           `json:"stage"`
	Environment string           `json:"environment,omitempty"`
	Subject     evaluate.Subject `json:"subject"`
	Parts       []evaluate.Part  `json:"parts,omitempty"`
	Answer      json.RawMessage  `json:"answer"` // GateDecision
}

type worldCaseEntry struct {
	Index   uint64        `json:"index"`
	Time    uint64        `json:"time"`
	Header  *entry.Header `json:"header,omitempty"`  // absent: erased
	Payload *string       `json:"payload,omitempty"` // absent: erased
}

// TestWorlds checks that the file has the cases of TestCases.
func TestWorlds(t *testing.T) {
	soak.WithoutRace(t)
	var want bytes.Buffer
	n := 0
	for i := range cases {
		c := &cases[i]
		w := &world{}
		c.build(w)
		q, a := c.question()
		if len(w.entries) > maxVectorEntries || q.At != (Moment{}) {
			continue
		}
		d := w.decider()
		answer, err := protojson.Marshal(Message(w.ask(t, d, q, a), &q, &a))
		if err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, answer); err != nil {
			t.Fatal(err)
		}
		one := worldCase{Name: c.name, Now: d.Now().UnixMilli(), Stage: q.Stage, Environment: q.Environment, Subject: a.Subject, Parts: a.Parts, Answer: compact.Bytes()}
		for _, e := range w.entries {
			x := worldCaseEntry{Index: e.Index, Time: e.Skeleton.Time, Header: e.Header}
			if e.payload != nil {
				text := string(e.payload)
				x.Payload = &text
			}
			one.Entries = append(one.Entries, x)
		}
		want.WriteString(text(one) + "\n")
		n++
	}
	if n < 100 {
		t.Errorf("%d cases, want at least 100", n)
	}
	if *update {
		if err := os.MkdirAll(filepath.Dir(worldsFile), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(worldsFile, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(worldsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("the file is not that of the cases. Run go test ./controls/decide -run TestWorlds -update, and check the difference.")
	}
}

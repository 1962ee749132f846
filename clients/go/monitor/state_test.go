package monitor

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"muniment.dev/muniment/clients/go/audit"
	"muniment.dev/muniment/internal/soak"
)

// A saved state can be loaded, whatever text logs put into alerts. The gravest
// alerts are kept longest.
func TestStateStaysReadable(t *testing.T) {
	soak.WithoutRace(t)
	dir := t.TempDir()
	st := &state{Version: stateVersion}
	checkpoint := strings.Repeat("\x01", 150<<10) // six bytes each in JSON
	dropped := 0
	for i := range 5 {
		var round []Alert
		for j := range 2 {
			round = append(round, Alert{Kind: Forked, Kept: checkpoint, Offered: checkpoint, Key: fmt.Sprint("forked", i, j)})
		}
		for j := range 100 {
			round = append(round, Alert{Kind: Unexpected, Key: fmt.Sprint("unexpected", i, j)})
		}
		found, n := st.merge(round)
		if dropped += n; len(found) != len(round) {
			t.Fatalf("found %d of %d", len(found), len(round))
		}
		if err := st.save(dir, "ours"); err != nil {
			t.Fatal(err)
		}
		loaded, err := loadState(dir, "ours")
		if err != nil || len(loaded.Alerts) != len(st.Alerts) || len(st.Alerts) > maxAlerts {
			t.Fatalf("round %d: %v, %d alerts", i, err, len(st.Alerts))
		}
		if i == 1 {
			st.Alerts[0].Delivered = true
		}
	}
	if info, err := os.Stat(statePath(dir, "ours")); err != nil || info.Size() > maxStateSize {
		t.Error(info, err)
	}
	count := map[string]int{}
	for _, a := range st.Alerts {
		count[a.Kind]++
		if a.Delivered {
			t.Error("a delivered alert is kept, and others are not")
		}
	}
	if want := 5*102 - 1 - len(st.Alerts); dropped != want || count[Forked] < 4 || count[Unexpected] != 0 {
		t.Errorf("dropped %d of %d, kept %v", dropped, want, count)
	}
	for i, a := range st.undelivered() {
		if i > 0 && rank(a.Kind) < rank(Forked) {
			t.Error("not the gravest first")
		}
	}
}

func TestReportsAreBounded(t *testing.T) {
	r := &audit.StreamReport{Missing: make([]audit.SeqRange, 200_000), Doubled: make([]audit.DoubleEvidence, audit.MaxFindings)}
	for i := range r.Doubled {
		r.Doubled[i].First.Proof = strings.Repeat("p", 250_000)
	}
	a := Alert{Kind: Incomplete, Stream: r}.bounded()
	if a.size() > maxAlertSize || len(a.Stream.Missing) != audit.MaxFindings || len(a.Stream.Doubled) == 0 {
		t.Errorf("%d bytes, %d missing, %d doubled", a.size(), len(a.Stream.Missing), len(a.Stream.Doubled))
	}
	if len(r.Missing) != 200_000 || len(r.Doubled) != audit.MaxFindings {
		t.Error("the audit's report was changed")
	}
}

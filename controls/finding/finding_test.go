package finding

import (
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/ledger/entry"
)

var start = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func day(n int) time.Time { return start.AddDate(0, 0, n) }

// report returns an entry about a finding.
func report(n int, id, status string, more ...string) Entry {
	h := &entry.Header{Submitter: "oidc:https://id.example.com#dana", Controls: []string{"C-1"}, Attributes: map[string]string{
		"finding": id, "status": status, "severity": "high", "title": "a problem", "source": "audit", "detected": start.Format(time.RFC3339),
	}}
	for _, m := range more {
		name, value, _ := strings.Cut(m, "=")
		switch name {
		case "subject":
			h.Subjects = append(h.Subjects, entry.Subject{Name: "app", Digest: map[string]string{"sha256": value}})
		case "result":
			h.Admission = &entry.Admission{Result: value}
		default:
			h.Attributes[name] = value
		}
	}
	return Entry{Index: uint64(n), Time: day(n), Header: h}
}

func TestRead(t *testing.T) {
	all, err := Read([]Entry{
		report(1, "AUD-1", "open"),
		report(2, "AUD-1", "open", "subject=AA"),
		report(3, "aud-1", "in-progress"),
		report(4, "AUD-1", "resolved", "entry.1=9", "entry.2=7", "resolution=accepted"),
		report(5, "AUD-1", "resolved", "subject=aa", "entry.1=9"),
		report(6, "AUD-1", "reopened", "result=recorded"),
		{Index: 7},
	})
	if err != nil || len(all) != 2 {
		t.Fatalf("%d findings, %v; want one about the control and one about the artifact", len(all), err)
	}
	if f := all[0]; len(f.Reports) != 3 || !f.Resolved() || f.Newest().Evidence[0] != 7 {
		t.Errorf("the first: %+v", f)
	}
	if f := all[1]; len(f.Reports) != 2 || f.Resolved() {
		t.Errorf("the second is resolved, and the log has not accepted it: %+v", f)
	}
	for _, bad := range []Entry{report(1, "A", "open", "detected=yesterday"), report(1, "A", "resolved", "entry.1=x"), report(1, "A", "open", "due=soon")} {
		if _, err := Read([]Entry{bad}); err == nil {
			t.Errorf("accepts %v", bad.Header.Attributes)
		}
	}
}

// TestCountAt follows findings over time: open, overdue, resolved, reopened.
func TestCountAt(t *testing.T) {
	all, err := Read([]Entry{
		report(1, "A", "open"),
		report(2, "B", "open", "due="+day(30).Format(time.RFC3339)),
		report(5, "A", "in-progress"),
		report(9, "A", "resolved", "entry.1=3", "resolution=accepted"),
		report(12, "A", "reopened"),
		report(13, "B", "resolved"),
	})
	if err != nil {
		t.Fatal(err)
	}
	sla := func(control, severity string) (int, bool) { return 7, control == "C-1" && severity == "high" }
	for _, c := range []struct {
		day, open, inProgress, resolved, overdue int
		share                                    float64
	}{
		{0, 0, 0, 0, 0, 1},
		{1, 1, 0, 0, 0, 0},
		{2, 2, 0, 0, 0, 0},
		{5, 1, 1, 0, 0, 0},
		{8, 1, 1, 0, 1, 0},
		{9, 1, 0, 1, 0, 0.5},
		{12, 2, 0, 0, 1, 0},
		{13, 2, 0, 0, 2, 0}, // without evidence nothing is resolved
		{31, 2, 0, 0, 2, 0},
	} {
		got := CountAt(all, day(c.day), sla)
		want := Count{day(c.day), c.open, c.inProgress, c.resolved, c.overdue}
		if got != want || got.Share() != c.share {
			t.Errorf("day %d: %+v, share %v; want %+v, %v", c.day, got, got.Share(), want, c.share)
		}
	}
}

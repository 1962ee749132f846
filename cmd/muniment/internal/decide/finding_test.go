package decide

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

const importDigest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

func TestFindingImport(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name, file, text string
		cmd              findingImportCmd
		// ID, severity, status, day, title, controls and subjects of each
		want []string
		err  string
	}{
		{name: "CSV with a mapping", file: "audit.csv", text: "Ref,Finding,Rating,Opened,Owner controls\nAUD-1,\"No review, at all\",Major,2026-10-01,A-1; B-2\nAUD-2,x,low,,\n",
			cmd:  findingImportCmd{Map: map[string]string{"id": "Ref", "title": "Finding", "severity": "Rating", "detected": "Opened", "controls": "Owner controls"}, Value: map[string]string{"Major": "high"}, Source: "audit", Control: []string{"C-3"}},
			want: []string{"AUD-1 high open 2026-10-01 No review, at all [A-1 B-2 C-3] ", "AUD-2 low open 2026-11-28 x [C-3] "}},
		{name: "CSV with a byte order mark", file: "a.csv", text: "\ufeffid,title,severity,source\nA,t,low,s\n", cmd: findingImportCmd{Subject: []string{"app@" + importDigest}},
			want: []string{"A low open 2026-11-28 t [] app"}},
		{name: "JSON lines", file: "a.jsonl", text: `{"id":"A","title":"t","severity":"HIGH","source":"s","status":"in progress","controls":["X","Y"],"score":9.8}` + "\n" + `{"id":"B","title":"t","severity":"info","source":"s","controls":"X"}`,
			want: []string{"A high in-progress 2026-11-28 t [X Y] ", "B info open 2026-11-28 t [X] "}},
		{name: "JSON array", file: "a.json", text: `[{"id":"A","title":"t","severity":"low","source":"s","subject":"` + importDigest + `"}]`, want: []string{"A low open 2026-11-28 t [] "}},
		{name: "SARIF", file: "a.sarif", text: `{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"semgrep","version":"1.2","rules":[{"id":"R1","shortDescription":{"text":"rule"},"properties":{"security-severity":"9.8"}}]}},"results":[{"ruleId":"R1","level":"warning","message":{"text":"m"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"a.go"},"region":{"startLine":7}}}]},{"ruleId":"R2","level":"note","message":{"text":"other\nmore"}}]}]}`,
			cmd: findingImportCmd{Subject: []string{importDigest}}, want: []string{"R1 critical open 2026-11-28 rule [] ", "R2 low open 2026-11-28 other [] "}},

		{name: "no column", file: "a.csv", text: "id,title\n", cmd: findingImportCmd{Map: map[string]string{"severity": "Rating"}}, err: `no column "Rating": the file has id, title`},
		{name: "unknown severity", file: "a.csv", text: "id,title,severity,source\nA,t,Blocker,s\n", cmd: findingImportCmd{Control: []string{"C"}}, err: `line 2: severity: "Blocker" is not one of critical`},
		{name: "about nothing", file: "a.csv", text: "id,title,severity,source\nA,t,low,s\n", err: "line 2: about nothing: add --subject or --control"},
		{name: "resolved without evidence", file: "a.csv", text: "id,title,severity,source,status,controls\nA,t,low,s,resolved,C\n", err: `status: "resolved" is not one of`},
		{name: "all mistakes at once", file: "a.csv", text: "id,title,severity,source,controls\n,t,low,s,C\nB,t,,s,C\n", err: "line 2: no id: use --map id=COLUMN\nline 3: no severity"},
		{name: "a ragged row", file: "a.csv", text: "id,title\nA\n", err: "wrong number of fields"},
		{name: "cut off", file: "a.json", text: `[{"id":"A"}`, err: "EOF"},
		{name: "empty", file: "a.json", text: `[]`, err: "no findings in the file"},
		{name: "unknown format", file: "a.xlsx", text: "PK", err: "add --format"},
		{name: "too many", file: "a.jsonl", text: strings.Repeat(`{"id":"A"}`, maxImported+1), err: "above the limit of 10000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cmd.File = filepath.Join(t.TempDir(), c.file)
			if err := os.WriteFile(c.cmd.File, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			text, err := c.cmd.read(nil)
			if err != nil {
				t.Fatal(err)
			}
			records, err := c.cmd.parse(text)
			var got []string
			if err == nil {
				all, cerr := c.cmd.convert(records, now)
				err = cerr
				for _, f := range all {
					names := ""
					for _, s := range f.Subjects {
						names += s.Name
					}
					got = append(got, strings.Join([]string{f.Id, f.Severity, f.Status, f.Detected.AsTime().Format(time.DateOnly), f.Title, "[" + strings.Join(f.Controls, " ") + "]", names}, " "))
				}
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got %q, %v\nwant %q", got, err, c.want)
			}
		})
	}
}

func TestBurndown(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	report := func(n uint64, id, status string, day int, more map[string]string) finding.Entry {
		attributes := map[string]string{"finding": id, "status": status, "severity": "high", "detected": "2026-11-01T00:00:00Z"}
		for k, v := range more {
			attributes[k] = v
		}
		return finding.Entry{Index: n, Time: now.AddDate(0, 0, -day), Header: &entry.Header{Controls: []string{"C"}, Attributes: attributes}}
	}
	all, err := finding.Read([]finding.Entry{
		report(1, "A", "open", 20, nil), report(2, "B", "open", 15, map[string]string{"due": "2026-11-20T00:00:00Z"}), report(3, "A", "resolved", 5, map[string]string{"entry.1": "2", "resolution": "accepted"}),
	})
	if err != nil {
		t.Fatal(err)
	}
	since, err := sinceDay("30d", now)
	if err != nil {
		t.Fatal(err)
	}
	b := newBurndown(all, since, now, func(string, string) (int, bool) { return 0, false })
	if len(b.Points) != 31 || b.Share != 0.5 {
		t.Errorf("%d points, share %v", len(b.Points), b.Share)
	}
	text := b.Text(40)
	for _, want := range []string{"    2 │               ▒▒▒▒▒▒▒▒▒▒\n", "▒▒██", "2026-10-29", "2026-11-28", "1 unresolved (1 open, 0 in progress), 1 overdue █, 1 resolved\n", "closed with linked evidence: 50 %\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	for _, bad := range []string{"", "0d", "-3d", "2027-01-01", "99999d", "3 d", "1900-01-01"} {
		if _, err := sinceDay(bad, now); err == nil {
			t.Errorf("accepts %q", bad)
		}
	}
}

// TestSLA checks that a control without SLA, and one with some periods only,
// limit nothing else.
func TestSLA(t *testing.T) {
	if got := slaOf(&munimentv1.Control{}); len(got) != 0 {
		t.Errorf("without SLA: %v", got)
	}
	seven := uint32(7)
	if got := slaOf(&munimentv1.Control{SlaDays: &munimentv1.SlaDays{High: &seven}}); len(got) != 1 || got["high"] != 7 {
		t.Errorf("with one period: %v", got)
	}
}

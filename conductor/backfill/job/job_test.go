package job

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// example returns the job file of the specification.
func example(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../../docs/spec/backfill.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(page)
	if m == nil {
		t.Fatal("docs/spec/backfill.md has no example of a job file")
	}
	return string(m[1])
}

func TestExample(t *testing.T) {
	j, err := Parse([]byte(example(t)))
	if err != nil {
		t.Fatal(err)
	}
	if j.Schema != "public" || j.Table != "asset" || j.Names.Shadow != "size_kb__new" || j.Names.Mark != "size_kb__todo" || j.Throttle.WALRate != 64<<20 {
		t.Errorf("got %+v", j)
	}
	if w := j.Windows[0]; w.From != 22*time.Hour || w.To != 5*time.Hour || w.Zone.String() != "Europe/Berlin" || len(w.Days) != 5 {
		t.Errorf("window: %+v", w)
	}
	if c := j.ACA.Checks; !c[0].Decides || c[1].Decides || *c[1].Margin != 0.2 {
		t.Errorf("checks: %+v", c)
	}
	if len(j.SHA256) != 64 || j.Throttle.LockQueue != 1 {
		t.Errorf("digest %q, throttle %+v", j.SHA256, j.Throttle)
	}
}

func TestProblems(t *testing.T) {
	good := example(t)
	for name, c := range map[string]struct{ old, new, want string }{
		"unknown member":     {"entity: Asset", "entity: Asset\nentitiy: x", "unknown member"},
		"misspelled":         {"column:", "colum:", "did you mean"},
		"two names":          {"name: asset-size", "name: asset-size\nname: b", "duplicate member"},
		"bad name":           {"name: asset-size", "name: Asset", "name: must be 1 to 40"},
		"table alone":        {"public.asset", "asset", "SCHEMA.TABLE"},
		"password in URL":    {"dsn_env: ASSETS_DSN", "dsn: 'postgres://u:secret@h/d'", "must not contain a password"},
		"password in query":  {"dsn_env: ASSETS_DSN", "dsn: 'postgres://u@h/d?password=secret'", "must not contain a password"},
		"password keyword":   {"dsn_env: ASSETS_DSN", "dsn: 'host=h Password = secret'", "must not contain a password"},
		"password of a key":  {"dsn_env: ASSETS_DSN", "dsn: 'host=h sslpassword=secret'", "must not contain a password"},
		"ledger password":    {"url: http://127.0.0.1:8080", "url: 'http://u:secret@127.0.0.1:8080'", "ledger.url: must not contain credentials: use token_file"},
		"ledger URL":         {"url: http://127.0.0.1:8080", "url: 'u:secret@127.0.0.1:8080'", "ledger.url: must be an http or https URL"},
		"metrics password":   {"prometheus: http://127", "prometheus: http://u:secret@127", "aca.prometheus: must not contain credentials: use prometheus_env"},
		"metrics URL":        {"prometheus: http://127.0.0.1:9090", "prometheus: 'http://u:secret@h:port'", "aca.prometheus: must be an http or https URL"},
		"two Prometheus":     {"  prometheus:", "  prometheus_env: P\n  prometheus:", "must not be specified with prometheus_env"},
		"two databases":      {"dsn_env: ASSETS_DSN", "dsn: 'host=h', dsn_env: A", "either dsn or dsn_env"},
		"no entity":          {"entity: Asset\n", "", "entity: must be specified"},
		"duration":           {"target: 200ms", "target: 200", "must be a duration"},
		"negative":           {"target: 200ms", "target: -1s", "must be a duration"},
		"percent":            {"every: 5", "every: 0", "must be a number from 0.01 to 100"},
		"not a number":       {"threshold: 0.95", "threshold: .nan", "must be a number from 0 to 1"},
		"size":               {"64MiB", "64MB", "must be a size"},
		"zone":               {"Europe/Berlin", "Europe/Bern2", "IANA"},
		"day":                {"[mon,", "[monday,", "must be one of mon"},
		"clock":              {`"22:00"`, `"24:00"`, "must be a time"},
		"window without end": {`, to: "05:00"`, "", "must have from and to"},
		"same names":         {"type: bigint", "type: bigint\nnames: {shadow: x, retired: x}", "must differ"},
		"name of the column": {"type: bigint", "type: bigint\nnames: {shadow: size_kb}", "must differ"},
		"long column":        {"column: size_kb", "column: " + strings.Repeat("c", 60), "63"},
		"errors, no total":   {`, per: "increase(http_requests_total[$window])"`, "", "must have name, kind, query and per"},
		"tail, no quantile":  {"quantile: 0.99, ", "", "quantile is required"},
		"no Prometheus":      {"  prometheus: http://127.0.0.1:9090\n", "", "aca.prometheus: must be specified"},
		"probe, no limit":    {", max: 50ms", "", "both sql and max"},
		"action":             {"below: pause", "below: stop", "must be one of slow, pause, rollback"},
		"min pairs":          {"pairs: 6", "pairs: 6\n  min_pairs: 7", "at most pairs"},
		"seed":               {"pairs: 6", "pairs: 6\n  seed: 12", "32 lowercase"},
		"version":            {"version: 1", "version: 2", "must be 1"},
		"alias":              {"entity: Asset", "entity: &a Asset", "anchors"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(good, c.old, c.new, 1)
			if text == good {
				t.Fatalf("the example does not contain %q", c.old)
			}
			_, err := Parse([]byte(text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error contains the password: %v", err)
			}
		})
	}
}

func TestSplitName(t *testing.T) {
	for text, want := range map[string][]string{
		"public.asset":                 {"public", "asset"},
		"Public.Asset":                 {"public", "asset"},
		`"Sch.ema"."a ""table"""`:      {"Sch.ema", `a "table"`},
		`s."x`:                         nil,
		`s.`:                           nil,
		`s."a"b`:                       nil,
		"s.a b":                        nil,
		"s." + strings.Repeat("a", 64): nil,
	} {
		if got, _ := splitName(text); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("version: 1\nname: a\n"))
	f.Fuzz(func(t *testing.T, text []byte) { _, _ = Parse(text) })
}

package inputs

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/conductor/triage/catalogue"
	"muniment.dev/muniment/conductor/triage/correlate"
	"muniment.dev/muniment/conductor/triage/signal"
)

// TestParse reads the example of the specification.
func TestParse(t *testing.T) {
	page, err := os.ReadFile("../../../docs/spec/triage.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```yaml\n(version: 1\notlp:.*?)```").FindSubmatch(page)
	if m == nil {
		t.Fatal("the specification has no example of inputs")
	}
	in, err := Parse(m[1])
	if err != nil {
		t.Fatal(err)
	}
	if o := in.OTLP; o.Severity != 17 || o.Quiet != 5*time.Minute || fmt.Sprint(o.Labels) != "map[cluster:k8s.cluster.name service:service.name]" {
		t.Errorf("%+v", o)
	}
	if g := in.JSON["grafana"]; g == nil || g.Source != "json/grafana" || g.Items != "/alerts" || g.Firing[0] != "firing" || g.Labels["service"] != "/labels/service" {
		t.Errorf("%+v", g)
	}
}

// TestRequireTimes replays messages without a time, or with one that cannot be
// right, after the end of an episode: they are refused if times are required,
// and open another episode otherwise.
func TestRequireTimes(t *testing.T) {
	types, err := catalogue.Parse([]byte(`{version: 1, types: {T: {severity: P2, correlate: [s], signals: [{name: a, when: name == "A"}]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	const mapping = `json: {a: {name: /a, starts: /s, ends: /e, state: /f, firing: ["1"], resolved: ["0"]}}`
	for _, required := range []bool{false, true} {
		in, err := Parse(fmt.Appendf(nil, "{version: 1, require_times: %v, otlp: {quiet: 1m}, %s}", required, mapping))
		if err != nil {
			t.Fatal(err)
		}
		table := correlate.New(types)
		opened := 0
		apply := func(m *signal.Message, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			if len(m.Refused) == 1 != required {
				t.Errorf("required %v: refused %v", required, m.Refused)
			}
			effects := map[correlate.Effect]int{}
			if err := table.ObserveAll(m.Signals, effects); err != nil {
				t.Fatal(err)
			}
			opened += effects[correlate.Opened]
		}
		at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
		for range 2 {
			apply(in.OTLP.ParseLogs([]byte(`{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"severityNumber": 17, "eventName": "A"}]}]}]}`), true, at))
			apply(in.JSON["a"].Parse([]byte(`{"a": "A", "f": 1, "s": "2030-01-01T00:00:00Z"}`), at))
			apply(in.JSON["a"].Parse([]byte(`{"a": "A", "f": 0, "s": "2026-01-01T00:00:00Z", "e": "2030-01-01T00:00:00Z"}`), at.Add(time.Second)))
			table.Expire(at.Add(time.Hour / 2))
			at = at.Add(time.Hour)
		}
		if want := map[bool]int{false: 4}[required]; opened != want {
			t.Errorf("required %v: %d episodes opened, want %d", required, opened, want)
		}
	}
	in, err := Parse([]byte("{version: 1, require_times: true, otlp: {}}"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for _, name := range []string{"timeUnixNano", "observedTimeUnixNano"} {
		m, err := in.OTLP.ParseLogs(fmt.Appendf(nil, `{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"severityNumber": 17, %q: "%d"}]}]}]}`, name, now.UnixNano()), true, now)
		if err != nil || len(m.Signals) != 1 || len(m.Refused) > 0 {
			t.Errorf("a record with %s: %+v, %v", name, m, err)
		}
	}
}

func TestWrong(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                                                                  "version: must be specified",
		"{version: 1, otlp: {a: 1}}":                                          "otlp.a: unknown member",
		"{version: 1, otlp: {severity: error}}":                               "must be TRACE, DEBUG",
		"{version: 1, otlp: {quiet: 1ms}}":                                    "must be a duration from 1s",
		"{version: 1, json: {A: {name: /a, quiet: 1m}}}":                      "must be 1 to 64 lowercase letters",
		"{version: 1, json: {a: {quiet: 1m}}}":                                "must have name",
		"{version: 1, json: {a: {name: /a}}}":                                 "must have state, or quiet",
		"{version: 1, json: {a: {name: a, quiet: 1m}}}":                       "must be a JSON pointer",
		"{version: 1, json: {a: {name: /a, state: /b}}}":                      "must have state and firing together",
		"{version: 1, json: {a: {name: /a, state: /b, firing: [x]}}}":         "must have resolved, or quiet",
		"{version: 1, json: {a: {name: /a, quiet: 1m, labels: {s: /~2}}}}":    "must be a JSON pointer",
		"{version: 1, require_times: 1}":                                      "require_times: must be",
		"{version: 1, require_times: true, json: {a: {name: /a, quiet: 1m}}}": "json.a: must have starts, because of require_times",
		"{version: 1, require_times: true, json: {a: {name: /a, starts: /s, state: /b, firing: [x], resolved: [y]}}}": "json.a: must have ends, because of require_times",
		"{version: 1, json: {a: {name: /a, quiet: 1m, labels: {" + strings.Repeat("x", 257) + ": /x}}}}":              "the name of a label has 1 to 256 bytes",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

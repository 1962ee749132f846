package signal

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// alert returns an alert with further members.
func alert(status, labels, times string) string {
	return fmt.Sprintf(`{"status":%q,"labels":{"alertname":"Errors"%s},"annotations":{},%s,"generatorURL":"http://x","fingerprint":"ab"}`, status, labels, times)
}

func message(alerts ...string) []byte {
	return []byte(`{"version":"4","groupKey":"{}","truncatedAlerts":0,"status":"firing","receiver":"r","groupLabels":{},"commonLabels":{},"commonAnnotations":{},"externalURL":"http://x","alerts":[` + strings.Join(alerts, ",") + "]}")
}

const (
	began = `"startsAt":"2026-11-01T11:59:00Z","endsAt":"0001-01-01T00:00:00Z"`
	ended = `"startsAt":"2026-11-01T11:59:00Z","endsAt":"2026-11-01T11:59:30Z"`
)

func TestParse(t *testing.T) {
	trace := strings.Repeat("ab", 16)
	body := message(
		alert("firing", `,"service":"gateway","empty":"","trace_id":"`+trace+`"`, began),
		alert("resolved", "", ended),
		strings.Replace(alert("firing", "", began), `"annotations":{}`, `"annotations":{"traceID":"`+trace+`","trace_id":"`+strings.Repeat("0", 32)+`","text":"a\nb"}`, 1),
	)
	m, err := ParseAlertmanager(body, noon)
	if err != nil || len(m.Signals) != 3 || len(m.Refused) != 0 {
		t.Fatalf("%+v, %v", m, err)
	}
	first := m.Signals[0]
	if first.Name != "Errors" || first.State != Firing || !maps.Equal(first.Labels, map[string]string{"service": "gateway", "trace_id": trace}) || !first.Ends.IsZero() ||
		!first.Starts.Equal(noon.Add(-time.Minute)) || first.Skewed || !slices.Equal(first.Traces, []string{trace}) {
		t.Errorf("firing: %+v", first)
	}
	if s := m.Signals[1]; s.State != Resolved || !s.Ends.Equal(noon.Add(-30*time.Second)) || s.Skewed || s.Traces != nil {
		t.Errorf("resolved: %+v", s)
	}
	if s := m.Signals[2]; !slices.Equal(s.Traces, []string{trace}) {
		t.Errorf("traces of annotations: %q", s.Traces)
	}
}

// TestClocks checks the times of senders whose clocks are wrong.
func TestClocks(t *testing.T) {
	for _, c := range []struct {
		name, status, starts, ends string
		wantStarts, wantEnds       time.Duration // relative to noon
		skewed                     bool
	}{
		{"firing, predicted end", "firing", "2026-11-01T11:59:00Z", "2026-11-01T12:04:00Z", -time.Minute, 0, false},
		{"a little ahead", "firing", "2026-11-01T12:00:59Z", "", 59 * time.Second, 0, false},
		{"an hour ahead", "firing", "2026-11-01T13:00:00Z", "", 0, 0, true},
		{"other zone", "firing", "2026-11-01T12:59:00+01:00", "", -time.Minute, 0, false},
		{"resolved before it fired", "resolved", "2026-11-01T11:59:00Z", "2026-11-01T11:58:00Z", -time.Minute, -time.Minute, true},
		{"ends a little ahead", "resolved", "2026-11-01T11:59:00Z", "2026-11-01T12:00:30Z", -time.Minute, 0, false},
		{"ends far ahead", "resolved", "2026-11-01T11:59:00Z", "2026-11-01T14:00:00Z", -time.Minute, 0, true},
		{"both far ahead", "resolved", "2026-11-01T14:00:00Z", "2026-11-01T15:00:00Z", 0, 0, true},
	} {
		m, err := ParseAlertmanager(message(alert(c.status, "", fmt.Sprintf(`"startsAt":%q,"endsAt":%q`, c.starts, c.ends))), noon)
		if err != nil || len(m.Signals) != 1 {
			t.Errorf("%s: %+v, %v", c.name, m, err)
			continue
		}
		s := m.Signals[0]
		if !s.Starts.Equal(noon.Add(c.wantStarts)) || s.Skewed != c.skewed || s.Ends.IsZero() != (c.status == Firing) || c.status == Resolved && !s.Ends.Equal(noon.Add(c.wantEnds)) {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}

// TestRefused checks that a hostile alert is refused alone.
func TestRefused(t *testing.T) {
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	good := alert("firing", "", began)
	for _, c := range []struct{ name, alert, want string }{
		{"10,000 labels", alert("firing", many(10_000, `,"l%d":"x"`), began), "more than 64 labels"},
		{"10,000 annotations", strings.Replace(good, `"annotations":{`, `"annotations":{"a":"b"`+many(10_000, `,"l%d":"x"`), 1), "more than 64 annotations"},
		{"long label", alert("firing", `,"a":"`+strings.Repeat("x", 1025)+`"`, began), "label a: more than 1024 bytes"},
		{"long label name", alert("firing", `,"`+strings.Repeat("x", 257)+`":"a"`, began), "the name of label 2 has more than 256 bytes: xxx"},
		{"many bytes", alert("firing", many(20, `,"a%d":"`+strings.Repeat("x", 1000)+`"`), began), "more than 16384 bytes of labels"},
		{"no label name", alert("firing", `,"":"a"`, began), "a label has no name"},
		{"duplicate label", alert("firing", `,"a":"1","a":"2"`, began), "duplicate object member name"},
		{"duplicate status", `{"status":"firing",` + good[1:], "duplicate object member name"},
		{"not UTF-8", alert("firing", ",\"a\":\"\xff\"", began), "invalid UTF-8"},
		{"status", alert("pending", "", began), "the status pending is neither firing nor resolved"},
		{"escaped status", strings.Replace(good, `"firing"`, `"\u001b[2J"`, 1), `the status "\x1b[2J" is neither`},
		{"no name", strings.Replace(good, `"alertname":"Errors"`, "", 1), "no label alertname"},
		{"long name", strings.Replace(good, "Errors", strings.Repeat("ä", 257), 1), "alertname: more than 256 characters"},
		{"no start", alert("firing", "", `"endsAt":""`), "no startsAt"},
		{"wrong start", alert("firing", "", `"startsAt":"yesterday"`), "startsAt: not a time such as"},
		{"start in antiquity", alert("firing", "", `"startsAt":"0001-01-01T00:00:00Z"`), "startsAt: not a time such as"},
		{"no end", alert("resolved", "", `"startsAt":"2026-11-01T11:59:00Z"`), "no endsAt"},
		{"number as label", alert("firing", `,"a":1`, began), "labels: the value of a is not a string"},
		{"object as label", alert("firing", `,"a":{"b":"c"}`, began), "labels: the value of a is not a string"},
		{"labels as list", `{"status":"firing","labels":[],` + began + "}", "labels is not an object"},
		{"number as start", alert("firing", "", `"startsAt":1`), "startsAt is not a string"},
		{"a number", "1", "not a JSON object"},
		{"null", "null", "not a JSON object"},
	} {
		m, err := ParseAlertmanager(message(good, c.alert, good), noon)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(m.Signals) != 2 || len(m.Refused) != 1 || m.Refused[0].Alert != 2 || !strings.Contains(m.Refused[0].Reason, c.want) || len(m.Refused[0].Reason) > 400 {
			t.Errorf("%s: %d signals, refused %+v, want %q", c.name, len(m.Signals), m.Refused, c.want)
		}
	}
}

func TestMessages(t *testing.T) {
	good := string(message(alert("firing", "", began)))
	for _, c := range []struct{ name, body, want string }{
		{"empty", "", "the JSON ends too early"},
		{"cut", good[:len(good)-3], "the JSON ends too early"},
		{"list", "[]", "not a JSON object"},
		{"text after it", good + "{}", "text after the JSON object"},
		{"version 3", strings.Replace(good, `"4"`, `"3"`, 1), "the message has version 3: only version 4 is supported"},
		{"number as version", strings.Replace(good, `"4"`, "4", 1), "version is not a string"},
		{"no version", `{"alerts":[]}`, "it has no version"},
		{"no alerts", `{"version":"4"}`, "it has no alerts"},
		{"alerts twice", `{"version":"4","alerts":[],"alerts":[]}`, "duplicate member alerts"},
		{"alerts as object", `{"version":"4","alerts":{}}`, "alerts is not an array"},
		{"truncated", strings.Replace(good, `"truncatedAlerts":0`, `"truncatedAlerts":-1`, 1), "truncatedAlerts is not a count"},
		{"too many alerts", `{"version":"4","alerts":[` + strings.Repeat("1,", MaxAlerts) + "1]}", "more than 10000 alerts: lower max_alerts"},
		{"too many bytes", good + strings.Repeat(" ", MaxMessage), "above the limit of 4194304"},
		{"deep", `{"version":"4","alerts":[],"x":` + strings.Repeat("[", 1<<20) + "}", "exceeded max depth"},
		{"control character", strings.Replace(good, "firing", "firing\x1b", 2), "invalid JSON at byte"},
	} {
		m, err := ParseAlertmanager([]byte(c.body), noon)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v, want %q", c.name, m, err, c.want)
		}
	}
	if m, err := ParseAlertmanager([]byte(strings.Replace(good, `"truncatedAlerts":0`, `"truncatedAlerts":7`, 1)), noon); err != nil || m.Truncated != 7 {
		t.Errorf("truncated: %+v, %v", m, err)
	}
}

// TestBounds checks with random labels that every signal is within the limits.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		labels := rapid.MapOfN(rapid.String(), rapid.String(), 0, 80).Draw(t, "labels")
		labels["alertname"] = rapid.StringMatching(`[A-Za-z]{0,300}`).Draw(t, "name")
		var pairs []string
		for name, value := range labels {
			pairs = append(pairs, quote(name)+":"+quote(value))
		}
		body := message(`{"status":"firing","labels":{` + strings.Join(pairs, ",") + "}," + began + "}")
		m, err := ParseAlertmanager(body, noon)
		if err != nil || len(m.Signals)+len(m.Refused) != 1 {
			t.Fatalf("%+v, %v", m, err)
		}
		for _, r := range m.Refused {
			if !utf8.ValidString(r.Reason) || len(r.Reason) > 400 || strings.ContainsAny(r.Reason, "\n\x1b\u202e") {
				t.Fatalf("reason %q", r.Reason)
			}
		}
		for _, s := range m.Signals {
			delete(labels, "alertname")
			maps.DeleteFunc(labels, func(_, value string) bool { return value == "" })
			if !maps.Equal(s.Labels, labels) || len(s.Labels) > MaxLabels {
				t.Fatalf("labels %q, sent %q", s.Labels, labels)
			}
		}
	})
}

// quote returns a JSON string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		if r < 0x20 || r == '"' || r == '\\' {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

func FuzzParse(f *testing.F) {
	f.Add(message(alert("firing", "", began), alert("resolved", "", ended)))
	f.Add([]byte(`{"version":"4","alerts":[{},1,{"labels":{"a":"b","a":"c"}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := ParseAlertmanager(body, noon)
		if err != nil {
			return
		}
		for _, s := range m.Signals {
			if s.Name == "" || s.Starts.IsZero() || (s.State == Resolved) == s.Ends.IsZero() || s.Starts.After(noon.Add(maxAhead)) || s.Ends.After(noon.Add(maxAhead)) {
				t.Errorf("%+v", s)
			}
		}
	})
}

package signal

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/protobuf/encoding/protowire"
)

var settings = &OTLP{Severity: 17, Quiet: time.Minute, Labels: map[string]string{"service": "service.name", "code": "code", "list": "list"}}

// logs returns an export request with three records, of which two are signals.
func logs() plogotlp.ExportRequest {
	l := plog.NewLogs()
	resource := l.ResourceLogs().AppendEmpty()
	resource.Resource().Attributes().PutStr("service.name", "gateway")
	records := resource.ScopeLogs().AppendEmpty().LogRecords()
	for _, severity := range []plog.SeverityNumber{plog.SeverityNumberError2, plog.SeverityNumberInfo, plog.SeverityNumberFatal} {
		r := records.AppendEmpty()
		r.SetSeverityNumber(severity)
		r.SetTimestamp(pcommon.NewTimestampFromTime(noon.Add(-time.Second)))
		r.Attributes().PutInt("code", 502)
		r.Attributes().PutEmptySlice("list").AppendEmpty().SetStr("secret")
		r.Attributes().PutStr("exception.type", "Timeout")
	}
	records.At(2).SetEventName("upstream.lost")
	records.At(2).SetTimestamp(0)
	records.At(2).SetTraceID([16]byte{1})
	return plogotlp.NewExportRequestFromLogs(l)
}

// TestOTLP reads the same request in both encodings.
func TestOTLP(t *testing.T) {
	for _, json := range []bool{false, true} {
		body, err := logs().MarshalProto()
		if json {
			body, err = logs().MarshalJSON()
		}
		if err != nil {
			t.Fatal(err)
		}
		m, err := settings.ParseLogs(body, json, noon)
		if err != nil || len(m.Signals) != 2 || len(m.Refused) != 0 {
			t.Fatalf("json=%v: %+v, %v", json, m, err)
		}
		first, second := m.Signals[0], m.Signals[1]
		if first.Name != "Timeout" || first.Source != OTLPLogs || first.State != Firing || fmt.Sprint(first.Labels) != "map[code:502 service:gateway]" || !first.Starts.Equal(noon.Add(-time.Second)) || first.Quiet != time.Minute {
			t.Errorf("json=%v: %+v", json, first)
		}
		if second.Name != "upstream.lost" || !second.Starts.Equal(noon) || !slices.Equal(second.Traces, []string{"01" + strings.Repeat("0", 30)}) {
			t.Errorf("json=%v: %+v", json, second)
		}
	}
	traces := ptrace.NewTraces()
	spans := traces.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	for _, code := range []ptrace.StatusCode{ptrace.StatusCodeError, ptrace.StatusCodeOk, ptrace.StatusCodeError} {
		s := spans.AppendEmpty()
		s.SetName("GET /products")
		s.Status().SetCode(code)
	}
	spans.At(2).SetName(strings.Repeat("x", 257))
	body, err := ptraceotlp.NewExportRequestFromTraces(traces).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	m, err := settings.ParseTraces(body, false, noon)
	if err != nil || len(m.Signals) != 1 || m.Signals[0].Name != "GET /products" || len(m.Refused) != 1 || m.Refused[0].Alert != 3 {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestOTLPBounds checks messages that would cost much to decode.
func TestOTLPBounds(t *testing.T) {
	nest := func(depth int) []byte { // logs request … log record, body, arrays
		var b []byte
		for n := range depth {
			number := []protowire.Number{1, 5}[n%2]
			b = append(protowire.AppendTag(nil, number, protowire.BytesType), protowire.AppendBytes(nil, b)...)
		}
		for _, number := range []protowire.Number{5, 2, 2, 1} {
			b = append(protowire.AppendTag(nil, number, protowire.BytesType), protowire.AppendBytes(nil, b)...)
		}
		return b
	}
	deepJSON := `{"resourceLogs":` + strings.Repeat(`[{"a":`, 40) + "1" + strings.Repeat("}]", 40) + "}"
	for _, c := range []struct {
		name string
		body []byte
		json bool
		want string
	}{
		{"deep protobuf", nest(2000), false, "deeper than 64"},
		{"deep JSON", []byte(deepJSON), true, "deeper than 64"},
		{"many parts", bytes.Repeat([]byte{0x0a, 0}, maxParts+1), false, "more than 500000 fields"},
		{"cut", []byte{0x0a, 9}, false, "not an export request"},
		{"text", []byte("hello"), true, "invalid JSON"},
		{"two values", []byte("{}{}"), true, "text after the JSON value"},
		{"empty JSON", nil, true, "ends too early"},
		{"too large", make([]byte, MaxMessage+1), false, "above the limit"},
		{"not an object", []byte("[]"), true, ""},
	} {
		m, err := settings.ParseLogs(c.body, c.json, noon)
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %+v, %v, want %q", c.name, m, err, c.want)
		}
	}
	if err := checkProto(nest(50), logsRequest); err != nil {
		t.Errorf("a depth of 54: %v", err)
	}
}

func FuzzOTLP(f *testing.F) {
	for _, json := range []bool{false, true} {
		body, err := logs().MarshalProto()
		if json {
			body, err = logs().MarshalJSON()
		}
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body, json)
	}
	f.Fuzz(func(t *testing.T, body []byte, json bool) {
		for _, parse := range []func([]byte, bool, time.Time) (*Message, error){settings.ParseLogs, settings.ParseTraces} {
			m, err := parse(body, json, noon)
			if err != nil {
				continue
			}
			for _, s := range m.Signals {
				if s.check() != nil || s.State != Firing || s.Starts.After(noon.Add(maxAhead)) || len(s.Traces) > 1 {
					t.Errorf("%+v", s)
				}
			}
		}
	})
}

var mapping = &Mapping{
	Source: "json/test", Items: "/alerts", Name: "/rule/name", State: "/state", Firing: []string{"alerting"}, Resolved: []string{"ok"},
	Labels: map[string]string{"service": "/tags/0", "a/b": "/x~1y", "n": "/n"}, Starts: "/since", Ends: "/until", Trace: "/trace",
}

func TestMapping(t *testing.T) {
	m, err := mapping.Parse([]byte(`{"alerts": [
		{"rule": {"name": "Errors"}, "state": "alerting", "tags": ["gateway"], "x/y": "z", "n": 5, "since": "2026-11-01T11:59:00Z", "trace": "`+strings.Repeat("ab", 16)+`"},
		{"rule": {"name": "Errors"}, "state": "ok", "tags": [], "since": "2026-11-01T11:59:00Z", "until": "2026-11-01T11:59:30Z"},
		{"rule": {"name": "Errors"}, "state": "?", "since": "2026-11-01T11:59:00Z"},
		{"rule": {"name": "Errors"}, "state": "ok", "since": "2026-11-01T11:59:00Z"},
		{"rule": {"name": {}}, "state": "alerting", "since": "2026-11-01T11:59:00Z"}, 7]}`), noon)
	if err != nil || len(m.Signals) != 2 || len(m.Refused) != 4 {
		t.Fatalf("%+v, %v", m, err)
	}
	if s := m.Signals[0]; s.Name != "Errors" || s.State != Firing || fmt.Sprint(s.Labels) != "map[a/b:z n:5 service:gateway]" || len(s.Traces) != 1 || !s.Starts.Equal(noon.Add(-time.Minute)) {
		t.Errorf("%+v", s)
	}
	if s := m.Signals[1]; s.State != Resolved || !s.Ends.Equal(noon.Add(-30*time.Second)) {
		t.Errorf("%+v", s)
	}
	for n, want := range []string{"the state ? is in neither", "no /until", "no name", "the state  is in neither"} {
		if got := m.Refused[n]; got.Alert != n+3 || !strings.Contains(got.Reason, want) {
			t.Errorf("%+v, want %q", got, want)
		}
	}
	for _, body := range []string{"", "[]", `{"alerts": {}}`, `{"alerts": [1,]}`, strings.Repeat("[", 100), `{"a":1,"a":2}`} {
		if m, err := mapping.Parse([]byte(body), noon); err == nil {
			t.Errorf("%s: %+v", body, m)
		}
	}
}

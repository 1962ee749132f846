package signal

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// The sources of signals from OpenTelemetry.
const (
	OTLPLogs   = "otlp-logs"
	OTLPTraces = "otlp-traces"
)

// OTLP defines the signals in messages of OpenTelemetry.
type OTLP struct {
	Labels   map[string]string // the attribute of each label
	Severity int               // the lowest number of a record that is a signal
	Quiet    time.Duration     // see Signal.Quiet
	Timed    bool              // records without a time that can be right are refused
}

// ParseLogs reads an export request for logs, in protobuf or JSON
// (https://opentelemetry.io/docs/specs/otlp/). Each record with the severity is
// a signal, and other records are ignored.
func (o *OTLP) ParseLogs(body []byte, json bool, received time.Time) (*Message, error) {
	request := plogotlp.NewExportRequest()
	if err := decode(body, json, logsRequest, request.UnmarshalProto, request.UnmarshalJSON); err != nil {
		return nil, err
	}
	r := &otlpReader{OTLP: o, received: received, message: &Message{}}
	for _, resource := range request.Logs().ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				if r.count++; int(record.SeverityNumber()) < o.Severity {
					continue
				}
				at := record.Timestamp()
				if at == 0 {
					at = record.ObservedTimestamp()
				}
				r.add(OTLPLogs, logName(record), at, record.TraceID(), record.Attributes(), scope.Scope().Attributes(), resource.Resource().Attributes())
			}
		}
	}
	return r.result()
}

// logName returns the name of the event that a record reports.
func logName(record plog.LogRecord) string {
	if name := record.EventName(); name != "" {
		return name
	}
	for _, attribute := range []string{"event.name", "exception.type"} {
		if v, ok := record.Attributes().Get(attribute); ok && v.Type() == pcommon.ValueTypeStr && v.Str() != "" {
			return v.Str()
		}
	}
	return "log"
}

// ParseTraces reads an export request for traces. Each span whose status is an
// error is a signal with the span's name, and other spans are ignored.
func (o *OTLP) ParseTraces(body []byte, json bool, received time.Time) (*Message, error) {
	request := ptraceotlp.NewExportRequest()
	if err := decode(body, json, tracesRequest, request.UnmarshalProto, request.UnmarshalJSON); err != nil {
		return nil, err
	}
	r := &otlpReader{OTLP: o, received: received, message: &Message{}}
	for _, resource := range request.Traces().ResourceSpans().All() {
		for _, scope := range resource.ScopeSpans().All() {
			for _, span := range scope.Spans().All() {
				if r.count++; span.Status().Code() == ptrace.StatusCodeError {
					r.add(OTLPTraces, span.Name(), span.EndTimestamp(), span.TraceID(), span.Attributes(), scope.Scope().Attributes(), resource.Resource().Attributes())
				}
			}
		}
	}
	return r.result()
}

// decode decodes a request after its depth and its size were checked.
func decode(body []byte, json bool, of kind, fromProto, fromJSON func([]byte) error) error {
	var err error
	switch {
	case len(body) > MaxMessage:
		return fmt.Errorf("the message has %d bytes, above the limit of %d: export smaller batches", len(body), MaxMessage)
	case json:
		if err = checkJSON(body); err == nil {
			err = fromJSON(body)
		}
	default:
		if err = checkProto(body, of); err == nil {
			err = fromProto(body)
		}
	}
	if err != nil {
		return fmt.Errorf("not an export request of OTLP: %s", shortened(plain(err).Error()))
	}
	return nil
}

// An otlpReader collects the signals of one request.
type otlpReader struct {
	*OTLP
	received time.Time
	message  *Message
	count    int // records or spans
}

func (r *otlpReader) result() (*Message, error) {
	if r.count > MaxAlerts {
		return nil, fmt.Errorf("%d records, above the limit of %d: export smaller batches", r.count, MaxAlerts)
	}
	return r.message, nil
}

// add adds a signal. Attributes of the record come before those of its scope
// and resource.
func (r *otlpReader) add(source, name string, at pcommon.Timestamp, trace pcommon.TraceID, attributes ...pcommon.Map) {
	s := &Signal{Source: source, Name: name, State: Firing, Labels: map[string]string{}, Received: r.received, Starts: r.received, Quiet: r.Quiet}
	switch {
	case at != 0:
		s.Starts = at.AsTime()
	case r.Timed:
		r.message.Refused = append(r.message.Refused, Refusal{r.count, "no time, which require_times requires"})
		return
	}
	if !trace.IsEmpty() {
		s.Traces = []string{trace.String()}
	}
	for label, attribute := range r.Labels {
		for _, m := range attributes {
			if text, ok := scalar(m, attribute); ok {
				if text != "" {
					s.Labels[label] = text
				}
				break
			}
		}
	}
	if err := s.check(); err != nil {
		r.message.Refused = append(r.message.Refused, Refusal{r.count, err.Error()})
		return
	}
	if s.settle(); s.Skewed && r.Timed {
		r.message.Refused = append(r.message.Refused, Refusal{r.count, errAhead.Error()})
		return
	}
	r.message.Signals = append(r.message.Signals, *s)
}

// errAhead is the reason to refuse a time that was replaced.
var errAhead = errors.New("a time that cannot be right, which require_times does not allow: check the clock of the sender")

// scalar returns an attribute as a text. Lists and maps are not labels.
func scalar(m pcommon.Map, name string) (string, bool) {
	v, ok := m.Get(name)
	if !ok {
		return "", false
	}
	switch v.Type() {
	case pcommon.ValueTypeStr, pcommon.ValueTypeInt, pcommon.ValueTypeBool, pcommon.ValueTypeDouble:
		return v.AsString(), true
	}
	return "", false
}

// check returns an error if the signal exceeds a limit.
func (s *Signal) check() error {
	switch {
	case s.Name == "":
		return errors.New("no name")
	case !utf8.ValidString(s.Name):
		return errors.New("the name is not UTF-8")
	case utf8.RuneCountInString(s.Name) > MaxName:
		return fmt.Errorf("the name has more than %d characters", MaxName)
	case s.Starts.Year() < 1970 || s.Starts.Year() > 9999:
		return errors.New("the time is not between 1970 and 9999")
	case len(s.Labels) > MaxLabels:
		return fmt.Errorf("more than %d labels", MaxLabels)
	}
	size := 0
	for name, value := range s.Labels {
		switch size += len(name) + len(value); {
		case !utf8.ValidString(value):
			return fmt.Errorf("label %s: not UTF-8", shown(name))
		case len(value) > MaxLabelValue:
			return fmt.Errorf("label %s: more than %d bytes", shown(name), MaxLabelValue)
		}
	}
	if size > MaxLabelBytes {
		return fmt.Errorf("more than %d bytes of labels", MaxLabelBytes)
	}
	return nil
}

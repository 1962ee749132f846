package signal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/internal/safetext"
)

// Alertmanager is the source of signals from webhooks of Alertmanager.
const Alertmanager = "alertmanager"

// Limits of a message.
const (
	MaxMessage = 4 << 20 // bytes
	MaxAlerts  = 10_000
)

// maxShown is the number of bytes of a wrong value that a reason contains.
const maxShown = 128

// A Message is what a webhook has delivered.
type Message struct {
	Signals   []Signal
	Refused   []Refusal
	Truncated int64 // alerts that the sender has left out
}

// A Refusal is the reason why an alert is not a signal.
type Refusal struct {
	Alert  int    `json:"alert"` // its position in the message, from 1
	Reason string `json:"reason"`
}

// ParseAlertmanager reads the body of a webhook of version 4
// (https://prometheus.io/docs/alerting/latest/configuration/#webhook_config). A
// wrong alert is refused alone. The error is about the whole message.
func ParseAlertmanager(body []byte, received time.Time) (*Message, error) {
	if len(body) > MaxMessage {
		return nil, fmt.Errorf("the message has %d bytes, above the limit of %d: lower max_alerts of the receiver", len(body), MaxMessage)
	}
	r := &reader{received: received, message: &Message{}}
	// Duplicate names and invalid UTF-8 in one alert must not cost the others.
	// The decoder of each alert refuses them.
	dec := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if err := r.read(dec); err != nil {
		return nil, fmt.Errorf("not a message of Alertmanager: %w", plain(err))
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("not a message of Alertmanager: text after the JSON object")
	}
	switch {
	case r.version == "":
		return nil, errors.New("not a message of Alertmanager: it has no version")
	case r.version != "4":
		return nil, fmt.Errorf("the message has version %s: only version 4 is supported", shown(r.version))
	case !r.alerts:
		return nil, errors.New("not a message of Alertmanager: it has no alerts")
	}
	return r.message, nil
}

// A reader reads one message.
type reader struct {
	received time.Time
	message  *Message
	version  string
	alerts   bool
}

func (r *reader) read(dec *jsontext.Decoder) error {
	return members(dec, func(name string) error {
		switch name {
		case "version":
			return text(dec, &r.version)
		case "truncatedAlerts":
			return r.truncated(dec)
		case "alerts":
			if r.alerts {
				return errors.New("duplicate member alerts")
			}
			r.alerts = true
			return r.list(dec)
		}
		return dec.SkipValue()
	})
}

func (r *reader) truncated(dec *jsontext.Decoder) error {
	raw, err := dec.ReadValue()
	if err != nil {
		return err
	}
	if r.message.Truncated, err = strconv.ParseInt(string(raw), 10, 64); err != nil || r.message.Truncated < 0 {
		return errors.New("truncatedAlerts is not a count")
	}
	return nil
}

func (r *reader) list(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '[' {
		return errors.New("alerts is not an array")
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for n := 1; dec.PeekKind() != ']'; n++ {
		if n > MaxAlerts {
			return fmt.Errorf("more than %d alerts: lower max_alerts of the receiver", MaxAlerts)
		}
		raw, err := dec.ReadValue()
		if err != nil {
			return err
		}
		s, err := r.alert(raw)
		if err != nil {
			r.message.Refused = append(r.message.Refused, Refusal{n, plain(err).Error()})
			continue
		}
		r.message.Signals = append(r.message.Signals, *s)
	}
	_, err := dec.ReadToken()
	return err
}

// alert reads one alert, strictly.
func (r *reader) alert(raw []byte) (*Signal, error) {
	s := &Signal{Source: Alertmanager, Received: r.received}
	var starts, ends string
	dec := jsontext.NewDecoder(bytes.NewReader(raw))
	err := members(dec, func(name string) error {
		switch name {
		case "status":
			return text(dec, &s.State)
		case "labels":
			return s.readLabels(dec)
		case "annotations":
			return s.readAnnotations(dec)
		case "startsAt":
			return text(dec, &starts)
		case "endsAt":
			return text(dec, &ends)
		}
		return dec.SkipValue()
	})
	if err != nil {
		return nil, err
	}
	if s.State != Firing && s.State != Resolved {
		return nil, fmt.Errorf("the status %s is neither firing nor resolved", shown(s.State))
	}
	if s.Name = s.Labels["alertname"]; s.Name == "" {
		return nil, errors.New("no label alertname")
	}
	if utf8.RuneCountInString(s.Name) > MaxName {
		return nil, fmt.Errorf("alertname: more than %d characters", MaxName)
	}
	delete(s.Labels, "alertname")
	if s.Starts, err = moment("startsAt", starts); err != nil {
		return nil, err
	}
	if s.State == Resolved {
		if s.Ends, err = moment("endsAt", ends); err != nil {
			return nil, err
		}
	}
	slices.Sort(s.Traces)
	s.settle()
	return s, nil
}

// readLabels reads the labels. An empty value is that of an absent label.
func (s *Signal) readLabels(dec *jsontext.Decoder) error {
	s.Labels = map[string]string{}
	n, size := 0, 0
	return pairs(dec, "labels", func(name, value string) error {
		n, size = n+1, size+len(name)+len(value)
		switch {
		case n > MaxLabels:
			return fmt.Errorf("more than %d labels", MaxLabels)
		case name == "":
			return errors.New("a label has no name")
		case len(name) > MaxLabelName:
			return fmt.Errorf("the name of label %d has more than %d bytes: %s", n, MaxLabelName, shown(name))
		case len(value) > MaxLabelValue:
			return fmt.Errorf("label %s: more than %d bytes", shown(name), MaxLabelValue)
		case size > MaxLabelBytes:
			return fmt.Errorf("more than %d bytes of labels", MaxLabelBytes)
		}
		if value != "" {
			s.Labels[name] = value
			s.addTrace(name, value)
		}
		return nil
	})
}

func (s *Signal) readAnnotations(dec *jsontext.Decoder) error {
	n := 0
	return pairs(dec, "annotations", func(name, value string) error {
		switch n++; {
		case n > maxAnnotations:
			return fmt.Errorf("more than %d annotations", maxAnnotations)
		case len(name) > MaxLabelName:
			return fmt.Errorf("the name of annotation %d has more than %d bytes: %s", n, MaxLabelName, shown(name))
		case len(value) > maxAnnotation:
			return fmt.Errorf("annotation %s: more than %d bytes", shown(name), maxAnnotation)
		}
		s.addTrace(name, value)
		return nil
	})
}

// addTrace adds a trace ID.
func (s *Signal) addTrace(name, value string) {
	if (name == "trace_id" || name == "traceID") && traceID(value) && len(s.Traces) < MaxTraces && !slices.Contains(s.Traces, value) {
		s.Traces = append(s.Traces, value)
	}
}

// traceID reports whether s is a trace ID that is valid by W3C Trace Context.
func traceID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == "" && strings.Trim(s, "0") != ""
}

func moment(member, value string) (time.Time, error) {
	if value == "" {
		return time.Time{}, fmt.Errorf("no %s", member)
	}
	t, err := time.Parse(time.RFC3339Nano, value)
	if err != nil || t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}, fmt.Errorf("%s: not a time such as 2026-01-31T12:00:00Z since 1970: %s", member, shown(value))
	}
	return t.UTC(), nil
}

// members calls read with the name of each member of an object. It must read or
// skip the value.
func members(dec *jsontext.Decoder, read func(name string) error) error {
	if dec.PeekKind() != '{' {
		if _, err := dec.ReadToken(); err != nil {
			return err
		}
		return errors.New("not a JSON object")
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != '}' {
		t, err := dec.ReadToken()
		if err != nil {
			return err
		}
		if err := read(t.String()); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// pairs calls add with each member of an object whose values are strings.
func pairs(dec *jsontext.Decoder, what string, add func(name, value string) error) error {
	if dec.PeekKind() != '{' {
		return fmt.Errorf("%s is not an object", what)
	}
	return members(dec, func(name string) error {
		var value string
		if dec.PeekKind() != '"' {
			return fmt.Errorf("%s: the value of %s is not a string", what, shown(name))
		}
		if err := text(dec, &value); err != nil {
			return err
		}
		return add(name, value)
	})
}

func text(dec *jsontext.Decoder, to *string) error {
	if dec.PeekKind() != '"' {
		if err := dec.SkipValue(); err != nil {
			return err
		}
		return fmt.Errorf("%s is not a string", dec.StackPointer().LastToken())
	}
	t, err := dec.ReadToken()
	if err == nil {
		*to = t.String()
	}
	return err
}

// shown returns the start of an untrusted text, escaped and in quotes.
func shown(s string) string {
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown], "") + "…"
	}
	return safetext.Quoted(s)
}

// plain returns an error without the name of the library, on one line and with
// a bounded length.
func plain(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON ends too early")
	}
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		cause := "invalid JSON"
		if syntactic.Err != nil {
			cause = strings.TrimPrefix(syntactic.Err.Error(), "jsontext: ")
		}
		return fmt.Errorf("invalid JSON at byte %d: %s", syntactic.ByteOffset, shortened(cause))
	}
	return err
}

func shortened(s string) string {
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown], "") + "…"
	}
	return safetext.Escape(s)
}

// Received returns the member received of a recorded message, and whether it
// has one. Alertmanager sends none.
func Received(body []byte) (at time.Time, found bool, err error) {
	var value string
	dec := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	err = members(dec, func(name string) error {
		if name != "received" {
			return dec.SkipValue()
		}
		found = true
		return text(dec, &value)
	})
	if err == nil && found {
		at, err = moment("received", value)
	}
	return at, found, plain(err)
}

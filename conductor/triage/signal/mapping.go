package signal

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Mapping defines the signals in JSON documents. Its members are JSON
// pointers (RFC 6901) into an item.
type Mapping struct {
	Source   string
	Items    string // to the list of items. Empty: the document is one item
	Name     string
	State    string   // empty: each item fires
	Firing   []string // values of State
	Resolved []string // values of State
	Labels   map[string]string
	Starts   string // empty: the time of reception
	Ends     string // empty: the time of reception
	Trace    string
	Quiet    time.Duration // see Signal.Quiet
	Timed    bool          // items whose times cannot be right are refused
}

// Parse reads a JSON document.
func (m *Mapping) Parse(body []byte, received time.Time) (*Message, error) {
	if len(body) > MaxMessage {
		return nil, fmt.Errorf("the message has %d bytes, above the limit of %d", len(body), MaxMessage)
	}
	if err := checkJSON(body); err != nil {
		return nil, fmt.Errorf("not a JSON document: %w", plain(err))
	}
	var document any
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, errors.New("not a JSON document")
	}
	items := []any{document}
	if m.Items != "" {
		found, _ := at(document, m.Items)
		list, ok := found.([]any)
		if !ok {
			return nil, fmt.Errorf("no list at %s", m.Items)
		}
		items = list
	}
	if len(items) > MaxAlerts {
		return nil, fmt.Errorf("%d items, above the limit of %d", len(items), MaxAlerts)
	}
	message := &Message{}
	for n, item := range items {
		s, err := m.item(item, received)
		if err != nil {
			message.Refused = append(message.Refused, Refusal{n + 1, err.Error()})
			continue
		}
		message.Signals = append(message.Signals, *s)
	}
	return message, nil
}

func (m *Mapping) item(item any, received time.Time) (*Signal, error) {
	s := &Signal{Source: m.Source, State: Firing, Labels: map[string]string{}, Received: received, Starts: received, Quiet: m.Quiet}
	s.Name, _ = textAt(item, m.Name)
	if m.State != "" {
		switch state, _ := textAt(item, m.State); {
		case slices.Contains(m.Firing, state):
		case slices.Contains(m.Resolved, state):
			s.State, s.Ends = Resolved, received
		default:
			return nil, fmt.Errorf("the state %s is in neither firing nor resolved of the mapping", shown(state))
		}
	}
	for label, pointer := range m.Labels {
		if value, ok := textAt(item, pointer); ok && value != "" {
			s.Labels[label] = value
		}
	}
	for _, t := range []struct {
		to      *time.Time
		pointer string
		used    bool
	}{{&s.Starts, m.Starts, true}, {&s.Ends, m.Ends, s.State == Resolved}} {
		if t.pointer == "" || !t.used {
			continue
		}
		value, _ := textAt(item, t.pointer)
		var err error
		if *t.to, err = moment(t.pointer, value); err != nil {
			return nil, err
		}
	}
	if id, _ := textAt(item, m.Trace); m.Trace != "" && traceID(id) {
		s.Traces = []string{id}
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	if s.settle(); s.Skewed && m.Timed {
		return nil, errAhead
	}
	return s, nil
}

// textAt returns the value at a pointer as a text.
func textAt(item any, pointer string) (string, bool) {
	v, ok := at(item, pointer)
	if !ok {
		return "", false
	}
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	}
	return "", false
}

var unescape = strings.NewReplacer("~1", "/", "~0", "~")

// at returns the value at a JSON pointer.
func at(v any, pointer string) (any, bool) {
	for pointer != "" {
		var part string
		var more bool
		if part, pointer, more = strings.Cut(pointer[1:], "/"); more {
			pointer = "/" + pointer
		}
		part = unescape.Replace(part)
		switch in := v.(type) {
		case map[string]any:
			var ok bool
			if v, ok = in[part]; !ok {
				return nil, false
			}
		case []any:
			n, err := strconv.Atoi(part)
			if err != nil || n < 0 || n >= len(in) {
				return nil, false
			}
			v = in[n]
		default:
			return nil, false
		}
	}
	return v, true
}

// CheckPointer returns an error if a text is not a JSON pointer.
func CheckPointer(s string) error {
	if s == "" || s[0] != '/' || strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(s), "~") {
		return errors.New("must be a JSON pointer, such as /labels/service")
	}
	return nil
}

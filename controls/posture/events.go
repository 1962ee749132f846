package posture

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// Types of events.
const (
	ExceptionExpiring     = "exception.expiring"
	ExceptionExpired      = "exception.expired"
	BreakGlassUsed        = "break-glass.used"
	BreakGlassUnconfirmed = "break-glass.unconfirmed"
	FindingOverdue        = "finding.overdue"
	PassAffected          = "pass.affected"
)

// Types lists the types of events.
var Types = []string{ExceptionExpiring, ExceptionExpired, BreakGlassUsed, BreakGlassUnconfirmed, FindingOverdue, PassAffected}

// An Event is something about a stream that people should hear of. It is a
// function of the ledger and the time, so that it has the same ID and time
// whenever it is computed.
type Event struct {
	ID   string // of this event only
	Type string
	Time time.Time // when it happened
	Data any       // for JSON
}

// An ExceptionData describes an exception in an event.
type ExceptionData struct {
	Exception string    `json:"exception"`
	Entry     uint64    `json:"entry"` // of the request
	Control   string    `json:"control"`
	State     string    `json:"state"`
	Expires   time.Time `json:"expires"`
	Requester string    `json:"requester"`
	Approvers []string  `json:"approvers,omitempty"`
	Findings  []string  `json:"findings,omitempty"`
}

// A FindingData describes a finding in an event.
type FindingData struct {
	Finding  string    `json:"finding"`
	Entry    uint64    `json:"entry"` // its newest report
	Title    string    `json:"title"`
	Severity string    `json:"severity"`
	Status   string    `json:"status"`
	Controls []string  `json:"controls,omitempty"`
	Due      time.Time `json:"due"`
}

// NewEvent returns an event whose ID depends on its type and the parts.
func NewEvent(kind string, at time.Time, data any, parts ...any) Event {
	texts := make([]string, len(parts))
	for i, part := range parts {
		texts[i] = fmt.Sprint(part)
	}
	h := sha256.Sum256([]byte(fmt.Sprintf("muniment/event/v2\n%s\n%q", kind, texts)))
	return Event{ID: "msg_" + hex.EncodeToString(h[:16]), Type: kind, Time: at.UTC(), Data: data}
}

// Events returns the events of a stream that have happened, in no particular
// order. An exception is expiring from lead before its expiry.
func (r *Reader) Events(ctx context.Context, s *ledger.Stream, lead time.Duration) ([]Event, error) {
	set, err := r.Decider.Set(ctx, s)
	if err != nil {
		return nil, err
	}
	exceptions, err := r.Exceptions.All(ctx, s)
	if err != nil {
		return nil, err
	}
	now := r.Now()
	var all []Event
	for _, x := range exceptions {
		all = append(all, exceptionEvents(s.ID, x, x.At(now, LimitsOf(set, x.Control)), now, lead)...)
	}
	err = r.Findings.Use(ctx, s, func(findings []*finding.Finding, _ uint64) {
		for _, f := range findings {
			if due := f.Deadline(Days(set)); !due.IsZero() && !due.After(now) && !f.Resolved() {
				all = append(all, overdue(s.ID, f, due))
			}
		}
	})
	return all, err
}

func exceptionEvents(stream entry.Hash, x *exception.Exception, st exception.Status, now time.Time, lead time.Duration) (all []Event) {
	add := func(kind string, at time.Time) {
		// An event is not older than the newest entry that it rests on.
		last := x.Time
		if n := len(x.Decisions); n > 0 && kind != BreakGlassUsed {
			last = x.Decisions[n-1].Time
		}
		if at.Before(last) {
			at = last
		}
		data := &ExceptionData{Exception: x.ID, Entry: x.Index, Control: x.Control, State: string(st.State), Expires: st.Expires, Requester: x.Requester, Approvers: st.Approvers, Findings: x.Findings}
		parts := []any{stream, x.Index}
		if kind != BreakGlassUsed {
			parts = append(parts, st.Expires.UnixMilli())
		}
		all = append(all, NewEvent(kind, at, data, parts...))
	}
	if x.BreakGlass {
		add(BreakGlassUsed, x.Time)
	}
	switch {
	case st.InForce() && !now.Before(st.Expires.Add(-lead)):
		add(ExceptionExpiring, st.Expires.Add(-lead))
	case st.State == exception.Expired && st.Unconfirmed:
		add(BreakGlassUnconfirmed, st.Expires)
	case st.State == exception.Expired:
		add(ExceptionExpired, st.Expires)
	}
	return all
}

func overdue(stream entry.Hash, f *finding.Finding, due time.Time) Event {
	n := f.Newest()
	at := due
	if first := f.Reports[0].Time; at.Before(first) {
		at = first
	}
	data := &FindingData{Finding: f.ID, Entry: n.Index, Title: f.Title, Severity: n.Severity, Status: string(n.Status), Controls: n.Controls, Due: due.UTC()}
	return NewEvent(FindingOverdue, at, data, stream, strings.ToLower(f.ID), f.Reports[0].Index, due.UnixMilli())
}

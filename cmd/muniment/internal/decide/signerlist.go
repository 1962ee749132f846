package decide

import (
	"fmt"
	"strings"

	"muniment.dev/muniment/controls/keyevent"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
)

// A signerRow is a signer with the events about it.
type signerRow struct {
	Signer string        `json:"signer"`
	Issuer string        `json:"issuer,omitempty"`
	Person string        `json:"person,omitempty"` // to whom the key is registered
	Events []signerEvent `json:"events"`
}

type signerEvent struct {
	Event string `json:"event"`
	From  string `json:"from"`
	By    string `json:"by"`
	Entry uint64 `json:"entry"`
	Note  string `json:"note,omitempty"`
}

// signerRows returns the signers that events are about, in the order of their
// first events.
func signerRows(entries []*ledger.Entry) ([]*signerRow, error) {
	var rows []*signerRow
	bySigner := map[[2]string]*signerRow{}
	events := map[*signerRow][]keyevent.Event{}
	for _, e := range entries {
		if e.Header == nil {
			continue // erased
		}
		k, err := keyevent.Read(e)
		if err != nil {
			return nil, err
		}
		name := [2]string{k.KeyID + k.Identity, k.Issuer}
		r := bySigner[name]
		if r == nil {
			r = &signerRow{Signer: name[0], Issuer: k.Issuer}
			rows, bySigner[name] = append(rows, r), r
		}
		events[r] = append(events[r], k)
	}
	for _, r := range rows {
		registration := keyevent.Registration(events[r], r.Signer)
		if registration != nil {
			r.Person = registration.Person
		}
		for i := range events[r] {
			k := &events[r][i]
			e := signerEvent{Event: k.Event, From: k.From.Format(term.TimeFormat), By: k.By, Entry: k.Index}
			if k.Event == keyevent.Registered && k != registration {
				e.Note = "no effect"
			}
			r.Events = append(r.Events, e)
		}
	}
	return rows, nil
}

// Text implements term.Result.
func (r *signerRow) Text() string {
	var b strings.Builder
	b.WriteString(term.Quoted(r.Signer))
	if r.Issuer != "" {
		b.WriteString(" of " + term.Quoted(r.Issuer))
	}
	b.WriteString("\n")
	for _, e := range r.Events {
		what := e.Event
		if e.Event == keyevent.Registered && r.Person != "" {
			what += " to " + term.Quoted(r.Person)
		}
		fmt.Fprintf(&b, "  %s from %s, by %s (entry %d)", what, e.From, term.Quoted(e.By), e.Entry)
		if e.Note != "" {
			b.WriteString(": " + e.Note)
		}
		b.WriteString("\n")
	}
	return b.String()
}

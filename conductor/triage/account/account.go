// Package account reads incidents from a ledger, and verifies the receipt of
// each of their entries. See docs/spec/triage.md, section 9.
package account

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/conductor/triage/execute"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

const (
	// MaxEntries is the number of entries that one call reads.
	MaxEntries = 5000
	pageSize   = 500
)

// ErrNone reports that the ledger has no such incident.
var ErrNone = errors.New("no such incident")

// An entry is one of the kind triage-action.
type entry struct {
	*execute.Recorded
	action *munimentv1.TriageAction
}

// A Reader reads the incidents of a tenant.
type Reader struct {
	Client *muniment.Client
	Policy *receipt.TrustPolicy // that receipts are verified against
}

// Incident returns an incident, or an error that wraps ErrNone.
func (r *Reader) Incident(ctx context.Context, id string) (*Incident, error) {
	all, _, err := r.read(ctx, &munimentv1.Filter{Attribute: "incident=" + id}, MaxEntries)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNone, id)
	}
	return all[0], nil
}

// Incidents returns those with entries since a time, the latest first. More
// reports that there are older ones.
func (r *Reader) Incidents(ctx context.Context, since time.Time) (all []*Incident, more bool, err error) {
	return r.read(ctx, &munimentv1.Filter{From: timestamppb.New(since)}, MaxEntries)
}

// Quarantine returns the incident with which the latest quarantine of a type
// began, or an error that wraps ErrNone.
func (r *Reader) Quarantine(ctx context.Context, of string) (string, error) {
	all, _, err := r.read(ctx, &munimentv1.Filter{Attribute: "playbook=" + of}, MaxEntries)
	if err != nil {
		return "", err
	}
	at, id := uint64(0), ""
	for _, i := range all {
		for _, n := range i.Notes {
			if n.Action == "quarantine" && n.Entry >= at {
				at, id = n.Entry, i.ID
			}
		}
	}
	if id == "" {
		return "", fmt.Errorf("%w: the type %s was never quarantined", ErrNone, of)
	}
	return id, nil
}

// read returns the incidents of the newest entries that a filter selects.
func (r *Reader) read(ctx context.Context, filter *munimentv1.Filter, limit int) (all []*Incident, more bool, err error) {
	filter.Kind = kindname.TriageAction
	var listed []*munimentv1.Entry
	for token := ""; ; {
		res, err := r.Client.ListEntries(ctx, connect.NewRequest(&munimentv1.ListEntriesRequest{Tenant: r.Client.Tenant, Filter: filter, PageSize: pageSize, PageToken: token}))
		if err != nil {
			return nil, false, err
		}
		listed = append(listed, res.Msg.Entries...)
		if token = res.Msg.NextPageToken; token == "" || len(listed) >= limit {
			more = token != ""
			break
		}
	}
	byID := map[string]*Incident{}
	for _, e := range slices.Backward(listed) { // the oldest first
		id := e.Attributes["incident"]
		i := byID[id]
		if i == nil {
			i = &Incident{ID: id, Type: e.Attributes["playbook"], State: Acting}
			byID[id], all = i, append(all, i)
		}
		one, err := r.entry(ctx, e.Index)
		if errors.Is(err, receipt.ErrNotVerified) {
			i.Faults = append(i.Faults, err.Error())
			continue
		}
		if err != nil {
			return nil, false, err
		}
		i.add(one)
	}
	slices.SortStableFunc(all, func(a, b *Incident) int { return cmp.Compare(b.last, a.last) })
	return all, more, nil
}

// entry reads an entry and verifies its receipt.
func (r *Reader) entry(ctx context.Context, index uint64) (*entry, error) {
	recorded, err := execute.ReadEntry(ctx, r.Client, r.Policy, index)
	if err != nil {
		return nil, err
	}
	e := &entry{Recorded: recorded, action: &munimentv1.TriageAction{}}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(recorded.Payload, e.action); err != nil {
		return nil, fmt.Errorf("%w: payload of entry %d: %w", receipt.ErrNotVerified, index, err)
	}
	return e, nil
}

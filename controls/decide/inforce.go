package decide

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A SetInForce is the control set in force, as its entries contain it.
type SetInForce struct {
	Index    uint64 // of the entry of kind control-set
	Digest   string
	Payload  []byte
	Controls [][]byte // payloads, in the order of the set
	Entries  []uint64 // of the controls, in the same order
}

// Messages returns the controls as their messages, in the order of the set.
func (in *SetInForce) Messages() ([]*munimentv1.Control, error) {
	all := make([]*munimentv1.Control, len(in.Controls))
	for i, payload := range in.Controls {
		all[i] = &munimentv1.Control{}
		if err := protojson.Unmarshal(payload, all[i]); err != nil {
			return nil, &unreadableError{fmt.Errorf("control %d of the control set in entry %d: %w", i, in.Index, plain.DecodeError(err))}
		}
	}
	return all, nil
}

// Response returns the set as the API returns it.
func (in *SetInForce) Response() (*munimentv1.GetControlSetResponse, error) {
	res := &munimentv1.GetControlSetResponse{Set: &munimentv1.ControlSet{}, Digest: in.Digest, Index: in.Index}
	if err := protojson.Unmarshal(in.Payload, res.Set); err != nil {
		return nil, &unreadableError{fmt.Errorf("control set in entry %d: %w", in.Index, plain.DecodeError(err))}
	}
	var err error
	res.Controls, err = in.Messages()
	return res, err
}

// ErrNoSet reports that no control set is in force.
var ErrNoSet = errors.New("no control set is in force: apply one with muniment control apply")

// InForce returns the control set in force in the stream.
func (d *Decider) InForce(ctx context.Context, s *ledger.Stream) (*SetInForce, error) {
	return d.InForceAt(ctx, s, d.Log.Published().Size)
}

// InForceAt returns the control set that is in force in the stream below a
// size.
func (d *Decider) InForceAt(ctx context.Context, s *ledger.Stream, size uint64) (*SetInForce, error) {
	g := &gatherer{Decider: d, stream: s, size: size}
	newest, err := g.newestSet(ctx)
	switch {
	case err != nil:
		return nil, err
	case newest == nil:
		return nil, ErrNoSet
	}
	c := &cachedSet{index: newest.Index}
	payload, controls, err := g.readPayloads(ctx, newest, c)
	if err != nil {
		return nil, err
	}
	return &SetInForce{Index: newest.Index, Digest: entry.SHA256(payload), Payload: payload, Controls: controls, Entries: c.entries[1:]}, nil
}

// newestSet returns the entry of the control set in force now, or nil, and a
// gatherer that reads it.
func (d *Decider) newestSet(ctx context.Context, s *ledger.Stream) (*gatherer, *ledger.Entry, error) {
	g := &gatherer{Decider: d, stream: s, size: d.Log.Published().Size}
	newest, err := g.newestSet(ctx)
	return g, newest, err
}

// ReliedUpon returns why an entry of the stream must be kept, or "": exceptions
// in force rely on it, it is an event of a key, or it belongs to the control
// set in force. It implements retention.Reliance.
func (d *Decider) ReliedUpon(ctx context.Context, s *ledger.Stream, e *ledger.Entry) (string, error) {
	if e.Header == nil {
		return "", nil
	}
	switch e.Header.Kind {
	case kindname.KeyEvent:
		return "decisions depend on every event of a key", nil
	case kindname.Control, kindname.ControlSet:
		return d.inForce(ctx, s, e)
	}
	return d.Exceptions.ReliedUpon(ctx, s, e)
}

// inForce returns a reason to keep an entry of the control set in force, or "".
func (d *Decider) inForce(ctx context.Context, s *ledger.Stream, e *ledger.Entry) (string, error) {
	g, newest, err := d.newestSet(ctx, s)
	if err != nil || newest == nil {
		return "", err
	}
	if newest.Index == e.Index {
		return fmt.Sprintf("the control set (entry %d) is in force", newest.Index), nil
	}
	c := &cachedSet{index: newest.Index}
	_, _, err = g.readPayloads(ctx, newest, c)
	var unreadable *unreadableError
	if err != nil && !errors.As(err, &unreadable) {
		return "", err
	}
	if slices.Contains(c.entries, e.Index) {
		return fmt.Sprintf("the control set in force (entry %d) contains it", newest.Index), nil
	}
	return "", nil
}

// Set returns the control set in force in the stream as it is applied, or nil
// if there is none that can be read. While it stays in force, the result is the
// same.
func (d *Decider) Set(ctx context.Context, s *ledger.Stream) (*evaluate.Set, error) {
	p := d.Log.Published()
	st, err := d.current(ctx, p, s)
	if err != nil {
		return nil, err
	}
	defer st.mu.Unlock()
	g := &gatherer{Decider: d, stream: s, size: p.Size}
	set, err := g.setInForce(ctx, st)
	if unreadable := (*unreadableError)(nil); errors.As(err, &unreadable) {
		return nil, nil
	}
	return set, err
}

package execute

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// ErrTaken reports that an idempotency key belongs to another entry.
var ErrTaken = errors.New("another executor has recorded this step")

// A Ledger records entries of the kind triage-action.
type Ledger interface {
	// Record appends an entry and returns its place once its receipt verifies.
	// A call with the same key and payload returns the same entry, and one with
	// another payload an error that wraps ErrTaken. After any other error the
	// entry can be recorded or not.
	Record(ctx context.Context, key string, payload []byte) (Reference, error)
}

// record records the entries of an incident that are due, in order.
func (e *Executor) record(ctx context.Context, i *Incident) error {
	if i.Taken {
		return e.recordTaken(ctx, i)
	}
	for n := range len(i.Steps) + 1 {
		for _, notice := range i.Notices {
			if notice.After != n || notice.Lost {
				continue
			}
			err := e.send(ctx, i, notice.key(i.ID), &notice.Entry, func() ([]byte, error) { return e.noticePayload(i, notice) })
			if errors.Is(err, ErrTaken) && i.leased() {
				notice.Lost = true
				err = e.save(i)
			}
			if err != nil {
				return err
			}
		}
		if n == len(i.Steps) {
			break
		}
		s := i.Steps[n]
		key := "triage/" + i.ID + "/" + strconv.Itoa(s.Number) + "/"
		if err := e.send(ctx, i, key+"intent", &s.Intent, func() ([]byte, error) { return e.payload(i, s, "intent", key+"intent") }); err != nil {
			return err
		}
		if !s.final() {
			continue
		}
		if err := e.send(ctx, i, key+"outcome", &s.Outcome, func() ([]byte, error) { return e.payload(i, s, "outcome", key+"outcome") }); err != nil {
			return err
		}
	}
	return nil
}

// recordTaken records what an executor without the lease did.
func (e *Executor) recordTaken(ctx context.Context, i *Incident) error {
	for _, n := range i.Notices {
		if !n.due(i) || n.Lost {
			continue
		}
		err := e.send(ctx, i, n.key(i.ID), &n.Entry, func() ([]byte, error) { return e.noticePayload(i, n) })
		if errors.Is(err, ErrTaken) {
			n.Lost = true
			err = e.save(i)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// send records one entry, unless it is recorded. The entries that it refers to
// are recorded.
func (e *Executor) send(ctx context.Context, i *Incident, key string, entry *Entry, payload func() ([]byte, error)) error {
	if entry.Recorded != nil {
		return nil
	}
	if entry.Payload == nil {
		text, err := payload()
		if err != nil {
			return err
		}
		if entry.Signature, err = e.sign(key, text); err != nil {
			return err
		}
		entry.Payload = text
		if err := e.save(i); err != nil {
			return err
		}
	}
	if err := e.verify(key, entry); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	at, err := e.Ledger.Record(ctx, key, entry.Payload)
	if err != nil {
		return fmt.Errorf("record entry %s: %w", key, err)
	}
	entry.Recorded = &at
	return e.save(i)
}

// payload returns an entry. The entries that it refers to are recorded.
func (e *Executor) payload(i *Incident, s *Step, phase, key string) ([]byte, error) {
	parameters, err := object(s.Parameters)
	if err != nil {
		return nil, err
	}
	m := &munimentv1.TriageAction{
		Incident: i.ID, Playbook: i.Type, Action: s.Action, Parameters: parameters, Actor: cmp.Or(s.Actor, e.Actor), Started: timestamppb.New(s.Decided),
		Phase: phase, Step: uint32(s.Number), Correlation: i.correlation(),
	}
	switch {
	case s.Undoes > 0:
		undone := i.Steps[s.Undoes-1]
		m.Undoes = undone.Intent.Recorded.message()
		if parameters, err = object(undone.Parameters); err != nil {
			return nil, err
		}
		m.Undo = &munimentv1.UndoAction{Action: undone.Action, Parameters: parameters}
	case s.Lapses:
		m.Irreversible = true
	default:
		undo := map[string]string{"target": s.Target}
		if e.Seal != nil && phase == "intent" {
			sealed, err := e.Seal.close(key, s.Target, images{s.Before, s.After})
			if err != nil {
				return nil, fmt.Errorf("seal the images of step %d of %s: %w", s.Number, i.ID, err)
			}
			if sealed != "" {
				undo["sealed"] = sealed
			}
		}
		if parameters, err = object(undo); err != nil {
			return nil, err
		}
		m.Undo = &munimentv1.UndoAction{Action: "restore", Parameters: parameters}
	}
	m.Detail = fmt.Sprintf("target %s, from sha256:%s to sha256:%s", s.Target, s.digest(false), s.digest(true))
	if s.Approved != nil && s.Undoes == 0 {
		m.Detail += fmt.Sprintf(", approved by entry %d", s.Approved.Index)
	}
	if phase == "outcome" {
		m.Result, m.Finished, m.Intent, m.WithoutLedger = results[s.State], timestamppb.New(s.Finished), s.Intent.Recorded.message(), s.Spooled
		m.Detail += ": " + string(s.State)
		if s.Reason != "" {
			m.Detail += ", " + s.Reason
		}
	}
	return protojson.Marshal(m)
}

func (r *Reference) message() *munimentv1.EntryReference {
	return &munimentv1.EntryReference{Index: &r.Index, LeafHash: r.LeafHash}
}

// object returns parameters as a JSON object, or nil if there are none.
func object(values map[string]string) (*structpb.Struct, error) {
	if len(values) == 0 {
		return nil, nil
	}
	all := map[string]any{}
	for name, v := range values {
		all[name] = v
	}
	return structpb.NewStruct(all)
}

func sum(image []byte) string {
	s := sha256.Sum256(image)
	return hex.EncodeToString(s[:])
}

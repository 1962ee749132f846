package ingest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Record appends an entry of a kind that only the server records. m must be the
// kind's message. Each call records a new event. The submitter is the identity
// that requested the action.
func (in *Ingester) Record(ctx context.Context, who Submitter, kind string, m proto.Message) (ledger.Result, error) {
	return in.RecordOnce(ctx, who, kind, rand.Text(), m)
}

// RecordOnce is Record with an idempotency key. If the submitter has used the
// key before, the result is a duplicate, or the error is ledger.ErrKeyReused if
// the earlier event differs.
func (in *Ingester) RecordOnce(ctx context.Context, who Submitter, kind, key string, m proto.Message) (ledger.Result, error) {
	return in.recordOn(ctx, who, Basis{}, kind, key, m)
}

// A Recording is an event that the server records once.
type Recording struct {
	Key     string // idempotency key
	Message proto.Message
}

// RecordAll is RecordOnce for several events of a kind, in one batch. The
// results are in the same order, with the errors about single ones.
func (in *Ingester) RecordAll(ctx context.Context, who Submitter, kind string, all []Recording) (results []ledger.Result, err error) {
	err = in.on(ctx, who, Basis{}, func(b Basis) error {
		drafts := make([]ledger.Draft, len(all))
		for i, r := range all {
			if drafts[i], err = recordDraft(in.Ledger, who, kind, r.Key, r.Message, b); err != nil {
				return err
			}
		}
		results, err = in.Ledger.Append(ctx, drafts)
		return err
	})
	return results, err
}

// recordOn is RecordOnce for an action that was decided on a basis. The zero
// value stands for an action that does not depend on any rules.
func (in *Ingester) recordOn(ctx context.Context, who Submitter, decided Basis, kind, key string, m proto.Message) (res ledger.Result, err error) {
	err = in.on(ctx, who, decided, func(b Basis) error {
		res, err = record(ctx, in.Ledger, who, kind, key, m, b)
		return err
	})
	return res, err
}

// RecordConfig appends a config entry, which puts a document in force in the
// submitter's stream. An empty document withdraws the name. decided is the
// basis of the decision, or zero. The error is ledger.ErrOvertaken if that
// basis is no longer in force.
func (in *Ingester) RecordConfig(ctx context.Context, who Submitter, decided Basis, name string, document []byte, reason string) (ledger.Result, error) {
	return in.recordOn(ctx, who, decided, kindname.Config, rand.Text(), configMessage(who, name, document, reason))
}

func recordConfig(ctx context.Context, l *ledger.Ledger, who Submitter, name string, document []byte, reason string, decided Basis) (ledger.Result, error) {
	return record(ctx, l, who, kindname.Config, rand.Text(), configMessage(who, name, document, reason), decided)
}

func configMessage(who Submitter, name string, document []byte, reason string) *munimentv1.Config {
	return &munimentv1.Config{Name: name, Document: string(document), Digest: entry.SHA256(document), Reason: reason, Actor: who.Identity}
}

// record appends an entry that names the basis's policy. Policies do not decide
// about server entries.
func record(ctx context.Context, l *ledger.Ledger, who Submitter, kind, key string, m proto.Message, decided Basis) (ledger.Result, error) {
	d, err := recordDraft(l, who, kind, key, m, decided)
	if err != nil {
		return ledger.Result{}, err
	}
	results, err := l.Append(ctx, []ledger.Draft{d})
	if err != nil {
		return ledger.Result{}, err
	}
	return results[0], results[0].Err
}

// recordDraft returns the entry that record appends.
func recordDraft(l *ledger.Ledger, who Submitter, kind, key string, m proto.Message, decided Basis) (ledger.Draft, error) {
	if !WrittenByLog(kind) {
		return ledger.Draft{}, fmt.Errorf("record %s: only clients submit this kind", kind)
	}
	c, err := checkMessage(table[kind].Kind, m, time.Now())
	if err != nil {
		return ledger.Draft{}, fmt.Errorf("record %s: %w", kind, err)
	}
	loose, err := protojson.Marshal(m)
	if err != nil {
		return ledger.Draft{}, fmt.Errorf("record %s: %w", kind, err)
	}
	var payload bytes.Buffer
	// The white space in protojson's output differs between builds.
	if err := json.Compact(&payload, loose); err != nil {
		return ledger.Draft{}, fmt.Errorf("record %s: %w", kind, err)
	}
	s := &Submission{Kind: kind, Payload: payload.Bytes(), IdempotencyKey: key}
	h := c.header(who, s)
	h.AdmissionPolicy = decided.policy
	c.payload = s.Payload
	if err := c.derive(context.Background(), nil, h); err != nil {
		return ledger.Draft{}, fmt.Errorf("record %s: %w", kind, err)
	}
	d, err := seal(l, who, h, s.Payload, c.facts)
	if err != nil {
		return ledger.Draft{}, fmt.Errorf("record %s: %w", kind, err)
	}
	d.Rules = decided.version
	return d, nil
}

// A Config is a document that a config entry has put in force.
type Config struct {
	Index    uint64
	Time     uint64 // Unix milliseconds
	Name     string
	Document []byte // empty: the name is withdrawn
	Digest   string // "sha256:" and hexadecimal digits
	Reason   string
	Actor    string
}

// NewestConfig returns the newest published config entry of the name in the
// stream, or nil if there is none.
func NewestConfig(ctx context.Context, l *ledger.Ledger, s *ledger.Stream, name string) (*Config, error) {
	page, err := l.List(ctx, s, ledger.Query{Filter: ledger.Filter{Kind: kindname.Config, Attribute: "name=" + name}, Limit: 1})
	if err != nil || len(page.Entries) == 0 {
		return nil, err
	}
	return ReadConfig(ctx, l, &page.Entries[0])
}

// ReadConfig reads a config entry.
func ReadConfig(ctx context.Context, l *ledger.Ledger, e *ledger.Entry) (*Config, error) {
	p, err := l.Payload(ctx, e)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, fmt.Errorf("entry %d of kind config: %w", e.Index, ledger.ErrErased)
	}
	m := &munimentv1.Config{}
	if err := protojson.Unmarshal(p.Content, m); err != nil {
		return nil, fmt.Errorf("entry %d of kind config: %w", e.Index, plain.DecodeError(err))
	}
	return &Config{Index: e.Index, Time: e.Skeleton.Time, Name: m.Name, Document: []byte(m.Document), Digest: m.Digest, Reason: m.Reason, Actor: m.Actor}, nil
}

package ingest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Record appends an entry of a kind that only the server records. The message
// is the kind's. Each call records a new event. The submitter is the identity
// that requested the action.
func (in *Ingester) Record(ctx context.Context, who Submitter, kind string, m proto.Message) (ledger.Result, error) {
	return in.RecordOnce(ctx, who, kind, rand.Text(), m)
}

// RecordOnce is Record with an idempotency key. If the submitter has used the
// key before, the result is a duplicate, or the error is ledger.ErrKeyReused if
// the earlier event differs.
func (in *Ingester) RecordOnce(ctx context.Context, who Submitter, kind, key string, m proto.Message) (ledger.Result, error) {
	return in.recordUnder(ctx, who, ledger.Rules{}, kind, key, m)
}

// recordUnder is RecordOnce for an action that was decided under rules. With
// the zero value it was decided under none, and those in force do not matter.
func (in *Ingester) recordUnder(ctx context.Context, who Submitter, decided ledger.Rules, kind, key string, m proto.Message) (res ledger.Result, err error) {
	err = in.under(ctx, who, decided, func(policyDigest string, version ledger.Rules) error {
		res, err = record(ctx, in.Ledger, who, kind, key, m, policyDigest, version)
		return err
	})
	return res, err
}

// under calls do with the digest of the policy in force, or "" if there is
// none, and the version of the rules to append under. If the rules change
// meanwhile, it calls do again, unless the action was decided under others.
func (in *Ingester) under(ctx context.Context, who Submitter, decided ledger.Rules, do func(policyDigest string, version ledger.Rules) error) error {
	if in.Admission == nil {
		return do("", decided)
	}
	var digest string
	return in.Admission.append(ctx, who, func(r *rules) error {
		if digest = r.policy.Digest(); decided != (ledger.Rules{}) && decided != r.version {
			return ledger.ErrOvertaken
		}
		return nil
	}, func(version ledger.Rules) error { return do(digest, version) })
}

// Decide calls f with the version of the rules in force, under which f decides
// and records. If the rules change before what it records, it is called again.
func (in *Ingester) Decide(ctx context.Context, who Submitter, f func(ledger.Rules) error) error {
	for {
		if in.Admission != nil { // first: it may record missing rules
			if _, err := in.Admission.current(ctx, who); err != nil {
				return err
			}
		}
		if err := f(in.Ledger.Rules(who.Stream)); !errors.Is(err, ledger.ErrOvertaken) {
			return err
		}
	}
}

// RecordConfig appends a config entry, which puts a document in force in the
// submitter's stream. An empty document withdraws the name. decided is the
// version of the rules that it was decided under, or zero. Errors:
// ledger.ErrOvertaken if that is not in force any more.
func (in *Ingester) RecordConfig(ctx context.Context, who Submitter, decided ledger.Rules, name string, document []byte, reason string) (ledger.Result, error) {
	return in.recordUnder(ctx, who, decided, kindname.Config, rand.Text(), configMessage(who, name, document, reason))
}

func recordConfig(ctx context.Context, l *ledger.Ledger, who Submitter, name string, document []byte, reason, policyDigest string, version ledger.Rules) (ledger.Result, error) {
	return record(ctx, l, who, kindname.Config, rand.Text(), configMessage(who, name, document, reason), policyDigest, version)
}

func configMessage(who Submitter, name string, document []byte, reason string) *munimentv1.Config {
	return &munimentv1.Config{Name: name, Document: string(document), Digest: DocumentDigest(document), Reason: reason, Actor: who.Identity}
}

// record appends an entry that names the policy of the digest, which can be "".
// The policy does not decide about entries of the server.
func record(ctx context.Context, l *ledger.Ledger, who Submitter, kind, key string, m proto.Message, policyDigest string, version ledger.Rules) (ledger.Result, error) {
	d, err := recordDraft(l, who, kind, key, m, policyDigest)
	if err != nil {
		return ledger.Result{}, err
	}
	d.Rules = version
	results, err := l.Append(ctx, []ledger.Draft{d})
	if err != nil {
		return ledger.Result{}, err
	}
	return results[0], results[0].Err
}

// recordDraft returns the entry that record appends.
func recordDraft(l *ledger.Ledger, who Submitter, kind, key string, m proto.Message, policyDigest string) (ledger.Draft, error) {
	if !WrittenByLog(kind) {
		return ledger.Draft{}, fmt.Errorf("record %s: clients submit entries of this kind", kind)
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
	// The white space that protojson writes differs between builds.
	if err := json.Compact(&payload, loose); err != nil {
		return ledger.Draft{}, fmt.Errorf("record %s: %w", kind, err)
	}
	s := &Submission{Kind: kind, Payload: payload.Bytes(), IdempotencyKey: key}
	h := c.header(who, s)
	h.AdmissionPolicy = policyDigest
	d, err := seal(l, who, h, s.Payload)
	if err != nil {
		return ledger.Draft{}, fmt.Errorf("record %s: %w", kind, err)
	}
	return d, nil
}

// A Config is a document that an entry of kind config has put in force.
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

// ReadConfig reads an entry of kind config.
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

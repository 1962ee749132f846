// Package ingest turns submissions into entries: it validates the payload by
// its kind, applies the admission policy, builds the header and generates the
// salts.
//
// Package api authenticates the submitters first, and package ledger sequences
// the resulting entries.
package ingest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"muniment.dev/muniment/ingest/policy"
	"muniment.dev/muniment/internal/turns"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/proto/kinds"
	"muniment.dev/muniment/verifiers/facts"
)

// A Submission is evidence or an event to be recorded.
type Submission struct {
	Kind           string
	MediaType      string // "": detect it
	Payload        []byte // recorded byte for byte; must not be modified until Append returns
	IdempotencyKey string
	// Refused is the caller's reason for refusing the submission. It becomes
	// the error of the submission's result. Nil: record the submission.
	Refused error
	spool   *ledger.Spool // a large payload, in place of Payload; nil otherwise
}

func (s *Submission) size() uint64 {
	if s.spool != nil {
		return s.spool.Size()
	}
	return uint64(len(s.Payload))
}

// A Submitter is the authenticated sender of a submission.
type Submitter struct {
	Tenant   string
	Identity string // such as "token:acme"; recorded in the header
	Stream   *ledger.Stream
	// Valid returns an error once the submitter's credentials are no longer in
	// force. It is called before each decision. Nil: always valid.
	Valid func() error
	// Introduce records how the submitter was admitted, unless that is recorded
	// already. It is called before each decision about what the submitter
	// records. Nil: there is nothing to record.
	Introduce func(context.Context) error
}

// enter returns an error unless the submitter may act, which is recorded first.
func (who *Submitter) enter(ctx context.Context) error {
	if who.Valid != nil {
		if err := who.Valid(); err != nil {
			return err
		}
	}
	if who.Introduce == nil {
		return nil
	}
	return who.Introduce(ctx)
}

// An Ingester appends submissions to one log.
type Ingester struct {
	Ledger    *ledger.Ledger
	Admission *Admission // nil: admit everything and verify no signatures
	// MaxPayload is the size limit of a payload in bytes. SetLimits overrides
	// it.
	MaxPayload int64
	// MaxStream is the size limit of a streamed payload in bytes. 0 refuses
	// streamed payloads. SetLimits overrides it.
	MaxStream int64
	Now       func() time.Time // nil: time.Now
	// Referee checks submissions of typed kinds against the stream. Nil: only
	// the documents themselves are checked.
	Referee Referee
	// Decided is called with each decision of an admission policy, unless it is
	// nil.
	Decided func(*policy.Decision)
	// Recorded is called with each new entry of a submission, unless it is nil.
	Recorded func(who Submitter, index uint64, h *entry.Header)

	parsing parseBudget
	limits  atomic.Pointer[limits] // set by SetLimits; nil: MaxPayload and MaxStream
}

// limits are size limits of payloads in bytes.
type limits struct{ payload, stream int64 }

// SetLimits overrides MaxPayload and MaxStream. It can be called while other
// goroutines append.
func (in *Ingester) SetLimits(maxPayload, maxStream int64) {
	in.limits.Store(&limits{maxPayload, maxStream})
}

func (in *Ingester) sizes() limits {
	if l := in.limits.Load(); l != nil {
		return *l
	}
	return limits{in.MaxPayload, in.MaxStream}
}

// Append records the submissions in order and returns a result for each, in the
// same order. The result contains a *FieldError if the submission is invalid
// and a *Refusal if the admission policy refuses it. The other submissions are
// recorded regardless. The returned error concerns all submissions, as in
// ledger.Append.
func (in *Ingester) Append(ctx context.Context, who Submitter, subs []Submission) ([]ledger.Result, error) {
	read := make([]contents, len(subs))
	wrong := make([]error, len(subs))
	size := int64(0)
	for i := range subs {
		if wrong[i] = subs[i].Refused; wrong[i] == nil {
			size += int64(len(subs[i].Payload))
		}
	}
	turn, err := turns.CPU.For(ctx, who.Tenant, size)
	if err != nil {
		return nil, err
	}
	defer turn.End()
	for i := range subs {
		if wrong[i] != nil {
			continue
		}
		read[i], wrong[i] = in.accept(&subs[i])
		if err := turn.Pass(ctx, len(subs[i].Payload)); err != nil {
			return nil, err
		}
	}
	turn.End()
	return in.appendRead(ctx, who, subs, read, wrong)
}

// appendRun records submissions of which at most one is of an ordered kind.
func (in *Ingester) appendRun(ctx context.Context, who Submitter, subs []Submission, read []contents, wrong []error) ([]ledger.Result, error) {
	var results []ledger.Result
	drafts := make([]ledger.Draft, len(subs))
	draft := func(r *rules) error {
		var roots policy.Roots
		if r != nil && in.Admission != nil {
			roots = in.Admission.inForce(r)
		}
		for i := range subs {
			err := wrong[i]
			if err == nil {
				drafts[i], err = in.draft(ctx, who, &subs[i], &read[i], r, roots)
			}
			if err != nil {
				drafts[i] = ledger.Draft{Refused: err}
			}
		}
		return ctx.Err()
	}
	appendAll := func(version ledger.Rules) (err error) {
		for i := range drafts {
			drafts[i].Rules = version
		}
		results, err = in.Ledger.Append(ctx, drafts)
		return err
	}
	var err error
	valid := slices.Contains(wrong, nil)
	if valid && (in.Admission != nil || in.Referee != nil) { // some submission is still undecided
		err = in.decideUnder(ctx, who, func(r *rules) error {
			if err := draft(r); err != nil {
				return err
			}
			return appendAll(r.version)
		})
	} else if err = draft(nil); err == nil {
		err = appendAll(ledger.Rules{})
	}
	if err != nil {
		return nil, err
	}
	in.report(who, drafts, results)
	return results, nil
}

// report calls Recorded.
func (in *Ingester) report(who Submitter, drafts []ledger.Draft, results []ledger.Result) {
	if in.Recorded == nil {
		return
	}
	for i := range results {
		// Other errors concern only the receipt.
		if r := &results[i]; drafts[i].Refused == nil && !r.Duplicate && !errors.Is(r.Err, ledger.ErrKeyReused) {
			in.Recorded(who, r.Index, drafts[i].Header)
		}
	}
}

// accept reads a client's submission.
func (in *Ingester) accept(s *Submission) (contents, error) {
	if WrittenByLog(s.Kind) {
		return contents{}, errWrittenByLog(s.Kind)
	}
	c, err := in.read(s)
	if err != nil {
		return contents{}, asFieldError(err)
	}
	return c, nil
}

func errWrittenByLog(kind string) error {
	return fieldErrorf(FieldKind, "only the server records entries of kind %s: use one of %s", kind, strings.Join(clientKinds(), ", "))
}

// draft returns the entry for a submission that was read, if the rules admit
// it. Without a policy they admit everything.
func (in *Ingester) draft(ctx context.Context, who Submitter, s *Submission, c *contents, r *rules, roots policy.Roots) (ledger.Draft, error) {
	h := c.header(who, s)
	if r != nil && r.policy != nil {
		d, err := decide(ctx, h, c, r.policy, roots)
		if in.Decided != nil {
			in.Decided(d)
		}
		if err != nil {
			return ledger.Draft{}, err
		}
	}
	if in.Referee != nil && c.message != nil {
		if err := in.Referee.Check(ctx, who, h, Document{c.message, c.envelope}); err != nil {
			return ledger.Draft{}, err
		}
	}
	turn, err := turns.CPU.For(ctx, who.Tenant, int64(s.size()))
	if err != nil {
		return ledger.Draft{}, err
	}
	defer turn.End()
	if err := c.derive(ctx, turn, h); err != nil {
		return ledger.Draft{}, err
	}
	if s.spool != nil {
		return sealSpool(in.Ledger, who, h, s.spool, c.facts)
	}
	return seal(in.Ledger, who, h, s.Payload, c.facts)
}

// derive extracts the facts, in turn with other tenants, unless that was done
// when the submission was drafted before.
func (c *contents) derive(ctx context.Context, turn *turns.Turn, h *entry.Header) error {
	if c.derived {
		return nil
	}
	f, err := facts.Extract(ctx, turn.Pass, h, c.statement, c.payload)
	if err != nil {
		return err
	}
	if f != nil {
		c.facts = f.Encode()
	}
	c.derived = true
	return nil
}

// header returns the header of the submission's entry, without the results of
// admission.
func (c *contents) header(who Submitter, s *Submission) *entry.Header {
	h := &entry.Header{
		Tenant: who.Tenant, Kind: s.Kind, MediaType: c.mediaType, Subjects: withDigest(c.subjects), PredicateType: c.predicateType,
		Signers: c.signers, Materials: c.materials, Controls: c.controls, Attributes: c.attributes, External: c.external, Submitter: who.Identity, IdempotencyKey: s.IdempotencyKey,
		Verification: entry.Verification{Result: entry.Unverified}, Payload: entry.PayloadRef{Size: s.size()},
	}
	c.noteDeviations(h)
	return h
}

// withDigest returns the subjects that have a digest, which a header requires.
// A subject of a deviating statement can lack one.
func withDigest(all []entry.Subject) []entry.Subject {
	without := func(s entry.Subject) bool { return len(s.Digest) == 0 }
	if !slices.ContainsFunc(all, without) {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), without)
}

// seal generates the salts and the commitment to the payload.
func seal(l *ledger.Ledger, who Submitter, h *entry.Header, payload, facts []byte) (ledger.Draft, error) {
	d := ledger.Draft{Stream: who.Stream, Header: h, Payload: receipt.PayloadOpening{Content: payload}, Facts: facts}
	d.LinkSalt, d.Opening.Salt, d.Payload.Salt = entry.NewSalts()
	h.Payload.Commitment = entry.Commitment(d.Payload.Salt, payload)
	return d, encodeHeader(l, &d)
}

// sealSpool is seal for a large payload, whose commitment has already been
// computed.
func sealSpool(l *ledger.Ledger, who Submitter, h *entry.Header, spool *ledger.Spool, facts []byte) (ledger.Draft, error) {
	d := ledger.Draft{Stream: who.Stream, Header: h, Large: spool, Facts: facts}
	d.LinkSalt, d.Opening.Salt, _ = entry.NewSalts()
	d.Payload.Salt, h.Payload.Commitment = spool.Opening()
	return d, encodeHeader(l, &d)
}

func encodeHeader(l *ledger.Ledger, d *ledger.Draft) (err error) {
	d.Header.Origin = l.Origin()
	if d.Opening.Content, err = d.Header.AppendJSON(make([]byte, 0, 1024)); err != nil {
		return fieldErrorf(FieldPayload, "does not fit in the header: %s", err)
	}
	return nil
}

func (in *Ingester) read(s *Submission) (contents, error) {
	k, largest := table[s.Kind], in.sizes().payload
	if err := checkKind(s.Kind, s.IdempotencyKey); err != nil {
		return contents{}, err
	}
	switch {
	case len(s.Payload) == 0:
		return contents{}, fieldErrorf(FieldPayload, "must not be empty")
	case int64(len(s.Payload)) > largest:
		return contents{}, fieldErrorf(FieldPayload, "%d bytes, above the limit of %d for one message: stream larger payloads", len(s.Payload), largest)
	}
	if k.MaxBytes > 0 && len(s.Payload) > k.MaxBytes {
		return contents{}, errKindSize(FieldPayload, uint64(len(s.Payload)), k.Kind)
	}
	return k.check(s.MediaType, s.Payload, in.now())
}

func errKindSize(field Field, size uint64, k *kinds.Kind) error {
	return fieldErrorf(field, "%d bytes, above the limit of %d for kind %s", size, k.MaxBytes, k.Name)
}

// checkKind checks that the kind exists, and that an idempotency key is present
// exactly for events.
func checkKind(name, idempotencyKey string) error {
	k, ok := table[name]
	switch {
	case name == "":
		return fieldErrorf(FieldKind, "no kind specified: use one of %s", strings.Join(clientKinds(), ", "))
	case !ok:
		return fieldErrorf(FieldKind, "%q is not a kind: use one of %s", name, strings.Join(clientKinds(), ", "))
	case k.IsEvent() && idempotencyKey == "":
		return fieldErrorf(FieldIdempotencyKey, "no idempotency key specified: kind %s is an event, and a retry without a key would record it twice", name)
	case !k.IsEvent() && idempotencyKey != "":
		return fieldErrorf(FieldIdempotencyKey, "not allowed: kind %s is evidence, which is recognized by its content", name)
	}
	return nil
}

func (in *Ingester) now() time.Time {
	if in.Now != nil {
		return in.Now()
	}
	return time.Now()
}

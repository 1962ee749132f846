// Package reportrig records the story of a release in a ledger, for tests of
// reports about it.
package reportrig

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/controls/catalog"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/report"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/proto/kinds"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/facts"
	"muniment.dev/muniment/verifiers/intoto"
)

// Origin is the origin of the log.
const Origin = "evidence.acme.example"

// Tenant is the tenant whose stream has the story.
const Tenant = "acme"

// Start is the time of the first entry.
var Start = time.Date(2026, 9, 1, 8, 0, 0, 0, time.UTC)

//go:embed controls.yaml
var controls []byte

// A Rig is a ledger with one stream.
type Rig struct {
	Ledger  *ledger.Ledger
	Stream  *ledger.Stream
	Policy  *receipt.TrustPolicy
	now     time.Time
	appends int
}

// Now implements ledger.Clock.
func (r *Rig) Now() (wall time.Time, monotonic time.Duration) { return r.now, r.now.Sub(Start) }

// Pass advances the clock.
func (r *Rig) Pass(d time.Duration) { r.now = r.now.Add(d) }

// Time returns the time of the clock.
func (r *Rig) Time() time.Time { return r.now }

// New returns a rig on a store. It panics on failure, as all of its methods
// do.
func New(s store.Store) *Rig {
	skey, vkey, err := note.GenerateKey(nil, Origin)
	check(err)
	signer, err := note.NewSigner(skey)
	check(err)
	r := &Rig{Stream: ledger.NewStream(entry.StreamKey{1}), now: Start}
	r.Ledger, err = ledger.Open(context.Background(), ledger.Config{Store: s, Signer: signer, Clock: r, Fatal: check})
	check(err)
	r.Policy, err = receipt.ParseTrustPolicy("rig", []byte(receipt.FormatTrustPolicy(vkey)))
	check(err)
	return r
}

// Close closes the ledger.
func (r *Rig) Close() { r.Ledger.Close() }

// Source returns the source of reports about the stream.
func (r *Rig) Source() *report.Source {
	now := r.Time
	d := &decide.Decider{Log: r.Ledger, Facts: decide.StoredFacts{Log: r.Ledger}, Exceptions: &exception.Projection{Log: r.Ledger, Now: now}, Now: now}
	return &report.Source{Decider: d, Stream: r.Stream, Tenant: Tenant, Origin: Origin}
}

// Gather returns the release as of now.
func (r *Rig) Gather(sel *report.Selection) (*report.Release, error) {
	p := r.Ledger.Published()
	return report.Gather(context.Background(), r.Source(), p.Size, r.now, sel)
}

// Append appends an entry and returns its index.
func (r *Rig) Append(h *entry.Header, payload []byte, erase *ledger.Erasure) uint64 {
	ctx := context.Background()
	r.appends++
	d := ledger.Draft{Stream: r.Stream, Header: h, Payload: receipt.PayloadOpening{Content: payload}, Erase: erase}
	d.LinkSalt, d.Opening.Salt, d.Payload.Salt = entry.NewSalts()
	h.Origin, h.Tenant, h.IdempotencyKey = Origin, Tenant, fmt.Sprint(r.appends)
	if h.Submitter == "" {
		h.Submitter = "token:ci"
	}
	if h.Verification.Result == "" {
		h.Verification.Result = entry.Unverified
	}
	h.Payload = entry.PayloadRef{Size: uint64(len(payload)), Commitment: entry.Commitment(d.Payload.Salt, payload)}
	var err error
	d.Opening.Content, err = h.AppendJSON(nil)
	check(err)
	d.Facts, err = facts.Derive(ctx, h, func() ([]byte, error) { return payload, nil })
	check(err)
	results, err := r.Ledger.Append(ctx, []ledger.Draft{d})
	check(err)
	check(results[0].Err)
	return results[0].Index
}

// Record appends the message of a typed kind.
func (r *Rig) Record(kind string, m proto.Message, submitter string) uint64 {
	k, ok := kinds.Lookup(kind)
	if !ok {
		panic("no such kind: " + kind)
	}
	payload, err := protojson.Marshal(m)
	check(err)
	from := k.Header(m)
	h := &entry.Header{Kind: kind, MediaType: k.MediaType, Controls: from.Controls, Attributes: from.Attributes, Submitter: submitter}
	for _, s := range from.Subjects {
		h.Subjects = append(h.Subjects, entry.Subject{Name: s.Name, Digest: s.Digest})
	}
	for _, s := range from.Materials {
		h.Materials = append(h.Materials, entry.Subject{Name: s.Name, Digest: s.Digest})
	}
	return r.Append(h, payload, nil)
}

// Attest appends a verified statement about an artifact.
func (r *Rig) Attest(a *decide.Artifact, predicateType string, predicate any, by ...entry.Signer) uint64 {
	payload := marshal(map[string]any{"_type": "https://in-toto.io/Statement/v1", "subject": []any{map[string]any{"name": a.Name, "digest": a.Digest}}, "predicateType": predicateType, "predicate": predicate})
	h := &entry.Header{Kind: kindname.Attestation, MediaType: intoto.MediaType, PredicateType: predicateType, Subjects: []entry.Subject{{Name: a.Name, Digest: a.Digest}}, Signers: by}
	if len(by) > 0 {
		h.Verification.Result = entry.Verified
	}
	return r.Append(h, payload, nil)
}

// mediaTypeOf returns the media type of payloads of a kind.
func mediaTypeOf(kind string) string {
	k, ok := kinds.Lookup(kind)
	if !ok {
		panic("no such kind: " + kind)
	}
	return k.MediaType
}

// Apply puts a control set in force.
func (r *Rig) Apply(text []byte) uint64 {
	set, err := catalog.Parse(text)
	check(err)
	entries, err := set.Entries()
	check(err)
	var index uint64
	for _, e := range entries {
		h := &entry.Header{Kind: e.Kind, MediaType: mediaTypeOf(e.Kind), Submitter: Ada}
		if e.ID != "" {
			h.Controls = []string{e.ID}
		}
		index = r.Append(h, e.Payload, nil)
	}
	return index
}

// Erase erases the payload of an entry.
func (r *Rig) Erase(index uint64, reason string) {
	plan, err := r.Ledger.PlanErasure(context.Background(), r.Stream, index, false)
	check(err)
	k, _ := kinds.Lookup(kindname.Erasure)
	m := &munimentv1.Erasure{Index: &index, Scope: plan.Scope(), Reason: reason, Actor: Ada}
	payload, err := protojson.Marshal(m)
	check(err)
	r.Append(&entry.Header{Kind: kindname.Erasure, MediaType: k.MediaType, Attributes: k.Header(m).Attributes, Submitter: "log"}, payload, plan)
}

// Note returns the header of an entry that is about nothing.
func Note() *entry.Header {
	return &entry.Header{Kind: kindname.Attestation, MediaType: "application/json"}
}

// Digest returns the SHA-256 of a text as a digest set.
func Digest(text string) map[string]string {
	sum := sha256.Sum256([]byte(text))
	return map[string]string{"sha256": hex.EncodeToString(sum[:])}
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	check(err)
	return b
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// oneOf returns words from a list in turn, so that names are varied.
func oneOf(list string, i int) string {
	words := strings.Fields(list)
	return words[i%len(words)]
}

package exception

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/controls/keyevent"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/dsse"
)

// checkRegistration refuses to register a key that cannot sign for the person.
func (st *stream) checkRegistration(h *entry.Header, now time.Time) error {
	id, person := h.Attributes["keyId"], h.Attributes["person"]
	if id == "" { // an identity, which signs no requests
		return nil
	}
	events := st.keyEvents[id]
	k := keyevent.Registration(events, id)
	switch {
	case k != nil && k.By == h.Submitter && k.Key == h.IdempotencyKey:
		return nil // a retry
	case k != nil && SamePerson(k.Person, person):
		return refusalf("keyId", "entry %d has registered the key to %s", k.Index, k.Person)
	case k != nil:
		return refusalf("keyId", "entry %d registered the key to %s: make a key for each person", k.Index, k.Person)
	}
	return excludedNow(events, id, now)
}

// excludedNow returns a *Refusal if a key event excludes an entry of now from
// counting for the key.
func excludedNow(events []keyevent.Event, id string, now time.Time) error {
	for i := range events {
		if k := &events[i]; k.Excludes(&entry.Signer{KeyID: id}, now) {
			return refusalf("keyId", "the key %s was %s from %s (entry %d): make another key", id, k.Event, k.From.Format(time.RFC3339), k.Index)
		}
	}
	return nil
}

// checkSigned verifies a signed request for the log, as docs/spec/kinds.md
// defines it. The reader of the kind has checked its times.
func (p *Projection) checkSigned(ctx context.Context, s *ledger.Stream, st *stream, sub *Submission) error {
	used, id := sub.Request.GetUsed(), sub.Header.Attributes["keyId"]
	if used.GetOrigin() != sub.Origin {
		return refusalf("used.origin", "the request is for the log %q, not %s", used.GetOrigin(), sub.Origin)
	}
	if used.GetTenant() != sub.Tenant {
		return refusalf("used.tenant", "the request is for the tenant %q, not %s", used.GetTenant(), sub.Tenant)
	}
	events, at := st.keyEvents[id], used.GetTime().AsTime()
	k := keyevent.Registration(events, id)
	switch {
	case k == nil:
		return refusalf("signatures[0].keyid", "the key %s is not registered to a person: an admin or approver registers it with 'muniment signer register' before it is used", id)
	case k.Time.After(at), k.From.After(at):
		return refusalf("used.time", "the key %s was registered later, in entry %d, from %s", id, k.Index, k.From.Format(time.RFC3339))
	}
	if err := excludedNow(events, id, p.Now()); err != nil {
		return err
	}
	key, err := p.publicKey(ctx, s, k)
	if err != nil {
		return err
	}
	if _, err := sub.Envelope.Verify([]*dsse.Key{key}, 1); err != nil {
		return refusalf("signatures[0]", "%s", err)
	}
	return nil
}

// publicKey returns the key in the entry of a registration.
func (p *Projection) publicKey(ctx context.Context, s *ledger.Stream, k *keyevent.Event) (*dsse.Key, error) {
	e, _, err := p.Log.Next(ctx, p.Log.Published(), s, ledger.Filter{Kind: kindname.KeyEvent}, k.Index)
	if err != nil {
		return nil, fmt.Errorf("read the registration of a key: %w", err)
	}
	if e == nil || e.Index != k.Index {
		return nil, fmt.Errorf("registration of the key %s in entry %d: %w", k.KeyID, k.Index, ledger.ErrErased)
	}
	payload, err := p.Log.Payload(ctx, e)
	switch {
	case err != nil:
		return nil, err
	case payload == nil:
		return nil, refusalf("signatures[0]", "the payload of entry %d, which contains the registered key, is erased: register another key", k.Index)
	}
	m := &munimentv1.KeyEvent{}
	if err := protojson.Unmarshal(payload.Content, m); err != nil {
		return nil, fmt.Errorf("entry %d: %w", k.Index, plain.DecodeError(err))
	}
	return dsse.ParseKey("", []byte(m.PublicKey))
}

// Package keyevent reads the events in the lives of signers' keys, and decides
// for which entries a key counts.
//
// docs/spec/controls.md, section 4, specifies it.
package keyevent

import (
	"fmt"
	"time"

	"muniment.dev/muniment/internal/identity"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// Names of the events.
const (
	Registered  = "registered"
	Retired     = "retired"
	Compromised = "compromised"
)

// An Event is an entry of kind key-event. It names a key, or an identity and
// its issuer.
type Event struct {
	Index            uint64
	Time             time.Time // of the entry
	Event            string
	KeyID            string
	Identity, Issuer string
	From             time.Time
	Person           string // of Registered
	By               string // submitter of the entry
	Key              string // idempotency key of the entry
	NotAdmitted      bool   // by the admission policy
}

// Read returns the event that an entry describes.
func Read(e *ledger.Entry) (Event, error) {
	a := e.Header.Attributes
	from, err := time.Parse(time.RFC3339Nano, a["from"])
	if err != nil {
		return Event{}, fmt.Errorf("entry %d: invalid time %q", e.Index, a["from"])
	}
	return Event{
		Index: e.Index, Time: time.UnixMilli(int64(e.Skeleton.Time)).UTC(), Event: a["event"], KeyID: a["keyId"], Identity: a["identity"], Issuer: a["issuer"],
		From: from.UTC(), Person: a["person"], By: e.Header.Submitter, Key: e.Header.IdempotencyKey, NotAdmitted: e.Header.NotAdmitted(),
	}, nil
}

// Concerns reports whether the event is about a signer.
func (k *Event) Concerns(s *entry.Signer) bool {
	byKey := k.KeyID != "" && k.KeyID == s.KeyID
	byIdentity := k.Identity != "" && k.Identity == s.Identity && k.Issuer == s.Issuer
	return byKey || byIdentity
}

// Excludes reports whether an entry of the time does not count for a signer.
func (k *Event) Excludes(s *entry.Signer, at time.Time) bool {
	if !k.Concerns(s) {
		return false
	}
	switch k.Event {
	case Retired:
		return at.After(k.From)
	case Compromised:
		return !at.Before(k.From)
	}
	return false
}

// Registration returns the registration of a key, or nil. The events are in the
// order of their entries.
func Registration(events []Event, keyID string) *Event {
	for i := range events {
		if k := &events[i]; k.Event == Registered && k.KeyID != "" && k.KeyID == keyID && !k.NotAdmitted && identity.Person(k.By) != "" {
			return k
		}
	}
	return nil
}

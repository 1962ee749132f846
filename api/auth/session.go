package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A BrowserSession is the session of a person who has signed in with a
// provider. Each tenant's stream records it before the person first acts there,
// as it records the exchange of an identity token.
type BrowserSession struct {
	check func() error // returns an error once the session has ended
	id    [32]byte     // random, so that no two sessions have the same entry

	mu       sync.Mutex           // guards recorded
	recorded map[string]tokenHash // by tenant: the key of the newest entry
}

// NewBrowserSession returns a session that ends when check returns an error.
func NewBrowserSession(check func() error) *BrowserSession {
	s := &BrowserSession{check: check, recorded: map[string]tokenHash{}}
	rand.Read(s.id[:])
	return s
}

// A sessionDocument is the document of a config entry that records the session
// of a person in a browser. See docs/spec/kinds.md.
type sessionDocument struct {
	Role     string           `json:"role"`
	Kinds    []string         `json:"kinds,omitempty"`
	Expires  time.Time        `json:"expires"`
	Identity identityDocument `json:"identity"`
}

// recordSession records the person's session, and the rule and claims by which
// the person is admitted, unless the tenant's stream has them. The entry counts
// against the tenant's day but waits for no limit, because a token can be
// revoked above all limits.
func (a *Authenticator) recordSession(ctx context.Context, id *Identity) error {
	d := sessionDocument{Role: RoleName(id.Role), Kinds: id.Kinds, Expires: id.Expires.UTC().Truncate(time.Second), Identity: identityDocument{
		Issuer: id.person.Issuer, Subject: id.person.Subject, Rule: id.rule.Name, Claims: id.rule.Matched(id.person),
	}}
	known, err := json.Marshal(d) // without what each new identity token changes
	if err != nil {
		return err
	}
	key := sha256.Sum256(append(id.browser.id[:], known...))
	if id.browser.has(id.Tenant.Name, key) {
		return nil
	}
	d.Identity.Expires = id.person.Expires.UTC()
	document, err := json.Marshal(d)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s/%x", sessionType, key)
	who := ingest.Submitter{Tenant: id.Tenant.Name, Identity: ingest.ServerIdentity, Stream: id.Tenant.Stream, Valid: id.valid}
	r, err := a.cfg.Ingest.RecordOnce(ctx, who, kindname.Config, name, &munimentv1.Config{
		Name: name, Document: string(document), Digest: entry.SHA256(document), Actor: id.Name,
	})
	// r.Err concerns a receipt, or another request of the session was first.
	if err != nil && r.Err == nil {
		return err
	}
	id.browser.add(id.Tenant.Name, key)
	return nil
}

func (s *BrowserSession) has(tenant string, key tokenHash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	recorded, ok := s.recorded[tenant]
	return ok && recorded == key
}

func (s *BrowserSession) add(tenant string, key tokenHash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recorded[tenant] = key
}

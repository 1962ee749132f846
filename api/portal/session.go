package portal

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/oidc"
)

const (
	// maxSessions limits the sessions of the server. When there are as many,
	// the tenant with the most loses the one that was unused for longest.
	maxSessions = 10_000
	// maxOwn limits the sessions of one person or token: one for each browser.
	maxOwn = 16
	// maxTenants limits the tenants of one session.
	maxTenants = 32
)

// A key is the SHA-256 of a session's cookie, which has 256 random bits.
type key = [sha256.Size]byte

// A session belongs to one browser. Its fields are guarded by the mutex of its
// store.
type session struct {
	key key
	// seats are the identities, one for each tenant, ordered by tenant.
	seats    []*auth.Identity
	method   string               // see Methods
	provider string               // with which the person signed in; "" for tokens
	person   *oidc.Person         // nil for tokens
	browser  *auth.BrowserSession // of the person; nil for tokens
	recheck  time.Time            // when to ask the provider again; zero: never
	asking   bool                 // the provider is being asked
	// when the provider has last confirmed the person
	confirmed time.Time
	used      time.Time
	expires   time.Time
	ended     bool
}

// owner returns the tenant and the name that the session counts for.
func (s *session) owner() (tenant, name string) { return s.seats[0].Tenant.Name, s.seats[0].Name }

// sessions are the sessions of all browsers. They are kept in memory only: a
// restart ends them.
type sessions struct {
	now  func() time.Time
	idle time.Duration

	mu    sync.Mutex // guards the rest
	byKey map[key]*session
}

func newSessions(idle time.Duration, now func() time.Time) *sessions {
	return &sessions{now: now, idle: idle, byKey: map[key]*session{}}
}

// keyOf returns the key of a cookie's session.
func keyOf(value string) key { return sha256.Sum256([]byte(value)) }

// newCookie returns the value of a new session's cookie, and its key.
func newCookie() (value string, k key) {
	var b [32]byte
	rand.Read(b[:])
	value = base64.RawURLEncoding.EncodeToString(b[:])
	return value, keyOf(value)
}

// begin adds a session, and ends the one that it replaces, if any. It returns
// the value of its cookie. An old cookie is never used again, so that an
// attacker cannot prepare a browser with one.
func (ss *sessions) begin(s *session, replaces key) string {
	value, k := newCookie()
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if old := ss.byKey[replaces]; old != nil {
		ss.drop(old)
	}
	s.key, s.used = k, ss.now()
	ss.makeRoom(s)
	ss.byKey[k] = s
	return value
}

// makeRoom drops ended sessions, and those in excess of the limits. The caller
// holds ss.mu.
func (ss *sessions) makeRoom(s *session) {
	var own, count = []*session{}, map[string]int{}
	tenant, name := s.owner()
	for _, other := range ss.byKey {
		t, n := other.owner()
		switch {
		case ss.isOver(other):
			ss.drop(other)
		case t == tenant && n == name:
			own = append(own, other)
			count[t]++
		default:
			count[t]++
		}
	}
	if len(own) >= maxOwn {
		ss.drop(oldest(own))
		return
	}
	if len(ss.byKey) < maxSessions {
		return
	}
	most := ""
	for t, n := range count {
		if n > count[most] || n == count[most] && t < most {
			most = t
		}
	}
	var theirs []*session
	for _, other := range ss.byKey {
		if t, _ := other.owner(); t == most {
			theirs = append(theirs, other)
		}
	}
	ss.drop(oldest(theirs))
}

// oldest returns the session that was unused for longest.
func oldest(all []*session) *session {
	found := all[0]
	for _, s := range all[1:] {
		if s.used.Before(found.used) {
			found = s
		}
	}
	return found
}

// drop ends a session. The caller holds ss.mu.
func (ss *sessions) drop(s *session) {
	s.ended = true
	delete(ss.byKey, s.key)
}

// end ends a session.
func (ss *sessions) end(s *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.drop(s)
}

// isOver reports whether a session has ended. The caller holds ss.mu.
func (ss *sessions) isOver(s *session) bool {
	now := ss.now()
	return s.ended || !now.Before(s.expires) || now.Sub(s.used) >= ss.idle
}

// find returns the session of a cookie, or nil. Looking at a session does not
// use it.
func (ss *sessions) find(value string) *session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.byKey[keyOf(value)]
	if s != nil && ss.isOver(s) {
		ss.drop(s)
		return nil
	}
	return s
}

// use notes that a session is used. It reports whether the caller must ask the
// provider about the person.
func (ss *sessions) use(s *session) (ask bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s.used = ss.now()
	if s.recheck.IsZero() || s.asking || s.used.Before(s.recheck) {
		return false
	}
	s.asking = true
	return true
}

// check returns an error once the session has ended. Streams outlive requests,
// and a session that they alone use is not in use.
func (ss *sessions) check(s *session) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.isOver(s) {
		return auth.ErrSessionEnded
	}
	return nil
}

// seatsOf returns the session's identities.
func (ss *sessions) seatsOf(s *session) []*auth.Identity {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return s.seats
}

// count returns the number of sessions that have not ended.
func (ss *sessions) count() (n int) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, s := range ss.byKey {
		if !ss.isOver(s) {
			n++
		}
	}
	return n
}

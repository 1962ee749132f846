package cutover

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/internal/glob"
	"muniment.dev/muniment/internal/safetext"
)

// MaxBlockers is the number of blocking sessions that are named.
const MaxBlockers = 100

// maxQuery is the number of characters of a query that are shown.
const maxQuery = 200

// A Blocker is a session that holds a lock, or waits for one in front of the
// change. Its texts are escaped.
type Blocker struct {
	PID         int32         `json:"pid"` // 0 for a prepared transaction
	Started     time.Time     `json:"started,omitzero"`
	User        string        `json:"user,omitempty"`
	Application string        `json:"application,omitempty"`
	Client      string        `json:"client,omitempty"` // address
	State       string        `json:"state,omitempty"`
	Age         time.Duration `json:"age,omitzero"`     // of its transaction
	Query       string        `json:"query,omitempty"`  // its last one, shortened
	Action      string        `json:"action,omitempty"` // cancelled or terminated
	Error       string        `json:"error,omitempty"`  // why the action failed
}

// String returns the blocker for people.
func (b Blocker) String() string {
	if b.PID == 0 {
		return "a prepared transaction (see pg_prepared_xacts)"
	}
	text := fmt.Sprintf("pid %d (user %s, application %s, %s for %s): %s", b.PID, cmp.Or(b.User, "unknown"),
		cmp.Or(b.Application, "unknown"), cmp.Or(b.State, "unknown state"), b.Age.Round(time.Millisecond), b.Query)
	if b.Action != "" {
		text += ", " + b.Action
	}
	return text
}

// A Force selects the sessions that may be ended if they block a change. Users
// and Applications are globs. A session must match one of each list that is not
// empty. If both lists are empty, no session matches.
type Force struct {
	Users        []string
	Applications []string      // application_name
	States       []string      // such as "idle in transaction"; empty for any
	MinAge       time.Duration // of the transaction

	// TerminateAfter is the time after which a session that still blocks the
	// change is terminated. Before, its query is cancelled, which has no effect
	// on a session that is idle in a transaction. Zero never terminates.
	TerminateAfter time.Duration
}

// matches reports whether a session may be ended. It uses the session's
// original names.
func (f *Force) matches(user, application, state string, age time.Duration) bool {
	any := func(globs []string, name string) bool {
		return len(globs) == 0 || slices.ContainsFunc(globs, func(g string) bool { return glob.MatchText(g, name) })
	}
	return len(f.Users)+len(f.Applications) > 0 && any(f.Users, user) && any(f.Applications, application) &&
		(len(f.States) == 0 || slices.Contains(f.States, state)) && age >= f.MinAge
}

// An identity is that of a session. Process IDs are reused.
type identity struct {
	pid     int32
	started int64 // microseconds
}

// A sighting is what is known about a blocker.
type sighting struct {
	Blocker
	first time.Time // when it was first seen
}

// blockers collects the sessions that block the attempts of a change.
type blockers struct {
	policy Policy

	mu    sync.Mutex // guards the rest
	seen  map[identity]*sighting
	order []identity
}

func newBlockers(policy Policy) *blockers {
	return &blockers{policy: policy, seen: map[identity]*sighting{}}
}

// list returns all blockers in the order in which they were first seen.
func (b *blockers) list() (all []Blocker) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range b.order {
		all = append(all, b.seen[id].Blocker)
	}
	return all
}

// A watcher observes the blockers of one attempt.
type watcher struct {
	quit chan struct{}
	done chan struct{}
	ids  map[identity]bool // owned by the goroutine until done is closed
	b    *blockers
}

// watch observes what the session pid waits for, by another connection, until
// the watcher is stopped. It asks at most ten times per second, because
// pg_blocking_pids locks the shared table of locks.
func (b *blockers) watch(ctx context.Context, conn *pgx.Conn, pid uint32) *watcher {
	w := &watcher{quit: make(chan struct{}), done: make(chan struct{}), ids: map[identity]bool{}, b: b}
	interval := min(max(b.policy.LockTimeout/10, 10*time.Millisecond), 100*time.Millisecond)
	go func() {
		defer close(w.done)
		again := time.NewTicker(interval)
		defer again.Stop()
		for {
			select {
			case <-w.quit:
				return
			case <-ctx.Done():
				return
			case <-again.C:
				if err := w.look(ctx, conn, pid); err != nil {
					return // the next attempt opens the connection again
				}
			}
		}
	}()
	return w
}

// stop ends the observation, and returns the blockers of the attempt.
func (w *watcher) stop() (list []Blocker) {
	close(w.quit)
	<-w.done
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	for _, id := range w.b.order {
		if w.ids[id] {
			list = append(list, w.b.seen[id].Blocker)
		}
	}
	return list
}

// blocking lists the sessions that block another one.
const blocking = `SELECT b.pid, a.backend_start, coalesce(a.usename, '')::text, coalesce(a.application_name, ''),
		coalesce(host(a.client_addr), ''), coalesce(a.state, ''),
		coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::float8,
		coalesce(left(a.query, $2), ''), coalesce(a.backend_type = 'client backend', false)
	FROM (SELECT DISTINCT unnest(pg_blocking_pids($1)) AS pid) AS b LEFT JOIN pg_stat_activity a USING (pid) ORDER BY b.pid`

// look records the present blockers, and ends those that the policy allows to
// end.
func (w *watcher) look(ctx context.Context, conn *pgx.Conn, pid uint32) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	rows, err := conn.Query(ctx, blocking, pid, maxQuery+1)
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s session, err error) {
		var started *time.Time
		var seconds float64
		err = row.Scan(&s.PID, &started, &s.user, &s.application, &s.Client, &s.state, &seconds, &s.query, &s.client)
		if started != nil {
			s.Started = *started
		}
		s.Age = time.Duration(seconds * float64(time.Second))
		return s, err
	})
	if err != nil {
		return err
	}
	for _, s := range found {
		if err := w.handle(ctx, conn, pid, s); err != nil {
			return err
		}
	}
	return nil
}

// A session is a row of the query above.
type session struct {
	Blocker
	user, application, state, query string // not escaped
	client                          bool   // it is one of a client, not a process of the server
}

// handle records a blocker, and ends it if the policy allows that.
func (w *watcher) handle(ctx context.Context, conn *pgx.Conn, waiting uint32, s session) error {
	now := w.b.policy.Now()
	known, ok := w.b.record(s, now)
	if !ok {
		return nil
	}
	id := identity{s.PID, s.Started.UnixMicro()}
	w.ids[id] = true
	f := w.b.policy.Force
	if f == nil || !s.client || !f.matches(s.user, s.application, s.state, s.Age) {
		return nil
	}
	function, action := "pg_cancel_backend", "cancelled"
	if f.TerminateAfter > 0 && now.Sub(known.first) >= f.TerminateAfter {
		function, action = "pg_terminate_backend", "terminated"
	} else if known.Action != "" {
		return nil // it was cancelled once
	}
	var done bool
	err := conn.QueryRow(ctx, "SELECT "+function+`(pid) FROM pg_stat_activity
		WHERE pid = $1 AND backend_start = $2 AND pid = ANY (pg_blocking_pids($3)) AND state IS NOT DISTINCT FROM $4`,
		s.PID, s.Started, waiting, s.state).Scan(&done)
	switch {
	case err == pgx.ErrNoRows:
		return nil // it has ended, or does something else
	case code(err) != "":
		w.b.update(id, "", err.Error())
		return nil
	case err != nil:
		return err
	case done:
		w.b.update(id, action, "")
	}
	return nil
}

// record adds or updates a blocker. It reports false if there are too many.
func (b *blockers) record(s session, now time.Time) (sighting, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := identity{s.PID, s.Started.UnixMicro()}
	known, ok := b.seen[id]
	if !ok {
		if len(b.order) >= MaxBlockers {
			return sighting{}, false
		}
		known = &sighting{first: now}
		b.seen[id] = known
		b.order = append(b.order, id)
	}
	s.User, s.Application = safetext.Quoted(s.user), safetext.Quoted(s.application)
	s.State, s.Query = safetext.Quoted(s.state), shorten(s.query)
	s.Action, s.Error = known.Action, known.Error
	known.Blocker = s.Blocker
	return *known, true
}

func (b *blockers) update(id identity, action, failure string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.seen[id]
	known.Action, known.Error = cmp.Or(action, known.Action), failure
}

// shorten returns a query on one line, escaped and with at most maxQuery
// characters.
func shorten(query string) string {
	text := []rune(strings.Join(strings.Fields(query), " "))
	if len(text) > maxQuery {
		text = append(text[:maxQuery], '…')
	}
	return safetext.Quoted(string(text))
}

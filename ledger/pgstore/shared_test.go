package pgstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/internal/peers/postgresrig"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/storetest"
)

// at returns a location on a port.
func at(location, port string) string {
	return strings.Replace(location, "127.0.0.1:"+server.Port, "127.0.0.1:"+port, 1)
}

func openAt(t *testing.T, location string) *Store {
	t.Helper()
	s, err := Engine{}.Open(t.Context(), location, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s.(*Store)
}

// named gives the commit an ID, as the ledger does.
func named(c *store.Commit, id byte) *store.Commit {
	c.ID = [16]byte{id}
	return c
}

// settle proposes a commit until it is decided.
func settle(t *testing.T, s store.Store, c *store.Commit) error {
	t.Helper()
	var err error
	until(t, "the commit is decided", func() bool {
		err = s.Commit(t.Context(), c)
		return !errors.Is(err, store.ErrUndecided)
	})
	return err
}

// TestTwoWriters makes servers compete for each place. One of them wins each,
// and all of its rows are there.
func TestTwoWriters(t *testing.T) {
	location := newLocation(t)
	writers := []*Store{openAt(t, location), openAt(t, location), openAt(t, location)}
	first, err := writers[0].Follow(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range writers {
		if st, err := s.Follow(t.Context(), 0); err != nil || st.Secret != first.Secret {
			t.Fatalf("the servers have the secrets %x and %x (error %v)", first.Secret, st.Secret, err)
		}
	}
	m := storetest.NewModel()
	sources := []*storetest.Source{storetest.NewSource(1), storetest.NewSource(1), storetest.NewSource(1)}
	for round := range 30 {
		commits, outcomes := make([]*store.Commit, len(writers)), make([]error, len(writers))
		var wg sync.WaitGroup
		for i, s := range writers {
			commits[i] = named(sources[i].Next(1+round%5), byte(i+1))
			wg.Go(func() { outcomes[i] = s.Commit(context.Background(), storetest.Clone(commits[i])) })
		}
		wg.Wait()
		won := 0
		for i, err := range outcomes {
			switch {
			case err == nil:
				won++
				m.Commit(commits[i])
			case !errors.Is(err, store.ErrLost):
				t.Fatalf("round %d: %v", round, err)
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d commits have won: %v", round, won, outcomes)
		}
	}
	for _, s := range writers {
		st, err := s.Follow(t.Context(), m.Size())
		if err == nil {
			err = m.CheckState(st)
		}
		if err == nil {
			err = m.Check(t.Context(), s)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A proxy forwards connections, and can withhold answers.
type proxy struct {
	port string
	// cut is set to end each connection at its next answer.
	cut atomic.Bool
	// hold is closed to let requests pass that are held, or nil.
	hold atomic.Pointer[chan struct{}]
}

func newProxy(t *testing.T, port string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_, own, _ := net.SplitHostPort(l.Addr().String())
	p := &proxy{port: own}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.forward(client, port)
		}
	}()
	return p
}

func (p *proxy) forward(client net.Conn, port string) {
	defer client.Close()
	upstream, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return
	}
	defer upstream.Close()
	go func() {
		_ = copyEach(upstream, client, func() bool {
			if hold := p.hold.Load(); hold != nil {
				<-*hold
			}
			return true
		})
		_ = upstream.(*net.TCPConn).CloseWrite()
	}()
	_ = copyEach(client, upstream, func() bool { return !p.cut.Load() })
}

// copyEach copies while before returns true.
func copyEach(to io.Writer, from io.Reader, before func() bool) error {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return err
		}
		if !before() {
			return nil
		}
		if _, err := to.Write(b[:n]); err != nil {
			return err
		}
	}
}

// TestLostAnswers loses the answer to each commit. Its outcome is undecided,
// and it is found to have won when it is proposed again.
func TestLostAnswers(t *testing.T) {
	p := newProxy(t, server.Port)
	s := openAt(t, at(newLocation(t), p.port))
	src, m := storetest.NewSource(2), storetest.NewModel()
	for i := range 10 {
		c := named(src.Next(3), byte(i+1))
		p.cut.Store(true)
		if err := s.Commit(t.Context(), c); !errors.Is(err, store.ErrUndecided) {
			t.Fatalf("a lost answer: %v", err)
		}
		p.cut.Store(false)
		if err := settle(t, s, c); err != nil {
			t.Fatal(err)
		}
		m.Commit(c)
	}
	if err := m.Check(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// TestZombie delays the request of a server until another one has its place.
func TestZombie(t *testing.T) {
	p := newProxy(t, server.Port)
	location := newLocation(t)
	zombie, other := openAt(t, at(location, p.port)), openAt(t, location)
	src, m := storetest.NewSource(3), storetest.NewModel()
	c := named(src.Next(2), 1)
	m.Commit(c)
	if err := zombie.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	late := named(storetest.NewSource(4).Next(2), 2)
	late.From, late.Keys, late.Postings = 2, nil, nil
	hold := make(chan struct{})
	p.hold.Store(&hold)
	outcome := make(chan error, 1)
	go func() { outcome <- zombie.Commit(context.Background(), late) }()
	for range 3 {
		c := named(src.Next(2), 3)
		if err := other.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		m.Commit(c)
	}
	p.hold.Store(nil)
	close(hold)
	err := <-outcome
	if errors.Is(err, store.ErrUndecided) {
		err = settle(t, zombie, late)
	}
	if !errors.Is(err, store.ErrLost) {
		t.Fatalf("the zombie's commit: %v", err)
	}
	if err := m.Check(t.Context(), zombie); err != nil {
		t.Fatal(err)
	}
}

// TestUndurable changes settings while a log is open. Commits are refused, and
// nothing of them is written.
func TestUndurable(t *testing.T) {
	s := openAt(t, newLocation(t))
	src, m := storetest.NewSource(5), storetest.NewModel()
	c := src.Next(2)
	if err := s.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	m.Commit(c)
	refused := named(storetest.NewSource(5).Next(2), 9)
	refused.From = 2
	conn, err := pgx.Connect(t.Context(), server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	const restore = `ALTER ROLE postgres RESET synchronous_commit`
	defer conn.Exec(context.Background(), restore)
	if _, err := conn.Exec(t.Context(), `ALTER ROLE postgres SET synchronous_commit = off`); err != nil {
		t.Fatal(err)
	}
	s.pool.Reset() // settings of roles are those of new connections
	if err := s.Commit(t.Context(), refused); err == nil || !strings.Contains(err.Error(), "set synchronous_commit = on") {
		t.Errorf("a commit without synchronous_commit: %v", err)
	}
	if err := m.Check(t.Context(), s); err != nil {
		t.Error(err)
	}
	if _, err := (Engine{}).Open(t.Context(), newLocation(t), store.Options{}); err == nil || !strings.Contains(err.Error(), "set synchronous_commit = on") {
		t.Errorf("a log is opened without synchronous_commit: %v", err)
	}
	without := strings.Replace(newLocation(t), "single_node=true&", "", 1)
	if _, err := conn.Exec(t.Context(), restore); err != nil {
		t.Fatal(err)
	}
	if _, err := (Engine{}).Open(t.Context(), without, store.Options{}); err == nil || !strings.Contains(err.Error(), "name a synchronous standby") {
		t.Errorf("a log is opened without a standby: %v", err)
	}
}

func newPair(t *testing.T) *postgresrig.Pair {
	p, err := postgresrig.StartPair(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// inPair returns the location of a log that does not exist. It has both
// servers, of which the primary is used.
func inPair(p *postgresrig.Pair) string {
	return fmt.Sprintf("%s&schema=log_%d&server=test", strings.TrimPrefix(p.URL(postgresrig.User), "postgres:"), places.Add(1))
}

// TestUnconfirmed cancels the wait for the standby. The commit is visible on
// the primary, and its outcome is undecided until the standby has it.
func TestUnconfirmed(t *testing.T) {
	p := newPair(t)
	s := openAt(t, inPair(p))
	src, m := storetest.NewSource(6), storetest.NewModel()
	c := named(src.Next(2), 1)
	if err := s.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	m.Commit(c)

	p.Standby.Shutdown()
	c = named(src.Next(2), 2)
	outcome := make(chan error, 1)
	go func() { outcome <- s.Commit(context.Background(), c) }()
	cancelWait(t, p.Primary)
	if err := <-outcome; !errors.Is(err, store.ErrUndecided) {
		t.Fatalf("a commit that the standby lacks: %v", err)
	}
	size, err := value[int64](t.Context(), s, "size", `SELECT max(size) FROM $commits`)
	if err != nil || size != 4 {
		t.Fatalf("the commit is not visible on the primary: size %d, error %v", size, err)
	}

	// To ask again is to wait for the standby.
	again := make(chan error, 1)
	go func() { again <- s.Commit(context.Background(), c) }()
	cancelWait(t, p.Primary)
	if err := <-again; !errors.Is(err, store.ErrUndecided) {
		t.Fatalf("a commit that the standby still lacks: %v", err)
	}
	follow := make(chan error, 1)
	go func() { _, err := s.Follow(context.Background(), 2); follow <- err }()
	cancelWait(t, p.Primary)
	if err := <-follow; err == nil {
		t.Fatal("a state is shown that the standby lacks")
	}

	if err := p.Standby.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := settle(t, s, c); err != nil {
		t.Fatal(err)
	}
	m.Commit(c)
	if err := m.Check(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// cancelWait cancels the next wait for the standby.
func cancelWait(t *testing.T, r *postgresrig.Rig) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), r.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	until(t, "a transaction waits for the standby", func() bool {
		var cancelled bool
		err := conn.QueryRow(t.Context(), `SELECT coalesce(bool_or(pg_cancel_backend(pid)), false) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`).Scan(&cancelled)
		return err == nil && cancelled
	})
}

// TestFailover kills the primary and promotes the standby. What was won is in
// the log, which goes on once the new primary has a standby.
func TestFailover(t *testing.T) {
	p := newPair(t)
	location := inPair(p)
	s := openAt(t, location)
	src, m := storetest.NewSource(7), storetest.NewModel()
	rng := rand.New(rand.NewPCG(7, 7))
	for i := range 10 {
		c := named(src.Next(1+rng.IntN(20)), byte(i+1))
		if err := s.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		m.Commit(c)
	}
	c := named(src.Next(3), 99)
	if err := p.Primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), c); !errors.Is(err, store.ErrUndecided) {
		t.Fatalf("a commit without a database: %v", err)
	}
	for what, read := range map[string]func() error{
		"state":     func() error { _, err := s.Follow(t.Context(), 0); return err },
		"skeletons": func() error { _, err := s.Skeletons(t.Context(), 0, 1); return err },
		"tile":      func() error { _, err := s.Tile(t.Context(), 0, 0); return err },
	} {
		if err := read(); !errors.Is(err, store.ErrNoAnswer) {
			t.Errorf("read of the %s without a database: %v", what, err)
		}
	}
	if err := p.Standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The new primary has no standby, so nothing is committed to it.
	until(t, "the new primary refuses the commit", func() bool {
		err := s.Commit(t.Context(), c)
		if !errors.Is(err, store.ErrUndecided) {
			t.Fatalf("a commit to a primary without a standby: %v", err)
		}
		return strings.Contains(err.Error(), "name a synchronous standby")
	})
	second, err := p.Standby.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Stop)
	if err := p.Standby.RequireStandby(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, location)
	st, err := s.Follow(t.Context(), m.Size())
	if err == nil {
		err = m.CheckState(st)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := settle(t, s, c); err != nil {
		t.Fatal(err)
	}
	m.Commit(c)
	if err := m.Check(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// TestNoSecrets looks for the password in all errors of a location.
func TestNoSecrets(t *testing.T) {
	for _, location := range []string{
		"//user:hunter2@127.0.0.1:1/db", "//user:hunter2@127.0.0.1:1/db?sslmode=wrong", "//user:hunter2@127.0.0.1:1/db?schema=%00",
		"//user:hunter2@127.0.0.1:1/db?single_node=perhaps", "//user:hunter2@[::1/db", "//user:hunter2@127.0.0.1:port/db", "//user:hunter2@127.0.0.1:1/db?pool_max_conns=many",
	} {
		_, err := Engine{}.Open(t.Context(), location, store.Options{})
		if err == nil || bytes.Contains([]byte(err.Error()), []byte("hunter2")) {
			t.Errorf("the error of %s is %v", location, err)
		}
	}
}

// until waits until done returns true.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(soak.Patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s, not yet: %s", soak.Patience, what)
		}
	}
}

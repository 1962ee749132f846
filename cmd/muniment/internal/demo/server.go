package main

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"sync"
	"time"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/witness"
)

// A clock stands still until it is set. It is the clock of the server that
// records the two weeks.
type clock struct {
	mu         sync.Mutex
	start, now time.Time
}

// Now implements ledger.Clock.
func (c *clock) Now() (wall time.Time, monotonic time.Duration) {
	now := c.time()
	return now, now.Sub(c.start)
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// set moves the clock forward. Times of entries never decrease.
func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.now) {
		c.now = t
	}
}

// A server serves the API of the log in a data folder, as 'muniment serve'
// does, but with another clock.
type server struct {
	url    string
	ledger *ledger.Ledger
	store  store.Store
	api    *api.Server
	http   *httptest.Server
}

func startServer(ctx context.Context, data string, c *clock) (*server, error) {
	d, err := datadir.Load(data)
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	s := &server{}
	if s.store, err = datadir.OpenStore(ctx, d.Path, d.LogStore(), log); err != nil {
		return nil, err
	}
	if err := s.open(ctx, d, c, log); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *server) open(ctx context.Context, d *datadir.Dir, c *clock, log *slog.Logger) error {
	policies, _, err := d.LoadPolicies()
	if err != nil {
		return err
	}
	failed := func(err error) { log.Error("commit", "err", err) } // later appends fail
	s.ledger, err = ledger.Open(ctx, ledger.Config{
		Store: s.store, Signer: d.Signer, Quorum: witness.Quorum(policies), Clock: c, Governs: ingest.Governs, Fatal: failed, Logger: log,
	})
	if err != nil {
		return err
	}
	admission, err := datadir.NewAdmission(d, s.ledger, log)
	if err != nil {
		return err
	}
	s.api, err = api.New(ctx, api.Config{
		Ledger: s.ledger, Admission: admission, Settings: d.Settings(), Portal: d.Portal(), Logger: log, Metrics: api.NewMetrics("demo"),
		GateKey: d.Gate, Policy: policies[0], Now: c.time,
	})
	if err != nil {
		return err
	}
	s.http = httptest.NewServer(s.api.Handler())
	s.url = s.http.URL
	return nil
}

// close finishes the calls, and closes the log.
func (s *server) close() error {
	if s.http != nil {
		s.api.Drain()
		s.http.Close()
	}
	if s.ledger != nil {
		s.ledger.Close()
	}
	return s.store.Close()
}

// Package lease elects the server that should commit, among those that share a
// log.
//
// The others forward what they are asked to record, so that servers do not
// compete. Nothing depends on there being only one at a time: the store decides
// which commits are won. Time is only compared with the clock of the same
// server.
package lease

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"muniment.dev/muniment/ledger/store"
)

// A Config configures an Elector. Leases and URL are required.
type Config struct {
	Leases store.Leases
	URL    string // at which the other servers reach this one
	// Renew is the interval at which the holder renews the lease, and the
	// others look at it; 0: 300 ms.
	Renew time.Duration
	// Silence is how long a lease is not renewed before another server takes
	// it; 0: 1.5 s.
	Silence time.Duration
	Logger  *slog.Logger
	// Won is called when this server has taken the lease; nil: not.
	Won func()
	// Hanging returns how long the commit that this server waits for has been
	// under way. The holder gives up the lease when that is longer than
	// MaxHang, and takes it again only after that commit; nil: never.
	Hanging func() time.Duration
	MaxHang time.Duration // 0: 5 s
	// Ready returns the reason why this server refuses appends, such as its
	// clock. It then leaves the lease to another one; nil: never.
	Ready func() error
}

// An Elector takes part in the election for one server.
type Elector struct {
	cfg      Config
	holder   [16]byte
	writer   atomic.Pointer[Writer]
	resigned chan struct{} // closed by Resign
	resign   sync.Once
}

// A Writer is the server that should commit, as far as another one knows.
type Writer struct {
	URL  string // empty: unknown
	Self bool   // it is the server that asks
}

// New returns an Elector. Run takes part in the election.
func New(cfg Config) *Elector {
	if cfg.Renew == 0 {
		cfg.Renew = 300 * time.Millisecond
	}
	if cfg.Silence == 0 {
		cfg.Silence = 1500 * time.Millisecond
	}
	if cfg.MaxHang == 0 {
		cfg.MaxHang = 5 * time.Second
	}
	if cfg.Hanging == nil {
		cfg.Hanging = func() time.Duration { return 0 }
	}
	if cfg.Ready == nil {
		cfg.Ready = func() error { return nil }
	}
	e := &Elector{cfg: cfg, resigned: make(chan struct{})}
	rand.Read(e.holder[:]) // never fails: see crypto/rand
	e.writer.Store(&Writer{})
	return e
}

// Writer returns the server that should commit.
func (e *Elector) Writer() Writer { return *e.writer.Load() }

// Resign gives up the lease at once, and takes it no more. Until Run ends, the
// elector still follows which server takes it.
func (e *Elector) Resign() { e.resign.Do(func() { close(e.resigned) }) }

func (e *Elector) hasResigned() bool {
	select {
	case <-e.resigned:
		return true
	default:
		return false
	}
}

// A watched lease is what an Elector knows of the lease.
type watched struct {
	lease store.Lease
	since time.Time // when this beat was first seen; zero: nothing was seen yet
	asked time.Time // when the store last answered
}

// Run takes part in the election until the context ends, and then gives up the
// lease, so that another server need not wait for its silence.
func (e *Elector) Run(ctx context.Context) {
	t := time.NewTicker(e.cfg.Renew)
	defer t.Stop()
	var w watched
	resigned := e.resigned
	for {
		e.look(ctx, &w)
		select {
		case <-t.C:
		case <-resigned:
			resigned = nil
		case <-ctx.Done():
			e.giveUp()
			return
		}
	}
}

// look looks at the lease once, and renews or takes it.
func (e *Elector) look(ctx context.Context, w *watched) {
	limited, cancel := context.WithTimeout(ctx, e.cfg.Silence)
	defer cancel()
	l, err := e.cfg.Leases.Lease(limited)
	if err == nil {
		now := time.Now()
		w.asked = now
		if w.since.IsZero() || l.Beat != w.lease.Beat {
			w.since = now
		}
		w.lease = l
		err = e.claim(limited, w)
	}
	if err == nil || ctx.Err() != nil || time.Since(w.asked) < e.cfg.Silence {
		return
	}
	// Another server may have taken the lease.
	if e.writer.Swap(&Writer{}).URL != "" {
		e.cfg.Logger.Warn("the lease of the log cannot be read: this server records what it is asked to record", "err", err)
	}
}

// claim renews the lease if it is this server's, and takes it if it is free.
func (e *Elector) claim(ctx context.Context, w *watched) error {
	mine := w.lease.Holder == e.holder
	free := w.lease.Holder == [16]byte{} || time.Since(w.since) >= e.cfg.Silence
	if !mine && !free {
		e.writer.Store(&Writer{URL: w.lease.URL})
		return nil
	}
	if e.hasResigned() {
		return e.release(ctx, w, mine)
	}
	if hanging := e.cfg.Hanging(); hanging > e.cfg.MaxHang {
		if mine {
			e.cfg.Logger.Warn("a commit of this server hangs: it gives up the lease of the log, so that another server can take it", "for", hanging)
		}
		return e.release(ctx, w, mine)
	}
	if err := e.cfg.Ready(); err != nil {
		if mine {
			e.cfg.Logger.Warn("this server refuses appends: it gives up the lease of the log, so that another server can take it", "err", err)
		}
		return e.release(ctx, w, mine)
	}
	taken, err := e.cfg.Leases.TakeLease(ctx, w.lease.Beat, store.Lease{Holder: e.holder, URL: e.cfg.URL})
	if err != nil || !taken { // another server was first: the next look shows which
		return err
	}
	w.lease = store.Lease{Beat: w.lease.Beat + 1, Holder: e.holder, URL: e.cfg.URL}
	w.since = time.Now()
	e.writer.Store(&Writer{URL: e.cfg.URL, Self: true})
	if !mine {
		e.cfg.Logger.Info("this server records what the servers of the log are asked to record")
		if e.cfg.Won != nil {
			e.cfg.Won()
		}
	}
	return nil
}

// release frees the lease if it is this server's.
func (e *Elector) release(ctx context.Context, w *watched, mine bool) error {
	e.writer.Store(&Writer{})
	if !mine {
		return nil
	}
	_, err := e.cfg.Leases.TakeLease(ctx, w.lease.Beat, store.Lease{})
	return err
}

// giveUp frees the lease if it is this server's.
func (e *Elector) giveUp() {
	if !e.writer.Swap(&Writer{}).Self {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), e.cfg.Silence)
	defer cancel()
	l, err := e.cfg.Leases.Lease(ctx)
	if err == nil && l.Holder == e.holder {
		_, err = e.cfg.Leases.TakeLease(ctx, l.Beat, store.Lease{})
	}
	if err != nil {
		e.cfg.Logger.Warn("the lease of the log could not be given up; another server takes it after some time", "err", err)
	}
}

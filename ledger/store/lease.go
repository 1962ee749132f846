package store

import (
	"context"
	"time"
)

// A Lease names the server that should commit among those that share a log. It
// spares them competing. No promise of a store depends on it, or on a clock.
type Lease struct {
	Beat   uint64   // grows whenever the lease is taken or renewed
	Holder [16]byte // drawn by the holder; zero: none
	URL    string   // at which other servers reach the holder
}

// Leases is implemented by stores that several servers share.
type Leases interface {
	// Lease returns the present lease.
	Lease(ctx context.Context) (Lease, error)
	// TakeLease replaces the lease with the beat by l, whose own beat is
	// ignored. It reports whether it has: another server may have been first.
	TakeLease(ctx context.Context, beat uint64, l Lease) (bool, error)
}

// A Timekeeper is a store with a clock that all its servers can ask.
type Timekeeper interface {
	// Time returns the time of that clock.
	Time(ctx context.Context) (time.Time, error)
}

package pebblestore

import (
	"context"

	"muniment.dev/muniment/ledger/store"
)

// Engine opens stores by the paths of their folders.
type Engine struct{}

var _ store.Engine = Engine{}

// Open implements store.Engine.
func (Engine) Open(_ context.Context, dir string, o store.Options) (store.Store, error) {
	s, err := Open(dir, o)
	if err != nil {
		return nil, err // s is a nil pointer, and would be no nil interface
	}
	return s, nil
}

// OpenReadOnly implements store.Engine.
func (Engine) OpenReadOnly(_ context.Context, dir string, o store.Options) (store.Store, error) {
	s, err := OpenReadOnly(dir, o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Examine implements store.Engine.
func (Engine) Examine(_ context.Context, dir string, o store.Options) (store.Examination, error) {
	return Examine(dir, o)
}

// Snapshot implements store.Engine.
func (Engine) Snapshot(ctx context.Context, dir, scratch string) (*store.Snapshot, error) {
	return TakeSnapshot(ctx, dir, scratch)
}

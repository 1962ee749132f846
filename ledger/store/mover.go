package store

import (
	"context"
	"errors"
)

// ErrExists is the error of a copy to a place that has a store already.
var ErrExists = errors.New("there is a store already")

// A Mover is an Engine from which and to which logs are moved. A log is moved
// in this order, so that at most one of its stores can be opened for writing:
//
//	Stage    a copy is made where no server looks for a store, and verified
//	Retire   the source refuses to be opened for writing, and all commits
//	Install  the copy is put in place
//
// The same move can be made again after it was interrupted at any time.
type Mover interface {
	Engine

	// Stage returns the location of the copy while it is made. The error is
	// ErrExists if there is a store at the location, or ErrInUse if a server
	// has it open.
	Stage(ctx context.Context, location string) (string, error)

	// Discard deletes the copy that Install would put in place, if there is
	// one.
	Discard(ctx context.Context, location string) error

	// Install puts the copy from the location's stage in place. No process may
	// have it open. The error is ErrExists if a store was made there meanwhile.
	Install(ctx context.Context, location string) error

	// Retire makes every later Open of the store, and every commit, fail with
	// ErrMoved. The log must have the size; if it has grown, nothing is
	// changed. OpenReadOnly goes on. A store that only one process can have
	// open is open for reading in this one. The name is that of the store which
	// the log is moved to. A log that was moved to another one is not moved
	// again: the error is ErrMoved.
	Retire(ctx context.Context, location string, size uint64, name string) error

	// Revive undoes Retire.
	Revive(ctx context.Context, location string) error

	// Name returns the location as it is shown to people, without secrets.
	Name(location string) string
}

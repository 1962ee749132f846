package memstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"muniment.dev/muniment/ledger/store"
)

// An Engine keeps stores in memory, under names, until the process ends. A
// store that was closed can be opened again. The zero value is ready to use.
type Engine struct {
	mu    sync.Mutex
	disks map[string]*disk
}

var _ store.Engine = (*Engine)(nil)

// A disk is the place of one store.
type disk struct {
	mu    sync.Mutex
	inUse bool
	last  *Store      // nil if there is no store
	mark  *store.Mark // nil if nothing was written yet
	moved string      // name of the store that the log was moved to, or ""
}

func (e *Engine) disk(name string) *disk {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.disks == nil {
		e.disks = map[string]*disk{}
	}
	if e.disks[name] == nil {
		e.disks[name] = &disk{}
	}
	return e.disks[name]
}

// Open implements store.Engine.
func (e *Engine) Open(_ context.Context, name string, o store.Options) (store.Store, error) {
	d := e.disk(name)
	last, err := d.prove(o, func(last *Store) error {
		if o.Scratch && last != nil {
			return errors.New("it is not empty")
		}
		return d.checkMoved()
	})
	if err != nil {
		return nil, fmt.Errorf("open store %s in memory: %w", name, err)
	}
	s := newStore(o.Raw)
	if o.Secret != nil {
		s.secret = *o.Secret
	}
	if last != nil {
		s = last.Restart()
	}
	s.disk = d
	d.begin(s, !o.Scratch)
	return s, nil
}

// OpenReadOnly implements store.Engine.
func (e *Engine) OpenReadOnly(_ context.Context, name string, o store.Options) (store.Store, error) {
	d := e.disk(name)
	last, err := d.prove(o, func(last *Store) error {
		if last == nil {
			return fmt.Errorf("there is no store: %w", store.ErrNotFound)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open store %s in memory for reading: %w", name, err)
	}
	s := reader(last)
	s.disk = d
	return s, nil
}

// Examine implements store.Engine.
func (e *Engine) Examine(context.Context, string, store.Options) (store.Examination, error) {
	return nil, fmt.Errorf("examine a store in memory: %w", errors.ErrUnsupported)
}

// Snapshot implements store.Engine.
func (e *Engine) Snapshot(context.Context, string, string) (*store.Snapshot, error) {
	return nil, fmt.Errorf("snapshot of a store in memory: %w", errors.ErrUnsupported)
}

// prove takes the disk and returns its last store, or nil. It gives the disk
// back if the check, or one of the options, refuses the store.
func (d *disk) prove(o store.Options, check func(last *Store) error) (_ *Store, err error) {
	last, mark, err := d.take()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.release()
		}
	}()
	if last != nil && last.raw != o.Raw {
		return nil, errors.New("it holds a log of the other kind, raw or of streams")
	}
	if err := check(last); err != nil {
		return nil, err
	}
	return last, proveOptions(last, mark, o)
}

func proveOptions(last *Store, m *store.Mark, o store.Options) error {
	switch {
	case o.Prove == nil:
		return nil
	case last == nil:
		return o.Prove(nil, m)
	}
	r := reader(last)
	return errors.Join(o.Prove(r, m), r.Close())
}

// reader returns a copy of a closed store for reading.
func reader(last *Store) *Store {
	r := last.Restart()
	r.readOnly = true
	return r
}

// take makes the caller the only user of the disk.
func (d *disk) take() (*Store, *store.Mark, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inUse {
		return nil, nil, store.ErrInUse
	}
	d.inUse = true
	return d.last, d.mark, nil
}

func (d *disk) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inUse = false
}

// begin records the store that is now open.
func (d *disk) begin(s *Store, marked bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = s
	if marked && d.mark == nil {
		d.mark = &store.Mark{}
	}
}

func (d *disk) publish(signed []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mark != nil {
		d.mark = &store.Mark{Checkpoint: bytes.Clone(signed)}
	}
}

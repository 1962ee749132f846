package memstore

import (
	"context"
	"fmt"

	"muniment.dev/muniment/ledger/store"
)

var _ store.Mover = (*Engine)(nil)

func stageOf(name string) string { return name + ".copy" }

func (d *disk) checkMoved() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.moved != "" {
		return fmt.Errorf("%w: %s", store.ErrMoved, d.moved)
	}
	return nil
}

// checkFree returns an error if there is a store.
func (d *disk) checkFree() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last != nil {
		return store.ErrExists
	}
	return nil
}

// Stage implements store.Mover.
func (e *Engine) Stage(_ context.Context, name string) (string, error) {
	return stageOf(name), e.disk(name).checkFree()
}

// Discard implements store.Mover.
func (e *Engine) Discard(_ context.Context, name string) error {
	d := e.disk(stageOf(name))
	if _, _, err := d.take(); err != nil {
		return err
	}
	d.mu.Lock()
	d.last, d.mark = nil, nil
	d.mu.Unlock()
	d.release()
	return nil
}

// Install implements store.Mover.
func (e *Engine) Install(_ context.Context, name string) error {
	if err := e.disk(name).checkFree(); err != nil {
		return err
	}
	stage := e.disk(stageOf(name))
	last, _, err := stage.take()
	if err != nil {
		return err
	}
	defer stage.release()
	if last == nil {
		return store.ErrNotFound
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.disks[name] = stage
	delete(e.disks, stageOf(name))
	return nil
}

// Retire implements store.Mover.
func (e *Engine) Retire(_ context.Context, name string, _ uint64, to string) error {
	d := e.disk(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.moved != "" && d.moved != to {
		return fmt.Errorf("%w: %s", store.ErrMoved, d.moved)
	}
	d.moved = to
	return nil
}

// Revive implements store.Mover.
func (e *Engine) Revive(_ context.Context, name string) error {
	d := e.disk(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.moved = ""
	return nil
}

// Name implements store.Mover.
func (*Engine) Name(name string) string { return "memory:" + name }

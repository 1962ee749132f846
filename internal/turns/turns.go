// Package turns shares the processors between the owners of expensive work.
//
// Work on untrusted bytes, such as decompressing, parsing and checking
// signatures, is done in turns. There are fewer turns than processors, so that
// cheap work always finds a free one. After each piece of work, an expensive
// call hands its turn on if another owner is waiting. Owners are served
// round-robin, so a call waits for one piece of work of each other owner,
// however many calls they have.
//
// A turn is for computing only. No call holds one while it waits for the
// network, a disk or a lock, and no call takes two.
package turns

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
)

// Free is the maximum size in bytes of a request that needs no turn, and of a
// piece of work.
const Free = 64 << 10

// CPU shares the processors of this process.
var CPU = New(max(1, runtime.GOMAXPROCS(0)-1))

// maxWaiting bounds the waiting calls of one owner.
const maxWaiting = 1024

// ErrFull means that too many calls of the owner are waiting.
var ErrFull = errors.New("too much of the caller's work waits for the processors; retry later")

// Turns hands out turns. Its methods may be called from many goroutines.
type Turns struct {
	slots int

	mu     sync.Mutex // guards the rest
	used   int
	owners map[string]*owner // those with waiting calls
	round  []string          // waiting owners, the next one first
	passed uint64            // turns handed on so far
}

// An owner's waiting calls in order. It is never empty.
type owner struct{ waiting []chan struct{} }

// New returns turns for n concurrent calls, but at least one.
func New(slots int) *Turns { return &Turns{slots: slots, owners: map[string]*owner{}} }

// Slots returns the number of concurrent turns.
func (t *Turns) Slots() int { return t.slots }

// A Turn is the right to compute. It belongs to one goroutine. Work that needs
// no turn has a nil Turn.
type Turn struct {
	turns *Turns
	owner string
	held  bool
	done  int // bytes of the current piece
}

// For is Begin for work on a number of bytes. Up to Free bytes, it returns a
// nil Turn at once.
func (t *Turns) For(ctx context.Context, owner string, bytes int64) (*Turn, error) {
	if bytes <= Free {
		return nil, nil
	}
	return t.Begin(ctx, owner)
}

// Begin waits for a turn for the owner, until ctx ends. The caller must End it.
func (t *Turns) Begin(ctx context.Context, owner string) (*Turn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t.mu.Lock()
	if t.used < t.slots && len(t.round) == 0 {
		t.used++
		t.mu.Unlock()
		return &Turn{turns: t, owner: owner, held: true}, nil
	}
	given, err := t.enqueue(owner)
	t.mu.Unlock()
	if err == nil {
		err = t.wait(ctx, owner, given)
	}
	if err != nil {
		return nil, err
	}
	return &Turn{turns: t, owner: owner, held: true}, nil
}

// Pass is called after each part of the work with the number of bytes
// processed. Once these make up a piece, and another owner is waiting, Pass
// hands the turn on and waits for the next one. Its only error is that of ctx,
// after which the turn has ended.
func (x *Turn) Pass(ctx context.Context, bytes int) error {
	if x == nil || !x.held {
		return ctx.Err()
	}
	if x.done += bytes; x.done < Free {
		return nil
	}
	x.done = 0
	if err := ctx.Err(); err != nil {
		x.End()
		return err
	}
	t := x.turns
	t.mu.Lock()
	if !slices.ContainsFunc(t.round, func(name string) bool { return name != x.owner }) {
		t.mu.Unlock()
		return nil
	}
	given, err := t.enqueue(x.owner)
	if err != nil {
		t.mu.Unlock()
		return nil // the owner has too many waiting calls: this one continues
	}
	t.round = append(slices.DeleteFunc(t.round, func(name string) bool { return name == x.owner }), x.owner)
	t.free()
	t.mu.Unlock()
	err = t.wait(ctx, x.owner, given)
	x.held = err == nil
	return err
}

// End gives the turn back. It can be called more than once.
func (x *Turn) End() {
	if x == nil || !x.held {
		return
	}
	x.held = false
	x.turns.mu.Lock()
	defer x.turns.mu.Unlock()
	x.turns.free()
}

// enqueue adds a waiting call. t.mu is held.
func (t *Turns) enqueue(name string) (chan struct{}, error) {
	o := t.owners[name]
	if o == nil {
		o = &owner{}
		t.owners[name] = o
		t.round = append(t.round, name)
	}
	if len(o.waiting) >= maxWaiting {
		return nil, ErrFull
	}
	given := make(chan struct{})
	o.waiting = append(o.waiting, given)
	return given, nil
}

// wait returns when the call has been given its turn, or ctx has ended.
func (t *Turns) wait(ctx context.Context, name string, given chan struct{}) error {
	select {
	case <-given:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-given: // in the meantime
		t.free()
		return ctx.Err()
	default:
	}
	o := t.owners[name]
	o.waiting = slices.DeleteFunc(o.waiting, func(c chan struct{}) bool { return c == given })
	if len(o.waiting) == 0 {
		delete(t.owners, name)
		t.round = slices.DeleteFunc(t.round, func(n string) bool { return n == name })
	}
	return ctx.Err()
}

// free hands a turn on to the next owner, or puts it back. t.mu is held.
func (t *Turns) free() {
	if len(t.round) == 0 {
		t.used--
		return
	}
	name := t.round[0]
	t.round = slices.Delete(t.round, 0, 1)
	o := t.owners[name]
	close(o.waiting[0])
	if o.waiting = slices.Delete(o.waiting, 0, 1); len(o.waiting) > 0 {
		t.round = append(t.round, name)
	} else {
		delete(t.owners, name)
	}
	t.passed++
}

// Held returns the number of turns held and of waiting calls.
func (t *Turns) Held() (held, waiting int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range t.owners {
		waiting += len(o.waiting)
	}
	return t.used, waiting
}

// Round returns the owners with waiting calls, the next one first.
func (t *Turns) Round() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.round)
}

// Passed returns the number of turns that one call handed to another.
func (t *Turns) Passed() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.passed
}

package turns

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// queued returns once n calls are waiting.
func queued(t *Turns, n int) {
	for {
		if _, waiting := t.Held(); waiting == n {
			return
		}
		runtime.Gosched()
	}
}

func begin(t *testing.T, turns *Turns, owner string) *Turn {
	t.Helper()
	x, err := turns.Begin(context.Background(), owner)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// An owner with many calls does not delay another by more than one piece of
// work, and the pieces of all owners alternate.
func TestRoundRobin(t *testing.T) {
	turns := New(1)
	first := begin(t, turns, "setup")
	var mu sync.Mutex
	var order []string
	var wg sync.WaitGroup
	start := func(owner string, pieces int) {
		wg.Go(func() {
			x, err := turns.Begin(context.Background(), owner)
			for i := 0; err == nil && i < pieces; i++ {
				mu.Lock()
				order = append(order, owner)
				mu.Unlock()
				err = x.Pass(context.Background(), Free)
			}
			x.End()
			if err != nil {
				t.Error(err)
			}
		})
	}
	for i := range 8 {
		start("noisy", 4)
		queued(turns, i+1)
	}
	start("quiet", 3)
	queued(turns, 9)
	first.End()
	wg.Wait()
	if got, want := order[:6], []string{"noisy", "quiet", "noisy", "quiet", "noisy", "quiet"}; !slices.Equal(got, want) {
		t.Errorf("the order of pieces is %v, want %v", got, want)
	}
	if len(order) != 8*4+3 {
		t.Errorf("%d pieces were done", len(order))
	}
	if held, waiting := turns.Held(); held != 0 || waiting != 0 {
		t.Errorf("%d held, %d waiting at the end", held, waiting)
	}
}

// A call that is interrupted while it waits leaves the queue, whether it begins
// or passes its turn on, and no turn is lost with it.
func TestInterruption(t *testing.T) {
	turns := New(1)
	first := begin(t, turns, "a")
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error)
	go func() {
		_, err := turns.Begin(ctx, "b")
		failed <- err
	}()
	queued(turns, 1)
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("a call that waits: %v", err)
	}
	if _, err := turns.Begin(ctx, "b"); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that begins too late: %v", err)
	}

	ctx, cancel = context.WithCancel(context.Background())
	other := make(chan *Turn)
	go func() {
		x, err := turns.Begin(context.Background(), "b")
		if err != nil {
			t.Error(err)
		}
		other <- x
	}()
	queued(turns, 1)
	go func() { failed <- first.Pass(ctx, Free) }()
	second := <-other
	queued(turns, 1)
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("a turn that is passed on: %v", err)
	}
	first.End() // has ended
	if held, waiting := turns.Held(); held != 1 || waiting != 0 {
		t.Errorf("%d held, %d waiting", held, waiting)
	}
	second.End()
	second.End()
	begin(t, turns, "c").End()
	if held, _ := turns.Held(); held != 0 {
		t.Errorf("%d held at the end", held)
	}
}

// At no time do more calls compute than there are turns, in whatever order
// calls begin, pass, end and are interrupted.
func TestNoTurnIsLost(t *testing.T) {
	const slots = 3
	turns := New(slots)
	var mu sync.Mutex
	computing := 0
	compute := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		if computing += n; computing > slots {
			t.Errorf("%d compute at a time", computing)
		}
	}
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			x, err := turns.Begin(ctx, fmt.Sprint(i%7))
			if err != nil {
				t.Error(err)
				return
			}
			defer x.End()
			for piece := range 20 {
				compute(1)
				compute(-1)
				if piece == 10 && i%5 == 0 {
					cancel()
				}
				if x.Pass(ctx, Free) != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	if held, waiting := turns.Held(); held != 0 || waiting != 0 || len(turns.owners) != 0 || len(turns.round) != 0 {
		t.Errorf("%d held, %d waiting at the end", held, waiting)
	}
}

// The waiting calls of one owner are bounded, and do not keep others from
// waiting.
func TestQueueIsBounded(t *testing.T) {
	turns := New(1)
	first := begin(t, turns, "noisy")
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range maxWaiting {
		wg.Go(func() {
			if _, err := turns.Begin(ctx, "noisy"); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	queued(turns, maxWaiting)
	if _, err := turns.Begin(ctx, "noisy"); !errors.Is(err, ErrFull) {
		t.Errorf("one call too many: %v", err)
	}
	cancel()
	wg.Wait()
	done := make(chan struct{})
	go func() {
		begin(t, turns, "quiet").End()
		close(done)
	}()
	queued(turns, 1)
	first.End()
	<-done
}

// A turn is passed on after a piece of work, not after each part of it, and not
// to other calls of the same owner.
func TestPieces(t *testing.T) {
	turns := New(1)
	first := begin(t, turns, "a")
	second := make(chan *Turn)
	wait := func(owner string) {
		x, err := turns.Begin(context.Background(), owner)
		if err != nil {
			t.Error(err)
		}
		second <- x
	}
	pass := func(bytes int) {
		t.Helper()
		if err := first.Pass(context.Background(), bytes); err != nil {
			t.Fatal(err)
		}
	}
	go wait("a")
	queued(turns, 1)
	pass(Free)
	if n := turns.Passed(); n != 0 {
		t.Errorf("passed on %d times to the same owner", n)
	}
	go wait("b")
	queued(turns, 2)
	for range 4 {
		pass(Free/4 - 1)
	}
	if n := turns.Passed(); n != 0 {
		t.Errorf("passed on %d times before a piece was done", n)
	}
	go func() { (<-second).End(); (<-second).End() }()
	pass(4)
	if n := turns.Passed(); n == 0 {
		t.Error("not passed on after a piece")
	}
	first.End()
	queued(turns, 0)
}

// Work that needs no turn has a nil one.
func TestNilTurn(t *testing.T) {
	x, err := New(1).For(context.Background(), "a", Free)
	if x != nil || err != nil {
		t.Errorf("%v, %v for small work", x, err)
	}
	if err := x.Pass(context.Background(), Free); err != nil {
		t.Error(err)
	}
	x.End()
}

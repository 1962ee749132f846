package admission

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"muniment.dev/muniment/controls/images"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/internal/safetext"
)

// Bounds of the resolution of tags.
const (
	maxResolving = 16               // look-ups at a time
	maxResolved  = 4096             // tags in the cache
	resolvedTime = 10 * time.Second // how long a digest is used
	failedTime   = 2 * time.Second  // how long a failure is
	maxReference = 2048             // bytes of a reference that is looked up
)

// A Resolver returns the digest that a registry has for a tag, as
// ALGORITHM:VALUE.
type Resolver func(ctx context.Context, reference string) (digest string, err error)

// tags resolves tags. Each is looked up once at a time, and kept briefly.
type tags struct {
	look    Resolver
	now     func() time.Time
	metrics *Metrics
	timeout time.Duration
	places  *semaphore.Weighted
	base    context.Context
	running *sync.WaitGroup

	mu    sync.Mutex // guards what follows
	known map[string]*tag
}

// A tag is a look-up. done is closed with the result.
type tag struct {
	done   chan struct{}
	until  time.Time
	pinned string
	err    error
}

// begin begins to look up a tag, unless its digest is known.
func (t *tags) begin(reference string) *tag {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.known[reference]
	if one != nil && one.ended() && !t.now().Before(one.until) {
		one = nil
	}
	if one == nil {
		t.makeRoom()
		one = &tag{done: make(chan struct{})}
		t.known[reference] = one
		t.running.Go(func() {
			defer crash.Report()
			t.run(one, reference)
		})
	}
	return one
}

// wait returns the reference with the digest of its tag.
func (t *tag) wait(ctx context.Context) (string, error) {
	select {
	case <-t.done:
		return t.pinned, t.err
	case <-ctx.Done():
		return "", errors.New("the registry gave no answer in time")
	}
}

func (t *tag) ended() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// makeRoom removes a look-up that has ended, if there are too many. The caller
// holds the lock. Look-ups under way are bounded by the requests that wait.
func (t *tags) makeRoom() {
	for reference, one := range t.known {
		if len(t.known) < maxResolved {
			return
		}
		if one.ended() {
			delete(t.known, reference)
		}
	}
}

func (t *tags) run(one *tag, reference string) {
	ctx, cancel := context.WithTimeout(t.base, t.timeout)
	defer cancel()
	pinned, err := t.lookUp(ctx, reference)
	lasts, result := resolvedTime, "resolved"
	if err != nil {
		lasts, result = failedTime, "failed"
	}
	t.metrics.resolutions.WithLabelValues(result).Inc()
	t.mu.Lock()
	defer t.mu.Unlock()
	one.pinned, one.err, one.until = pinned, err, t.now().Add(lasts)
	close(one.done)
}

func (t *tags) lookUp(ctx context.Context, reference string) (string, error) {
	if len(reference) > maxReference {
		return "", errors.New("the reference is too long")
	}
	if err := t.places.Acquire(ctx, 1); err != nil {
		return "", errors.New("too many tags are being resolved")
	}
	defer t.places.Release(1)
	digest, err := t.look(ctx, reference)
	if err != nil {
		return "", errors.New(cut(safetext.Quoted(err.Error()), 300))
	}
	pinned := reference + "@" + digest
	if _, _, ok := images.Pinned(pinned); !ok {
		return "", errors.New("the registry's digest is not valid")
	}
	return pinned, nil
}

package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/wholefile"
)

// keep is how long an event is delivered after it has happened, and how long
// its delivery is remembered.
const keep = 30 * 24 * time.Hour

// Deliveries remember which events were delivered to hooks. A hook is named by
// its name, also after it was removed and added again.
type Deliveries interface {
	// Since returns the time since which a hook receives events. A new hook
	// begins with the present.
	Since(ctx context.Context, hook string, now time.Time) (time.Time, error)
	// Delivered returns those of the events that were delivered to a hook.
	Delivered(ctx context.Context, hook string, events []string) (map[string]bool, error)
	// Deliver remembers that an event was delivered to a hook. After an error,
	// the event is still known to be delivered until the process ends.
	Deliver(ctx context.Context, hook, event string, happened, now time.Time) error
}

// A File remembers deliveries in a file. It implements Deliveries.
type File struct {
	path string

	mu    sync.Mutex // guards hooks, and is held while the file is written
	hooks map[string]*hookState
}

// A hookState is what is remembered of a hook. Events that happened before
// Since are not delivered.
type hookState struct {
	Since     time.Time            `json:"since"`
	Delivered map[string]time.Time `json:"delivered"` // by ID, when the event happened
}

// maxState is the size limit of the file.
const maxState = 64 << 20

// OpenFile reads the file, which need not exist.
func OpenFile(path string) (*File, error) {
	f := &File{path: path, hooks: map[string]*hookState{}}
	text, err := bounded.ReadFile(path, maxState)
	if errors.Is(err, os.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &f.hooks)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: repair the file, or delete it to begin with the present", path, err)
	}
	return f, nil
}

// Since implements Deliveries.
func (f *File) Since(_ context.Context, hook string, now time.Time) (time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h := f.hooks[hook]; h != nil {
		return h.Since, nil
	}
	f.hooks[hook] = &hookState{Since: now}
	return now, f.write()
}

// Delivered implements Deliveries.
func (f *File) Delivered(_ context.Context, hook string, events []string) (map[string]bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delivered := map[string]bool{}
	if h := f.hooks[hook]; h != nil {
		for _, id := range events {
			if _, ok := h.Delivered[id]; ok {
				delivered[id] = true
			}
		}
	}
	return delivered, nil
}

// Deliver implements Deliveries.
func (f *File) Deliver(_ context.Context, hook, event string, happened, now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.hooks[hook]
	if h == nil {
		h = &hookState{Since: now}
		f.hooks[hook] = h
	}
	if h.Delivered == nil {
		h.Delivered = map[string]time.Time{}
	}
	h.Delivered[event] = happened
	for id, at := range h.Delivered {
		if now.Sub(at) > keep {
			delete(h.Delivered, id)
		}
	}
	return f.write()
}

// write writes the file. The caller holds f.mu.
func (f *File) write() error {
	text, err := json.Marshal(f.hooks)
	if err == nil {
		err = wholefile.ReplaceOwnedPath(f.path, append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the state of webhooks: %w", err)
	}
	return nil
}

package notify

import (
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

// A state remembers in a file which events were delivered.
type state struct {
	path string

	mu    sync.Mutex // guards Hooks, and is held while the file is written
	Hooks map[string]*hookState
}

// A hookState is what is remembered of a hook. Events that happened before
// Since are not delivered: a new hook begins with the present.
type hookState struct {
	Since     time.Time            `json:"since"`
	Delivered map[string]time.Time `json:"delivered"` // by ID, when the event happened
}

// maxState is the size limit of the file.
const maxState = 64 << 20

func openState(path string) (*state, error) {
	s := &state{path: path, Hooks: map[string]*hookState{}}
	text, err := bounded.ReadFile(path, maxState)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s.Hooks)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: repair the file, or delete it to begin with the present", path, err)
	}
	return s, nil
}

// change changes what is remembered of a hook, and writes the file.
func (s *state) change(name string, now time.Time, f func(*hookState)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hook(name, now)
	f(h)
	for id, at := range h.Delivered {
		if now.Sub(at) > keep {
			delete(h.Delivered, id)
		}
	}
	text, err := json.Marshal(s.Hooks)
	if err != nil {
		return err
	}
	return wholefile.ReplaceOwnedPath(s.path, append(text, '\n'), 0o600)
}

// read calls f with what is remembered of a hook.
func (s *state) read(name string, now time.Time, f func(*hookState)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.hook(name, now))
}

func (s *state) hook(name string, now time.Time) *hookState {
	h := s.Hooks[name]
	if h == nil {
		h = &hookState{Since: now}
		s.Hooks[name] = h
	}
	if h.Delivered == nil {
		h.Delivered = map[string]time.Time{}
	}
	return h
}

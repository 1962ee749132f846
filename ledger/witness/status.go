package witness

import (
	"maps"
	"sync"
)

// A Status is the state of the exchange with one witness.
type Status struct {
	Name     string
	Size     uint64            // of the largest checkpoint cosigned since the start
	Cosigned uint64            // number of checkpoints cosigned since the start
	Failures map[string]uint64 // number of failed attempts since the start, by reason
	Last     error             // of the last attempt; nil if it succeeded, or there was none
}

type status struct {
	mu sync.Mutex
	Status
}

func (s *status) record(size uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Last = err
	if err == nil {
		s.Size = max(s.Size, size)
		s.Cosigned++
		return
	}
	if s.Failures == nil {
		s.Failures = map[string]uint64{}
	}
	s.Failures[label(err)]++
}

// Status returns the state of the exchange with each witness.
func (c *Collector) Status() []Status {
	out := make([]Status, 0, len(c.endpoints))
	for _, e := range c.endpoints {
		e.status.mu.Lock()
		s := e.status.Status
		s.Name, s.Failures = e.name, maps.Clone(s.Failures)
		e.status.mu.Unlock()
		out = append(out, s)
	}
	return out
}

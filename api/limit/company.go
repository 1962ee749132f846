package limit

import (
	"sync"
	"time"
)

const (
	// defaultBeside leaves most of a small machine to the others. A batch is
	// one call.
	defaultBeside = 500
	// besideBurst is how many calls a tenant may make at once after a pause.
	besideBurst = 16
	// besideFree is how many calls a tenant may have under way without waiting.
	// Callers that wait for each answer limit themselves.
	besideFree = 2
	// activeFor is how long a tenant counts as active after a call.
	activeFor = time.Second
)

// A company records which tenants are active. It is safe for concurrent use.
type company struct {
	mu sync.Mutex // guards the rest
	// last is the newest call, and other the newest one of another tenant.
	last, other arrival
}

// An arrival is a call of a tenant.
type arrival struct {
	tenant string
	at     time.Time
}

// join records a call, and reports whether another tenant is active.
func (c *company) join(tenant string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last.tenant != tenant {
		c.other = c.last
	}
	c.last = arrival{tenant, now}
	return c.other.tenant != "" && now.Sub(c.other.at) < activeFor
}

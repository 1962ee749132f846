package limit

import (
	"sync"
	"time"

	"muniment.dev/muniment/internal/company"
)

const (
	// defaultBeside leaves most of a small machine to the other tenants. A
	// batch counts as one call.
	defaultBeside = 500
	// besideBurst is the number of calls that a tenant may make at once after a
	// pause.
	besideBurst = 16
	// besideFree is the number of concurrent calls that a tenant may have
	// without waiting. Callers that wait for each response limit themselves.
	besideFree = 2
)

// activeTenants tracks which tenants are active. It is safe for concurrent use.
type activeTenants struct {
	mu    sync.Mutex // guards the rest
	calls company.Tracker[string]
}

// join records a call, and reports whether another tenant is active.
func (a *activeTenants) join(tenant string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls.Arrived(tenant, now)
	return a.calls.Until(tenant).After(now)
}

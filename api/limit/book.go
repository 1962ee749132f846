// Package limit counts what callers use of a server: bytes in memory, and
// places for calls and streams.
//
// Each buffer and each place belongs to an owner: a tenant, or an address if
// the caller has no credentials. A [Book] limits each owner and the total, and
// refuses anything above a limit immediately. An owner at its limit therefore
// leaves the rest to the others. [Debts] delay owners whose calls fail.
package limit

import (
	"fmt"
	"strings"
	"sync"

	"muniment.dev/muniment/internal/edge"
)

// A Resource is a countable resource of a server.
type Resource int

// The resources.
const (
	Bytes       Resource = iota // of requests, responses, and the buffers of streams
	Calls                       // in progress or waiting for their turn, except for streams
	Uploads                     // streams from clients
	Answers                     // streams to clients that end on their own
	Watchers                    // streams to clients that do not end
	Public                      // requests without credentials; their owners are addresses
	PublicBytes                 // of public requests
	Refusals                    // delayed responses to callers with many failed calls
	resources
)

var names = [resources]string{"bytes", "calls", "uploads", "answer streams", "watchers", "public requests", "bytes of public requests", "refusals"}

// String returns the resource's name, in the plural.
func (r Resource) String() string { return names[r] }

// Label returns the resource's name in metrics and configurations, such as
// "answer_streams".
func (r Resource) Label() string { return strings.ReplaceAll(r.String(), " ", "_") }

// HeldLabel returns the metrics label for calls that were refused because too
// much of the resource is in use.
func (r Resource) HeldLabel() string { return "held_" + r.Label() }

// All returns every resource.
func All() []Resource {
	all := make([]Resource, resources)
	for i := range all {
		all[i] = Resource(i)
	}
	return all
}

// A HeldLimit limits how much of a resource is in use. Zero means no limit.
type HeldLimit struct {
	Total int64 // across owners
	Owner int64 // per owner
}

// network returns the limit of all IPv6 addresses of a provider.
func (l HeldLimit) network() int64 { return max(l.Owner, l.Total/2) }

// addressOwner is the prefix of owners without credentials. No tenant's name
// starts with it.
const addressOwner = "address "

// providerOf returns the owner that represents all addresses of an IPv6
// address's provider, or "".
func providerOf(owner string) string {
	if address, ok := strings.CutPrefix(owner, addressOwner); ok {
		if wider := edge.Wider(address); len(wider) > 0 {
			return addressOwner + wider[len(wider)-1]
		}
	}
	return ""
}

// HeldLimits limit what callers hold, by resource.
type HeldLimits [resources]HeldLimit

// A Full reports that a resource's limit is reached.
type Full struct {
	Resource Resource
	Owner    bool // the owner's limit; otherwise the total
}

// Error implements error.
func (f *Full) Error() string {
	if f.Owner {
		return fmt.Sprintf("the caller has too many %s in use; retry later", f.Resource)
	}
	return fmt.Sprintf("the server has too many %s in use; retry later", f.Resource)
}

// A Book counts what is held. It is safe for concurrent use.
type Book struct {
	mu     sync.Mutex // guards the rest
	limits HeldLimits
	total  [resources]int64
	owners map[string]*[resources]int64 // owners that hold anything
	spare  *[resources]int64            // for the next owner, or nil
}

// NewBook returns an empty book.
func NewBook(l HeldLimits) *Book { return &Book{limits: l, owners: map[string]*[resources]int64{}} }

// SetLimits replaces the limits. Existing holds remain.
func (b *Book) SetLimits(l HeldLimits) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limits = l
}

// Limits returns the limits in force.
func (b *Book) Limits() HeldLimits {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limits
}

// Held returns the amount of the resource that the owner holds.
func (b *Book) Held(owner string, r Resource) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o := b.owners[owner]; o != nil {
		return o[r]
	}
	return 0
}

// Total returns the amount of the resource that all owners hold.
func (b *Book) Total(r Resource) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total[r]
}

// Open returns an empty hold for the owner.
func (b *Book) Open(owner string) *Hold {
	h := &Hold{}
	h.open(b, owner)
	return h
}

// take adds n, which can be negative. It returns a *Full if the result is above
// a limit. provider is the owner's provider, or "".
func (b *Book) take(owner, provider string, r Resource, n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > 0 {
		if err := b.check(owner, provider, r, n); err != nil {
			return err
		}
	}
	b.total[r] += n
	b.add(owner, r, n)
	if provider != "" {
		b.add(provider, r, n)
	}
	return nil
}

// check returns a *Full if adding n of the resource would exceed a limit.
func (b *Book) check(owner, provider string, r Resource, n int64) error {
	l := b.limits[r]
	held := func(name string) int64 {
		if o := b.owners[name]; o != nil {
			return o[r]
		}
		return 0
	}
	switch {
	case l.Owner > 0 && held(owner)+n > l.Owner, provider != "" && l.Total > 0 && held(provider)+n > l.network():
		return &Full{r, true}
	case l.Total > 0 && b.total[r]+n > l.Total:
		return &Full{r, false}
	}
	return nil
}

// add adds n, which can be negative, to an owner.
func (b *Book) add(owner string, r Resource, n int64) {
	o := b.owners[owner]
	if o == nil {
		if o = b.spare; o == nil {
			o = &[resources]int64{}
		}
		b.spare, b.owners[owner] = nil, o
	}
	if o[r] += n; *o == ([resources]int64{}) {
		b.spare = o
		delete(b.owners, owner)
	}
}

// A Hold is what one call holds. It is for one goroutine at a time, except for
// Release, which can be called at any time and repeatedly.
type Hold struct {
	book            *Book
	owner, provider string

	mu       sync.Mutex // guards the rest
	held     [resources]int64
	released bool
}

// open starts an empty hold for the owner.
func (h *Hold) open(b *Book, owner string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.book, h.owner, h.provider, h.held, h.released = b, owner, providerOf(owner), [resources]int64{}, false
}

// Take adds n of the resource to the hold. If the error is a *Full, the hold is
// unchanged.
func (h *Hold) Take(r Resource, n int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return nil
	}
	if err := h.book.take(h.owner, h.provider, r, n); err != nil {
		return err
	}
	h.held[r] += n
	return nil
}

// Keep releases the resource except for n.
func (h *Hold) Keep(r Resource, n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if over := h.held[r] - n; over > 0 && !h.released {
		_ = h.book.take(h.owner, h.provider, r, -over) // releasing is never refused
		h.held[r] = n
	}
}

// Held returns how much of the resource this hold has.
func (h *Hold) Held(r Resource) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held[r]
}

// Release releases everything.
func (h *Hold) Release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return
	}
	h.released = true
	for r, n := range h.held {
		if n != 0 {
			_ = h.book.take(h.owner, h.provider, Resource(r), -n)
		}
	}
	h.held = [resources]int64{}
}

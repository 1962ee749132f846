package rekor

import (
	"net/http"
	"time"

	"muniment.dev/muniment/api/edge"
	"muniment.dev/muniment/api/limit"
)

// maxDelay is how long a request of an address whose requests fail may wait.
const maxDelay = time.Second / 2

// A counter counts requests on the accounts of their addresses: each has a
// place while it lasts, and those that fail slow the next ones down.
type counter struct {
	book    *limit.Book
	debts   limit.Debts
	delayed func() // or nil
}

func (c *counter) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		owner := ownerOf(r)
		hold := c.book.Open(owner)
		defer hold.Release()
		if !take(w, hold, limit.Public) {
			c.debts.Charge(owner, time.Now(), 1)
			return
		}
		if c.debts.Pay(r.Context(), owner, time.Now(), maxDelay, nil) && c.delayed != nil {
			c.delayed()
		}
		noted := &edge.Answer{ResponseWriter: w}
		next.ServeHTTP(noted, r)
		if failed[noted.Status()] {
			c.debts.Charge(owner, time.Now(), 1)
		}
	})
}

// failed are the answers to requests that a correct client does not repeat.
var failed = map[int]bool{
	http.StatusBadRequest: true, http.StatusMethodNotAllowed: true, http.StatusRequestTimeout: true, http.StatusRequestEntityTooLarge: true,
	http.StatusUnsupportedMediaType: true, http.StatusUnprocessableEntity: true, http.StatusNotImplemented: true,
}

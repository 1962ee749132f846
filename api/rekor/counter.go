package rekor

import (
	"net/http"
	"time"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/internal/edge"
)

// maxDelay is the longest delay of a request from an address whose requests
// fail.
const maxDelay = time.Second / 2

// A counter charges requests to their addresses. Each request holds a place
// while it lasts. Failed requests delay the address's next ones.
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

// failed lists the statuses of requests that a correct client does not repeat.
var failed = map[int]bool{
	http.StatusBadRequest: true, http.StatusMethodNotAllowed: true, http.StatusRequestTimeout: true, http.StatusRequestEntityTooLarge: true,
	http.StatusUnsupportedMediaType: true, http.StatusUnprocessableEntity: true, http.StatusNotImplemented: true,
}

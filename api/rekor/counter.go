package rekor

import (
	"net/http"
	"time"

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
		if c.debts.Pay(r.Context(), owner, maxDelay, nil) && c.delayed != nil {
			c.delayed()
		}
		noted := &statusWriter{ResponseWriter: w}
		next.ServeHTTP(noted, r)
		if failed[noted.status] {
			c.debts.Charge(owner, time.Now(), 1)
		}
	})
}

// failed are the answers to requests that a correct client does not repeat.
var failed = map[int]bool{
	http.StatusBadRequest: true, http.StatusMethodNotAllowed: true, http.StatusRequestTimeout: true, http.StatusRequestEntityTooLarge: true,
	http.StatusUnsupportedMediaType: true, http.StatusUnprocessableEntity: true, http.StatusNotImplemented: true,
}

// A statusWriter keeps the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int // 0: none was written, which means 200
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap serves http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

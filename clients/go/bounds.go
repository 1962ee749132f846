package muniment

import (
	"compress/gzip"
	"io"
	"net/http"
)

const (
	// maxMessage bounds a message of a server, when it is inflated. The largest
	// is a page or batch of receipts with their payloads.
	maxMessage = 128 << 20
	// maxErrorBody bounds the body of an answer that is an error.
	maxErrorBody = 64 << 10
)

// boundErrors returns a copy of the client that reads no more than maxErrorBody
// of an error's body. What follows is cut off.
func boundErrors(c *http.Client) *http.Client {
	bounded := *c
	next := c.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	bounded.Transport = errorBound{next}
	return &bounded
}

type errorBound struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b errorBound) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := b.next.RoundTrip(req)
	if err != nil || res.StatusCode < 300 {
		return res, err
	}
	body := res.Body
	var r io.Reader = body
	if res.Header.Get("Content-Encoding") == "gzip" { // the limit is for what is inflated
		r = &inflater{from: body}
		res.Header.Del("Content-Encoding")
		res.Header.Del("Content-Length")
		res.ContentLength = -1
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(r, maxErrorBody), body}
	return res, nil
}

// An inflater begins to inflate when it is read.
type inflater struct {
	from io.Reader
	gz   *gzip.Reader
}

func (i *inflater) Read(p []byte) (n int, err error) {
	if i.gz == nil {
		if i.gz, err = gzip.NewReader(i.from); err != nil {
			return 0, err
		}
	}
	return i.gz.Read(p)
}

// CloseIdleConnections passes the call on, as http.Client does.
func (b errorBound) CloseIdleConnections() {
	if c, ok := b.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

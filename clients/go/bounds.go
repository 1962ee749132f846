package muniment

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
)

const (
	// maxMessage limits a decompressed message from a server, in bytes. The
	// largest messages are pages and batches of receipts with their payloads.
	maxMessage = 128 << 20
	// maxErrorBody limits the body of an error response, in bytes.
	maxErrorBody = 64 << 10
)

// BoundErrors returns a copy of the client that truncates the bodies of error
// responses to a few kilobytes, and fails with ErrTLSExpected if it calls a
// port that speaks TLS by http.
func BoundErrors(c *http.Client) *http.Client {
	bounded := *c
	next := c.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	if t, ok := next.(*http.Transport); ok {
		next = watched(t)
	}
	bounded.Transport = errorBound{next}
	return &bounded
}

type errorBound struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b errorBound) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := b.next.RoundTrip(req)
	if tlsExpected(req, res, err) {
		if err == nil {
			res.Body.Close()
		}
		return nil, ErrTLSExpected
	}
	if err != nil || res.StatusCode < 300 {
		return res, err
	}
	body := res.Body
	var r io.Reader = body
	if res.Header.Get("Content-Encoding") == "gzip" { // limit the decompressed size
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

// ErrTLSExpected is wrapped by the errors of http calls to a port that expects
// TLS.
var ErrTLSExpected = errors.New("http request to a port that speaks TLS")

// tlsAnswers are parts of the responses of Go's server, nginx and Apache to an
// http request on a TLS port.
var tlsAnswers = [][]byte{
	[]byte("Client sent an HTTP request to an HTTPS server"),
	[]byte("The plain HTTP request was sent to HTTPS port"),
	[]byte("speaking plain HTTP to an SSL-enabled server port"),
}

// tlsExpected reports whether a TLS port answered an http request. The body can
// still be read from its start.
func tlsExpected(req *http.Request, res *http.Response, err error) bool {
	if req.URL.Scheme != "http" {
		return false
	}
	if err != nil { // net/http has no type for the error of a caller's transport
		return errors.Is(err, ErrTLSExpected) || strings.Contains(err.Error(), `malformed HTTP response "\x15\x03`)
	}
	if res.StatusCode != http.StatusBadRequest || res.Header.Get("Content-Encoding") != "" {
		return false
	}
	start := make([]byte, 1<<10)
	n, _ := io.ReadFull(res.Body, start) // the next read returns the error again
	start = start[:n]
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), res.Body), res.Body}
	return slices.ContainsFunc(tlsAnswers, func(a []byte) bool { return bytes.Contains(start, a) })
}

// An inflater decompresses gzip. It reads the header on the first Read.
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

// CloseIdleConnections calls the method of the underlying transport, if any.
func (b errorBound) CloseIdleConnections() {
	if c, ok := b.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

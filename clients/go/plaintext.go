package muniment

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
)

// A dialer opens a connection, as http.Transport.DialContext does.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// watched returns a copy of the transport whose plaintext connections fail with
// ErrTLSExpected when the server answers with a TLS alert. The transport itself
// reports whichever of its two loops failed first: the reader, which has seen
// the alert, or the writer, whose connection the reader has closed.
func watched(t *http.Transport) *http.Transport {
	w := t.Clone()
	dial := dialer(w.DialContext)
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	w.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &watchedConn{Conn: conn}, nil
	}
	return w
}

// A watchedConn inspects the first byte sent and received.
type watchedConn struct {
	net.Conn
	sent, received atomic.Bool // whether there was a first byte
	handshake      atomic.Bool // the client sent a TLS handshake
	alert          atomic.Bool // the server answered plaintext with a TLS alert
}

// The first byte of a TLS record is its content type (RFC 8446, section 5.1).
const (
	recordAlert     = 0x15
	recordHandshake = 0x16
)

// Write implements net.Conn.
func (c *watchedConn) Write(p []byte) (int, error) {
	if len(p) > 0 && c.sent.CompareAndSwap(false, true) {
		c.handshake.Store(p[0] == recordHandshake)
	}
	n, err := c.Conn.Write(p)
	return n, c.explain(err)
}

// Read implements net.Conn.
func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.received.CompareAndSwap(false, true) && p[0] == recordAlert && !c.handshake.Load() {
		c.alert.Store(true)
		return 0, ErrTLSExpected
	}
	return n, c.explain(err)
}

// explain replaces the error of a read or write by the meaning of the alert.
func (c *watchedConn) explain(err error) error {
	if err != nil && c.alert.Load() {
		return ErrTLSExpected
	}
	return err
}

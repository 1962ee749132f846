package muniment

import (
	"errors"
	"io"
	"net"
	"testing"
)

// Once the reader has received an alert, every failure of the connection is
// reported as that alert, whichever loop of the transport fails.
func TestAlertOnAPlaintextConnection(t *testing.T) {
	for _, c := range []struct {
		name        string
		sent        string
		answer      byte
		wantRefused bool
	}{
		{"http", "GET / HTTP/1.1\r\n", recordAlert, true},
		{"TLS", string([]byte{recordHandshake, 3, 1}), recordAlert, false},
		{"http answer", "GET / HTTP/1.1\r\n", 'H', false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			conn := &watchedConn{Conn: ours}
			go func() {
				_, _ = io.ReadFull(theirs, make([]byte, len(c.sent)))
				_, _ = theirs.Write([]byte{c.answer, 3, 1})
			}()
			if _, err := io.WriteString(conn, c.sent); err != nil {
				t.Fatal(err)
			}
			_, err := conn.Read(make([]byte, 16))
			if got := errors.Is(err, ErrTLSExpected); got != c.wantRefused {
				t.Errorf("read: %v; ErrTLSExpected: %v, want %v", err, got, c.wantRefused)
			}
			conn.Close() // as the transport's reader does
			_, err = io.WriteString(conn, "Host: ledger.example\r\n")
			if err == nil {
				t.Fatal("a write to a closed connection succeeded")
			}
			if got := errors.Is(err, ErrTLSExpected); got != c.wantRefused {
				t.Errorf("write: %v; ErrTLSExpected: %v, want %v", err, got, c.wantRefused)
			}
		})
	}
}

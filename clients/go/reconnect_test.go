package muniment_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"

	"muniment.dev/muniment/internal/peers/ledgerrig"
)

// A closingConn is closed by the first write, as by a server that is killed.
type closingConn struct{ net.Conn }

func (c closingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.Close()
	return n, err
}

// failing returns a client whose first connections are refused, and whose next
// ones break.
func failing(t *testing.T, refused, broken int) *http.Client {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	var dialer net.Dialer
	var count atomic.Int64
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		dials := int(count.Add(1))
		if dials <= refused {
			return dialer.DialContext(ctx, network, closed.Addr().String())
		}
		conn, err := dialer.DialContext(ctx, network, address)
		if err == nil && dials <= refused+broken {
			conn = closingConn{conn}
		}
		return conn, err
	}}}
}

// A resetTransport fails its first requests as connections do that a server has
// closed when they arrive.
type resetTransport struct {
	http.RoundTripper
	left atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (r *resetTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if r.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	}
	return r.RoundTripper.RoundTrip(req)
}

// TestResetConnection checks that a server that closes a connection counts as
// unavailable, so that the append is repeated.
func TestResetConnection(t *testing.T) {
	server := ledgerrig.Start()
	defer server.Close()
	for _, reconnect := range []time.Duration{0, time.Minute} {
		transport := &resetTransport{RoundTripper: http.DefaultTransport}
		transport.left.Store(2)
		c, err := muniment.New(muniment.Options{Server: server.URL, Token: server.Token, Reconnect: reconnect, HTTPClient: &http.Client{Transport: transport}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Append(t.Context(), muniment.Submission{Kind: "attestation", MediaType: "text/plain", Payload: []byte("reset")})
		if reconnect > 0 && err != nil || reconnect == 0 && connect.CodeOf(err) != connect.CodeUnavailable {
			t.Errorf("repeated for %s: %v", reconnect, err)
		}
	}
}

// Appends are repeated while the server cannot be reached.
func TestReconnect(t *testing.T) {
	server := ledgerrig.Start()
	defer server.Close()
	appends := map[string]func(*muniment.Client, string) error{
		"Append": func(c *muniment.Client, text string) error {
			_, err := c.Append(t.Context(), muniment.Submission{Kind: "attestation", MediaType: "text/plain", Payload: []byte(text)})
			return err
		},
		"AppendBatch": func(c *muniment.Client, text string) error {
			_, err := c.AppendBatch(t.Context(), []muniment.Submission{{Kind: "attestation", MediaType: "text/plain", Payload: []byte(text)}})
			return err
		},
		"AppendStream": func(c *muniment.Client, text string) error {
			_, err := c.AppendStream(t.Context(), muniment.Stream{Kind: "attestation", MediaType: "text/plain", Payload: bytes.NewReader([]byte(text))})
			return err
		},
	}
	for name, call := range appends {
		for _, test := range []struct {
			refused, broken int
			reconnect       time.Duration
			fails           bool
		}{{2, 0, time.Hour, false}, {0, 1, time.Hour, false}, {1, 1, time.Hour, false}, {1, 0, 0, true}, {0, 0, 0, false}} {
			client, err := muniment.New(muniment.Options{Server: server.URL, Token: server.Token, Reconnect: test.reconnect, HTTPClient: failing(t, test.refused, test.broken)})
			if err != nil {
				t.Fatal(err)
			}
			err = call(client, name)
			if (err != nil) != test.fails {
				t.Errorf("%s with %d refused and %d broken connections: %v", name, test.refused, test.broken, err)
			}
			if test.fails && !strings.Contains(err.Error(), "connection refused") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

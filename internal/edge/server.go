package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"muniment.dev/muniment/internal/crash"
)

// A Site is a listener's handler with the limits of its connections. Every
// listener of every program is created from a Site.
type Site struct {
	Handler http.Handler
	// Hosts are additional names, without ports, of a server on this machine.
	Hosts       []string
	Connections int // open at a time
	// Body limits how long a request's body may take to arrive, Read the whole
	// request, and Write its response. 0: the handler sets the deadlines of
	// each request.
	Body, Read, Write time.Duration
	Idle              time.Duration // between two requests; 0: two minutes
	HeaderBytes       int           // 0: 64 KiB
	// PlainHTTP2 also accepts HTTP/2 without TLS.
	PlainHTTP2 bool
	Errors     *log.Logger // of connections
	// TLS returns the configuration for a new connection. Nil: plain HTTP.
	TLS func() *tls.Config
}

const (
	// MaxStreams is the maximum number of concurrent requests on an HTTP/2
	// connection.
	MaxStreams = 128
	// headerTime limits how long a request's header may take to arrive.
	headerTime = 10 * time.Second
)

// server returns the HTTP server of the site.
func (s *Site) server() *http.Server {
	srv := &http.Server{
		Handler: Guard(arriving(s.Body, s.Handler), s.Hosts), ErrorLog: s.Errors, Protocols: new(http.Protocols),
		ReadHeaderTimeout: headerTime, ReadTimeout: s.Read, WriteTimeout: s.Write, IdleTimeout: s.Idle, MaxHeaderBytes: s.HeaderBytes,
		// Limits of what a connection can send before it is read, and of the
		// requests waiting on it.
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: MaxStreams, MaxReceiveBufferPerConnection: 256 << 10, MaxReceiveBufferPerStream: 128 << 10, MaxReadFrameSize: 16 << 10,
			SendPingTimeout: time.Minute, PingTimeout: 15 * time.Second},
	}
	if srv.IdleTimeout == 0 {
		srv.IdleTimeout = 2 * time.Minute
	}
	if srv.MaxHeaderBytes == 0 {
		srv.MaxHeaderBytes = 64 << 10
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(s.PlainHTTP2)
	if s.TLS != nil {
		srv.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.TLS(), nil }}
	}
	return srv
}

// arriving cuts off bodies that do not arrive in time. Reading them then fails
// with os.ErrDeadlineExceeded.
func arriving(within time.Duration, next http.Handler) http.Handler {
	if within == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			c := http.NewResponseController(w)
			// If the connection does not support this deadline, Read still
			// applies.
			_ = c.SetReadDeadline(time.Now().Add(within))
			r.Body = &arrivingBody{r.Body, c}
		}
		next.ServeHTTP(w, r)
	})
}

// An arrivingBody lifts its deadline when it has been read, because an expired
// deadline would cancel the request's processing.
type arrivingBody struct {
	io.ReadCloser
	control *http.ResponseController
}

// Read implements io.Reader.
func (b *arrivingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// A Server serves a site until it is closed.
type Server struct {
	URL         string     // with the address it listens on
	Connections *Listener  // the clients' connections
	Failed      chan error // receives the error that ended the server

	http *http.Server
}

// Listen serves the site on the address. All HTTP is served through it.
func Listen(address string, site Site) (*Server, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s := &Server{URL: "http://" + ln.Addr().String(), Connections: Bound(ln, site.Connections), Failed: make(chan error, 1), http: site.server()}
	accepting := &firstAccept{Listener: s.Connections, begun: make(chan struct{})}
	serve := func() error { return s.http.Serve(accepting) }
	if site.TLS != nil {
		s.URL = "https://" + ln.Addr().String()
		serve = func() error { return s.http.ServeTLS(accepting, "", "") }
	}
	go func() {
		defer crash.Report()
		s.Failed <- serve()
	}()
	select {
	case <-accepting.begun:
		// Without waiting, a Shutdown before Serve would be missed.
		return s, nil
	case err := <-s.Failed:
		return nil, errors.Join(fmt.Errorf("serve: %w", err), ln.Close())
	}
}

// A firstAccept signals that its server has started to accept connections.
type firstAccept struct {
	net.Listener
	once  sync.Once
	begun chan struct{}
}

// Accept implements net.Listener.
func (f *firstAccept) Accept() (net.Conn, error) {
	f.once.Do(func() { close(f.begun) })
	return f.Listener.Accept()
}

// Shutdown waits for requests in progress, up to the given time, and cuts off
// the rest.
func (s *Server) Shutdown(most time.Duration) (cut bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	if s.http.Shutdown(ctx) == nil {
		return false, nil
	}
	return true, s.http.Close()
}

// Close cuts off all requests immediately.
func (s *Server) Close() error { return s.http.Close() }

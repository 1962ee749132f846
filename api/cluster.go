package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/ledger/lease"
	rpc "muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// A Cluster is the other servers of the same log.
type Cluster struct {
	// Writer returns the server to which calls that record something are
	// forwarded.
	Writer func() lease.Writer
	// Servers are the only URLs that calls are forwarded to: they contain
	// credentials.
	Servers   []string
	Transport http.RoundTripper // to the other servers
}

const (
	// forwardedHeader marks a request that another server has forwarded. It is
	// never forwarded again.
	forwardedHeader = "Muniment-Forwarded"
	// sizeHeader is the size of the log that the server served when it
	// answered.
	sizeHeader = "Muniment-Size"
	// minSizeHeader is the smallest size of the log that the answer to a
	// request may be from.
	minSizeHeader = "Muniment-Min-Size"
)

// catchUpAgain is the time after which credentials are read again that could
// not be read.
const catchUpAgain = time.Second

// records reports whether calls of a route record something. The exchange of
// tokens is not forwarded: it is the only call without credentials that records
// something, and the other server could not charge its caller's address.
func records(pattern string, c capability) bool {
	switch c {
	case appendEntries, changePolicy, manageTokens, eraseEntries:
		return true
	}
	return pattern == rpc.GateServiceDecideProcedure || pattern == rpc.GateServiceSubmitDecisionsProcedure
}

// forward forwards a call that records something to the server that commits.
// Callers who prove who they are with a client certificate or a cookie are
// served here: neither can be forwarded. So is everybody while that server is
// unknown.
func (s *Server) forward(pattern string, c capability, here http.Handler) http.Handler {
	if s.cfg.Cluster == nil || !records(pattern, c) {
		return here
	}
	proxies := map[string]http.Handler{}
	for _, server := range s.cfg.Cluster.Servers {
		proxies[server] = s.proxy(server)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writer := s.cfg.Cluster.Writer()
		proxy := proxies[writer.URL]
		forwarded := r.Header.Get(forwardedHeader) != ""
		switch {
		case writer.Self || proxy == nil || r.Header.Get("Authorization") == "",
			forwarded && s.leaving.Load(): // nothing is wrong: another one takes over
			here.ServeHTTP(w, r)
			return
		case forwarded: // by a server that sees another one take over
			s.refuse(w, r, rpcerr.Retry(connect.CodeUnavailable, errTakingOver, time.Second))
			return
		}
		s.cfg.Metrics.forwarded.Inc()
		r.Body = &forwardedBody{r.Body, r.Context()}
		proxy.ServeHTTP(w, r)
	})
}

// A forwardedBody leaves the deadlines of an upload and of its answer to the
// server that reads its messages, and ends the connection if they pass.
type forwardedBody struct {
	io.ReadCloser
	ctx context.Context
}

// Read implements io.Reader.
func (b *forwardedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		limit.LiftDeadlines(b.ctx)
	} else {
		limit.MessageDeadline(b.ctx)()
	}
	return n, err
}

var errTakingOver = errors.New("the server that records entries does not answer; another one takes over within seconds: send the call again, it is recorded once")

// proxy returns a handler that forwards requests to a server.
func (s *Server) proxy(server string) http.Handler {
	target, err := url.Parse(server)
	if err != nil {
		panic(err) // the configuration was checked
	}
	return &httputil.ReverseProxy{
		Transport:     s.cfg.Cluster.Transport,
		FlushInterval: -1, // of streams, whose messages must not wait for each other
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Set(forwardedHeader, "1")
			r.Out.Header.Del("Cookie")
		},
		ModifyResponse: s.catchUp,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				s.log.Warn("a call was not forwarded", "server", server, "err", err)
			}
			s.refuse(w, r, rpcerr.Retry(connect.CodeUnavailable, errTakingOver, time.Second))
		},
	}
}

// catchUp makes this server serve what the answer of another server is about,
// before the caller has it.
func (s *Server) catchUp(res *http.Response) error {
	size, err := strconv.ParseUint(res.Header.Get(sizeHeader), 10, 64)
	if err != nil || s.ledger.Published().Size >= size {
		return nil
	}
	ctx := res.Request.Context()
	if err := s.ledger.Latest(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("a call was forwarded, and its effect is not served here yet", "err", err)
	}
	return nil
}

// upToDate serves a request that names a size of the log only when this server
// serves a log of that size. Its answers state the size that it serves.
func (s *Server) upToDate(next http.Handler) http.Handler {
	if !s.ledger.Shared() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w = &sized{ResponseWriter: w, size: func() uint64 { return s.ledger.Published().Size }}
		text := r.Header.Get(minSizeHeader)
		if text == "" {
			next.ServeHTTP(w, r)
			return
		}
		size, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			s.refuse(w, r, connect.NewError(connect.CodeInvalidArgument, errors.New("header "+minSizeHeader+": not a number of entries")))
			return
		}
		if s.ledger.Published().Size < size {
			err = s.ledger.Latest(r.Context())
		}
		if now := s.ledger.Published().Size; now < size {
			if err != nil {
				s.log.Warn("the log is not known to be up to date", "err", err)
			}
			s.refuse(w, r, rpcerr.Retry(connect.CodeUnavailable, fmt.Errorf("this server serves %d entries of the log, and the request asks for at least %d", now, size), time.Second))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// A sized answer states the size of the log when it begins, unless it is
// another server's.
type sized struct {
	http.ResponseWriter
	size  func() uint64
	begun bool
}

// begin states the size, once. Errors do not state it: the log may not be
// public.
func (a *sized) begin(code int) {
	if a.begun {
		return
	}
	a.begun = true
	if h := a.Header(); code < 300 && h.Get(sizeHeader) == "" {
		h.Set(sizeHeader, strconv.FormatUint(a.size(), 10))
	}
}

// WriteHeader implements http.ResponseWriter.
func (a *sized) WriteHeader(code int) {
	if code >= 200 {
		a.begin(code)
	}
	a.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (a *sized) Write(p []byte) (int, error) {
	a.begin(http.StatusOK)
	return a.ResponseWriter.Write(p)
}

// Flush implements http.Flusher, which streams need.
func (a *sized) Flush() {
	a.begin(http.StatusOK)
	_ = http.NewResponseController(a.ResponseWriter).Flush()
}

// Unwrap returns the wrapped writer, for http.ResponseController.
func (a *sized) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Follow puts in force what other servers record about credentials, until the
// context ends.
func (s *Server) Follow(ctx context.Context) {
	for {
		p := s.ledger.Published()
		var again <-chan time.Time
		if err := s.auth.CatchUp(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("credentials that other servers have recorded are not in force; trying again", "err", err)
			again = time.After(catchUpAgain)
		}
		select {
		case <-p.Superseded:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// Recount counts anew what the tenants with daily limits have appended today.
// The server that commits counts all appends, and begins with those that others
// have committed.
func (s *Server) Recount(ctx context.Context) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if err := s.auth.Recount(ctx); err != nil && ctx.Err() == nil {
		s.log.Error("daily limits do not count what other servers have recorded", "err", err)
	}
}

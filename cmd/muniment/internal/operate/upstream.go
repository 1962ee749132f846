package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/crash"
	munimentv1connect "muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// Bounds of what the server of the log can make a replica wait for, or hold.
const (
	followMessage = 4 << 20 // largest message, in bytes; those of an export have 256 KiB
	followErrors  = 1000    // characters of an error that are logged and shown
)

var (
	// stalled is how long a call may take, and how long an export may send
	// fewer bytes than exportBytes. It is a variable for tests.
	stalled = 30 * time.Second

	exportBytes int64 = 32 << 10
)

// newConnection returns the connection of a replica to the server of its log.
func (f *followFlags) newConnection(tenant string, log *slog.Logger) *connection {
	return &connection{server: f.Follow, files: f.files(), log: log, open: func(ctx context.Context) (*upstream, error) { return f.open(ctx, tenant) }}
}

// files returns the files with credentials and authorities. A file with an
// identity token is read for each exchange.
func (f *followFlags) files() []string {
	return []string{f.FollowTokenFile, f.FollowClientCert, f.FollowClientKey, f.FollowCA}
}

// open returns a connection that nothing uses yet.
func (f *followFlags) open(ctx context.Context, tenant string) (*upstream, error) {
	flags := remote.Flags{Server: f.Follow, Credentials: remote.Credentials{
		TokenFile: f.FollowTokenFile, IdentityToken: f.FollowIdentityToken, ClientCert: f.FollowClientCert, ClientKey: f.FollowClientKey, CA: f.FollowCA, Tenant: tenant,
	}}
	u, err := dial(ctx, &flags, muniment.Options{MaxMessage: followMessage}, stalled, func(next http.RoundTripper) http.RoundTripper { return paced{next, stalled} })
	if err != nil {
		return nil, inFollowFlags(err)
	}
	return u, nil
}

// inFollowFlags names the flags of serve in an error about those of commands.
func inFollowFlags(err error) error {
	text := err.Error()
	for _, flag := range []string{"token-file", "identity-token", "client-cert", "client-key", "ca"} {
		text = strings.ReplaceAll(text, "--"+flag+":", "--follow-"+flag+":")
		text = strings.ReplaceAll(text, "--"+flag+",", "--follow-"+flag+",")
	}
	text = strings.ReplaceAll(text, "requires --client", "requires --follow-client")
	text = strings.ReplaceAll(text, "--server:", "--follow:")
	return errors.New(text)
}

// A stall is the error of a server that sends nothing, or too little.
type stall struct {
	after   time.Duration
	atLeast int64 // bytes
}

func (s *stall) Error() string {
	if s.atLeast > 1 {
		return fmt.Sprintf("the server has sent less than %d KiB in %s: check the server and the network to it", s.atLeast>>10, s.after)
	}
	return fmt.Sprintf("the server has sent no answer in %s: check the server and the network to it", s.after)
}

// paced ends requests whose response arrives too slowly, from the connection to
// the end of the body.
type paced struct {
	next  http.RoundTripper
	every time.Duration // in which enough must arrive
}

// RoundTrip implements http.RoundTripper.
func (p paced) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	b := &pacedBody{ctx: ctx, end: func() { cancel(nil) }}
	atLeast := int64(1)
	if r.URL.Path == munimentv1connect.ExportServiceExportProcedure {
		atLeast = exportBytes
	}
	go func() {
		defer crash.Report()
		b.watch(cancel, p.every, atLeast)
	}()
	res, err := p.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		err = b.cause(err)
		b.end()
		return nil, err
	}
	b.ReadCloser, res.Body = res.Body, b
	return res, nil
}

// CloseIdleConnections closes those of the transport.
func (p paced) CloseIdleConnections() {
	if c, ok := p.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// A pacedBody is the body of a response.
type pacedBody struct {
	io.ReadCloser
	ctx  context.Context
	end  func()
	read atomic.Int64 // bytes
}

// watch cancels the request if too little arrives.
func (b *pacedBody) watch(cancel context.CancelCauseFunc, every time.Duration, atLeast int64) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for before := int64(0); ; {
		select {
		case <-b.ctx.Done():
			return
		case <-tick.C:
		}
		now := b.read.Load()
		if now-before < atLeast {
			cancel(&stall{every, atLeast})
			return
		}
		before = now
	}
}

func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read.Add(int64(n))
	if err != nil && err != io.EOF {
		err = b.cause(err)
	}
	return n, err
}

// cause returns the stall that has ended the request, or else its error.
func (b *pacedBody) cause(err error) error {
	if s, ok := errors.AsType[*stall](context.Cause(b.ctx)); ok {
		return s
	}
	return err
}

func (b *pacedBody) Close() error {
	b.end()
	return b.ReadCloser.Close()
}

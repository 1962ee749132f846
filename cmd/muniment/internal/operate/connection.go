package operate

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/safetext"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
)

// A connection is the connection of a process that runs for long to a server.
// Changed files with credentials or authorities make another one.
type connection struct {
	server string
	files  []string
	open   func(context.Context) (*upstream, error)
	log    *slog.Logger

	current atomic.Pointer[upstream] // set by the goroutine that refreshes
	// Of that goroutine:
	state    string // of the files of the current one
	unusable string // why changed files were not applied, which is logged once
}

// An upstream is a client of a server.
type upstream struct {
	*muniment.Client
	ctx   context.Context // ends when another one replaces it
	close func()
}

// refresh returns the connection. It reads the files if they have changed.
// Files that cannot be used leave the connection as it is.
func (c *connection) refresh(ctx context.Context) (*upstream, error) {
	state := filesState(c.files...)
	now := c.current.Load()
	if now != nil && state == c.state {
		return now, nil
	}
	next, err := c.open(ctx)
	switch {
	case err == nil:
	case now == nil:
		return nil, err
	default:
		if text := term.Escape(err.Error()); text != c.unusable {
			c.unusable = text
			c.log.Error("changed credentials not applied; the old ones stay in force", "server", c.server, "err", text)
		}
		return now, nil
	}
	c.current.Store(next)
	c.state, c.unusable = state, ""
	if now != nil {
		now.close()
		c.log.Info("changed credentials applied", "server", c.server)
	}
	return next, nil
}

// filesState returns a value that changes with the content of the files. Files
// without a path are ignored, and one that can't be read is as empty. Sizes and
// times do not suffice: two tokens of one size can be written within a tick.
func filesState(paths ...string) string {
	var all []byte
	for _, path := range paths {
		if path != "" {
			text, _ := bounded.ReadFile(path, bounded.Config)
			all = fmt.Appendf(all, "%s\n%d\n%s", path, len(text), text)
		}
	}
	return entry.SHA256(all)
}

// dial returns a client that nothing uses yet. Its requests pass through wrap,
// if that is not nil. Redirects are not followed: the credentials are for one
// server only.
func dial(ctx context.Context, flags *remote.Flags, o muniment.Options, ping time.Duration, wrap func(http.RoundTripper) http.RoundTripper) (*upstream, error) {
	if err := flags.UseTLS(&o); err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if o.HTTPClient != nil {
		transport = o.HTTPClient.Transport.(*http.Transport)
	}
	transport.MaxResponseHeaderBytes = maxHeaders
	// Without pings, a connection that the network has lost is used for
	// minutes.
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: ping, PingTimeout: ping / 2}
	var through http.RoundTripper = transport
	if wrap != nil {
		through = wrap(transport)
	}
	o.HTTPClient = &http.Client{Transport: through, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		return &redirected{safetext.Quoted(r.URL.Scheme + "://" + r.URL.Host)}
	}}
	client, err := flags.Connect(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	return &upstream{client, ctx, func() { cancel(); transport.CloseIdleConnections() }}, nil
}

// maxHeaders is the size of the headers of a response, in bytes.
const maxHeaders = 64 << 10

// A redirected is the error of a server that redirects to another address.
type redirected struct{ to string }

func (r *redirected) Error() string {
	return fmt.Sprintf("the server redirects to %s, which is not followed: give the address of the server itself", r.to)
}

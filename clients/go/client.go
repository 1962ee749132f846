// Package muniment is the Go client of a Muniment ledger. It appends evidence
// and checks each receipt on arrival.
//
// Package ledger/receipt verifies stored receipts offline. Package
// clients/go/audit audits a whole log.
package muniment

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"muniment.dev/muniment/internal/rpcdetail"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// Options configure a Client. Server is required.
type Options struct {
	Server string // URL, such as https://ledger.example
	Token  string // sent as a bearer token
	// Identity returns an OIDC identity token, as JobIdentity does. The client
	// exchanges it for a token of the ledger, and again when that expires. It
	// replaces Token.
	Identity func(context.Context) (string, error)
	Tenant   string // empty: the tenant named in the token

	// Policy, if set, makes Append verify each receipt before returning it.
	// Without a policy, Append only checks that the receipt commits to the
	// payload that was sent.
	Policy *receipt.TrustPolicy
	// StreamKey, if set, makes Append check each tag as well. The log then
	// cannot hide an entry from an audit by giving it a wrong tag.
	StreamKey *entry.StreamKey

	// Witnessed makes Append wait for a checkpoint that covers the entries and
	// is cosigned by the log's witnesses. The receipts then prove inclusion in
	// that checkpoint. A Policy that requires cosignatures implies Witnessed.
	// Give the context a deadline. The entries are recorded even if it passes,
	// and repeating the call resumes the wait.
	Witnessed bool

	// Reconnect is how long Append, AppendBatch and AppendStream are repeated
	// while the server cannot be reached, such as during a restart. Zero: that
	// is an error at once.
	Reconnect time.Duration

	HTTPClient *http.Client // nil: one without an overall timeout; use contexts
	MaxMessage int          // largest message from the server, in bytes; 0: 128 MiB
	UserAgent  string

	// Interceptors are called for each RPC, in order, such as those of traces.
	Interceptors []connect.Interceptor
}

// A Client calls one ledger as one tenant. It is safe for concurrent use.
type Client struct {
	munimentv1connect.LedgerServiceClient // every RPC, unchanged
	Admin                                 munimentv1connect.AdminServiceClient
	Identity                              munimentv1connect.IdentityServiceClient
	Exports                               munimentv1connect.ExportServiceClient
	Bundles                               munimentv1connect.BundleServiceClient
	Gate                                  munimentv1connect.GateServiceClient
	Tenant                                string

	policy    *receipt.TrustPolicy
	streamKey *entry.StreamKey
	wait      munimentv1.AppendWait
	reconnect time.Duration

	server string // URL without a slash at the end
	http   *http.Client
	auth   *credentials
}

// TokenPrefix is the prefix of every token. The tenant's name, an underscore
// and the secret follow it.
const TokenPrefix = "mnt_"

// NewToken draws a token for a tenant and returns it with its SHA-256, which
// IssueToken puts in force.
func NewToken(tenant string) (token string, hash [sha256.Size]byte) {
	var secret [32]byte
	rand.Read(secret[:])
	token = TokenPrefix + tenant + "_" + base64.RawURLEncoding.EncodeToString(secret[:])
	return token, sha256.Sum256([]byte(token))
}

// TenantOfToken returns the tenant named in a token, or "" if there is none.
func TenantOfToken(token string) string {
	rest, ok := strings.CutPrefix(token, TokenPrefix)
	tenant, _, sep := strings.Cut(rest, "_")
	if !ok || !sep {
		return ""
	}
	return tenant
}

// New returns a client. It does not connect until the first call.
func New(o Options) (*Client, error) {
	if err := checkServer(o.Server); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if o.Tenant == "" {
		o.Tenant = TenantOfToken(o.Token)
	}
	if o.HTTPClient == nil {
		o.HTTPClient = &http.Client{}
	}
	o.HTTPClient = BoundErrors(o.HTTPClient)
	o.HTTPClient.Transport = &session{next: o.HTTPClient.Transport}
	wait := munimentv1.AppendWait_APPEND_WAIT_PUBLISHED
	if o.Witnessed || o.Policy != nil && (o.Policy.RequiresWitness() || o.Policy.PostQuantum()) {
		wait = munimentv1.AppendWait_APPEND_WAIT_WITNESSED
	}
	c := &Client{
		Tenant: o.Tenant, policy: o.Policy, streamKey: o.StreamKey, wait: wait, reconnect: o.Reconnect,
		server: strings.TrimSuffix(o.Server, "/"), http: o.HTTPClient, auth: &credentials{token: o.Token, userAgent: o.UserAgent},
	}
	if o.Identity != nil {
		c.auth.exchange = c.exchanger(o.Identity)
	}
	auth := connect.WithClientOptions(connect.WithInterceptors(append(slices.Clone(o.Interceptors), c.auth)...), connect.WithReadMaxBytes(cmp.Or(o.MaxMessage, maxMessage)))
	c.LedgerServiceClient = munimentv1connect.NewLedgerServiceClient(c.http, c.server, auth)
	c.Admin = munimentv1connect.NewAdminServiceClient(c.http, c.server, auth)
	c.Identity = munimentv1connect.NewIdentityServiceClient(c.http, c.server, auth)
	c.Exports = munimentv1connect.NewExportServiceClient(c.http, c.server, auth)
	c.Bundles = munimentv1connect.NewBundleServiceClient(c.http, c.server, auth)
	c.Gate = munimentv1connect.NewGateServiceClient(c.http, c.server, auth)
	return c, nil
}

// checkServer checks that a server's URL has the form scheme://host:port. Its
// errors omit the parts of the URL that may contain a secret.
func checkServer(server string) error {
	if strings.Contains(server, TokenPrefix) {
		return errors.New("the URL contains a token: use the server's URL alone")
	}
	if strings.Contains(server, "@") {
		return errors.New("the URL contains an @: remove the user name or password, which are not used")
	}
	u, err := url.Parse(server)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		server, _, _ = strings.Cut(server, "?")
		return fmt.Errorf("%q is not an http or https URL", server)
	}
	part := ""
	switch {
	case u.Path != "" && u.Path != "/":
		part = "path"
	case u.RawQuery != "" || u.ForceQuery:
		part = "query"
	case strings.Contains(server, "#"):
		part = "fragment"
	default:
		return nil
	}
	return fmt.Errorf("the URL has a %s: use %q", part, u.Scheme+"://"+u.Host)
}

// Do sends an authenticated request to a path of the server that is not an RPC.
func (c *Client) Do(ctx context.Context, method, path, contentType string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.server+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	token, err := c.auth.current(ctx)
	if err != nil {
		return nil, err
	}
	c.auth.set(req.Header, token)
	return c.http.Do(req)
}

// A Submission is one piece of evidence to record. See docs/spec/kinds.md.
type Submission struct {
	Kind           string
	MediaType      string // empty: detected by the server
	Payload        []byte
	IdempotencyKey string
}

// A Result is the result for one submission.
type Result struct {
	Index     uint64
	Duplicate bool   // recorded before; Index and Receipt are the first entry's
	Receipt   []byte // JSON, in the detached form
	// Err is the reason why the submission was not recorded, or why its receipt
	// was rejected. The latter wraps receipt.ErrNotVerified.
	Err error
}

// Append records one submission.
func (c *Client) Append(ctx context.Context, s Submission) (Result, error) {
	var r Result
	err := c.retry(ctx, func() error {
		res, err := c.LedgerServiceClient.Append(ctx, connect.NewRequest(&munimentv1.AppendRequest{Tenant: c.Tenant, Submission: s.message(), Wait: c.wait}))
		if err == nil {
			r = c.check(&s, res.Msg.Appended)
		}
		return err
	})
	if err != nil {
		return Result{}, err
	}
	return r, r.Err
}

// AppendBatch records up to 1,000 submissions in one call. It returns one
// result for each submission, in order. The error is non-nil if the call as a
// whole failed.
func (c *Client) AppendBatch(ctx context.Context, subs []Submission) ([]Result, error) {
	req := &munimentv1.AppendBatchRequest{Tenant: c.Tenant, Wait: c.wait}
	for i := range subs {
		req.Submissions = append(req.Submissions, subs[i].message())
	}
	var out []Result
	err := c.retry(ctx, func() error {
		res, err := c.LedgerServiceClient.AppendBatch(ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		if len(res.Msg.Results) != len(subs) {
			return fmt.Errorf("the server returned %d results for %d submissions", len(res.Msg.Results), len(subs))
		}
		out = make([]Result, len(subs))
		for i, r := range res.Msg.Results {
			switch r := r.Result.(type) {
			case *munimentv1.AppendResult_Appended:
				out[i] = c.check(&subs[i], r.Appended)
			case *munimentv1.AppendResult_Error:
				out[i].Err = refusal(r.Error)
			default:
				out[i].Err = errors.New("the server returned no result")
			}
		}
		return nil
	})
	return out, err
}

// refusal returns the error of one submission of a batch as the *connect.Error
// that a separate call would have returned.
func refusal(e *munimentv1.AppendError) error {
	code := connect.CodeUnknown
	_ = code.UnmarshalText([]byte(e.Code)) // leaves an unknown code as it is
	return connect.NewError(code, errors.New(e.Message))
}

func (s *Submission) message() *munimentv1.Submission {
	return &munimentv1.Submission{Kind: s.Kind, MediaType: s.MediaType, Payload: s.Payload, IdempotencyKey: s.IdempotencyKey}
}

// check verifies a receipt on arrival. An entry with a wrong tag cannot be
// distinguished later from an entry that was never made.
func (c *Client) check(s *Submission, a *munimentv1.Appended) Result {
	r := Result{Index: a.GetIndex(), Duplicate: a.GetDuplicate(), Receipt: a.GetReceipt()}
	if c.policy != nil {
		payload := s.Payload
		if payload == nil { // to Verify, nil means no payload, not an empty one
			payload = []byte{}
		}
		_, r.Err = receipt.Verify(r.Receipt, []*receipt.TrustPolicy{c.policy}, receipt.Options{Payload: payload, Tenant: &c.Tenant, Kind: &s.Kind, StreamKey: c.streamKey})
		return r
	}
	r.Err = checkCommitment(r.Receipt, func(salt entry.Salt) (entry.Hash, error) {
		return entry.Commitment(salt, s.Payload), nil
	})
	return r
}

// maxTries limits the attempts of a call that the server asks to repeat later.
const maxTries = 6

// Delays between attempts to reach a server, which double.
const (
	firstReconnectDelay = 100 * time.Millisecond
	maxReconnectDelay   = 2 * time.Second
)

// retry repeats the call after the delay that the server returns, if any, and
// while the server cannot be reached. Appends are idempotent.
func (c *Client) retry(ctx context.Context, call func() error) error {
	pause, end := firstReconnectDelay, time.Now().Add(c.reconnect)
	for try := 1; ; {
		err := call()
		delay, asked := retryDelay(err)
		switch {
		case asked && try < maxTries:
			try++
		case !asked && unreachable(err) && time.Now().Before(end):
			delay, pause = pause, min(2*pause, maxReconnectDelay)
		default:
			return err
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return err
		}
	}
}

// unreachable reports whether a call failed without an answer of the server.
func unreachable(err error) bool {
	return connect.CodeOf(err) == connect.CodeUnavailable && !connect.IsWireError(err)
}

// retryDelay returns the delay that an overloaded or restarting server
// requests. It reports false for long delays: a full disk or a wrong clock
// needs an operator.
func retryDelay(err error) (time.Duration, bool) {
	var ce *connect.Error
	if !errors.As(err, &ce) || ce.Code() != connect.CodeResourceExhausted && ce.Code() != connect.CodeUnavailable {
		return 0, false
	}
	info, ok := rpcdetail.Find[*errdetails.RetryInfo](ce)
	if delay := info.GetRetryDelay().AsDuration(); ok && delay <= 5*time.Second {
		return delay, true
	}
	return 0, false
}

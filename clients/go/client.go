// Package muniment is the Go client of a Muniment ledger: it appends evidence
// and checks at once that the receipts are good.
//
// To verify a receipt that is already there, offline, package ledger/receipt is
// enough; to audit a whole log, see clients/go/audit.
package muniment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// Options say which ledger to speak to, and as whom.
type Options struct {
	Server string // URL, such as https://ledger.example
	Token  string // sent as a bearer token
	// Identity returns an OIDC identity token, as JobIdentity does. The client
	// exchanges it for a token of the ledger, and asks for the next one when
	// that has expired. It takes the place of Token.
	Identity func(context.Context) (string, error)
	Tenant   string // "" takes the tenant that the token names

	// Policy, if given, makes Append verify each receipt before it returns it.
	// Without it a receipt is only checked to be for the payload that was sent.
	Policy *receipt.Policy
	// StreamKey, if given, makes Append check each tag, too, so that the log
	// can't file an entry where an audit would miss it.
	StreamKey *receipt.StreamKey

	// Witnessed makes Append return only when the entries are in a checkpoint
	// that the log's witnesses have cosigned, with receipts at it. A Policy
	// that asks for cosignatures implies it. Give the context a deadline: the
	// entries are recorded even if it passes, and the same call again waits on.
	Witnessed bool

	HTTPClient *http.Client // nil: one without an overall timeout; use contexts
	UserAgent  string
}

// A Client speaks to one ledger as one tenant. It may be used from many
// goroutines.
type Client struct {
	munimentv1connect.LedgerServiceClient // every RPC, as it is
	Admin                                 munimentv1connect.AdminServiceClient
	Identity                              munimentv1connect.IdentityServiceClient
	Exports                               munimentv1connect.ExportServiceClient
	Tenant                                string

	policy    *receipt.Policy
	streamKey *receipt.StreamKey
	wait      munimentv1.AppendWait

	server string // URL without a slash at the end
	http   *http.Client
	auth   *credentials
}

// TokenPrefix begins every token. After it come the tenant's name, an
// underscore and the secret.
const TokenPrefix = "mnt_"

// TenantOfToken returns the name of the tenant that a token is for, or "".
func TenantOfToken(token string) string {
	rest, ok := strings.CutPrefix(token, TokenPrefix)
	tenant, _, sep := strings.Cut(rest, "_")
	if !ok || !sep {
		return ""
	}
	return tenant
}

// New returns a client. It makes no connection yet.
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
	o.HTTPClient = boundErrors(o.HTTPClient)
	wait := munimentv1.AppendWait_APPEND_WAIT_PUBLISHED
	if o.Witnessed || o.Policy != nil && (o.Policy.RequiresWitness() || o.Policy.PostQuantum()) {
		wait = munimentv1.AppendWait_APPEND_WAIT_WITNESSED
	}
	c := &Client{
		Tenant: o.Tenant, policy: o.Policy, streamKey: o.StreamKey, wait: wait,
		server: strings.TrimSuffix(o.Server, "/"), http: o.HTTPClient, auth: &credentials{token: o.Token, userAgent: o.UserAgent},
	}
	if o.Identity != nil {
		c.auth.exchange = c.exchanger(o.Identity)
	}
	auth := connect.WithClientOptions(connect.WithInterceptors(c.auth), connect.WithReadMaxBytes(maxMessage))
	c.LedgerServiceClient = munimentv1connect.NewLedgerServiceClient(c.http, c.server, auth)
	c.Admin = munimentv1connect.NewAdminServiceClient(c.http, c.server, auth)
	c.Identity = munimentv1connect.NewIdentityServiceClient(c.http, c.server, auth)
	c.Exports = munimentv1connect.NewExportServiceClient(c.http, c.server, auth)
	return c, nil
}

// checkServer reports how an address differs from scheme://host:port. What may
// hold a secret is not in the error.
func checkServer(server string) error {
	if strings.Contains(server, TokenPrefix) {
		return errors.New("it has a token in it: give the URL of the server alone")
	}
	if strings.Contains(server, "@") {
		return errors.New("the URL has an @: a user name or password is not used: give the URL without them")
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

// Do makes a request that is no RPC to a path of the server, with the token.
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

// A Submission is what to record. See docs/spec/kinds.md.
type Submission struct {
	Kind           string
	MediaType      string // "": the server recognises it
	Payload        []byte
	IdempotencyKey string
}

// A Result is what became of a submission of a batch.
type Result struct {
	Index     uint64
	Duplicate bool   // it was recorded before, and this is the first entry's receipt
	Receipt   []byte // JSON, in the form detached
	// why it was not recorded, or why the receipt is no good (which wraps
	// receipt.ErrNotVerified)
	Err error
}

// Append records one submission.
func (c *Client) Append(ctx context.Context, s Submission) (Result, error) {
	var r Result
	err := retry(ctx, func() error {
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

// AppendBatch records up to 1,000 submissions in one call. The error is for the
// whole call; those of single submissions are in the results.
func (c *Client) AppendBatch(ctx context.Context, subs []Submission) ([]Result, error) {
	req := &munimentv1.AppendBatchRequest{Tenant: c.Tenant, Wait: c.wait}
	for i := range subs {
		req.Submissions = append(req.Submissions, subs[i].message())
	}
	var out []Result
	err := retry(ctx, func() error {
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
				out[i].Err = fmt.Errorf("%s: %s", r.Error.Code, r.Error.Message)
			default:
				out[i].Err = errors.New("the server returned no result")
			}
		}
		return nil
	})
	return out, err
}

func (s *Submission) message() *munimentv1.Submission {
	return &munimentv1.Submission{Kind: s.Kind, MediaType: s.MediaType, Payload: s.Payload, IdempotencyKey: s.IdempotencyKey}
}

// check looks at a receipt as soon as it is there: later nobody could tell an
// entry filed under a wrong tag from one that was never made.
func (c *Client) check(s *Submission, a *munimentv1.Appended) Result {
	r := Result{Index: a.GetIndex(), Duplicate: a.GetDuplicate(), Receipt: a.GetReceipt()}
	if c.policy != nil {
		payload := s.Payload
		if payload == nil { // an empty payload; nil would be none
			payload = []byte{}
		}
		_, r.Err = receipt.Verify(r.Receipt, []*receipt.Policy{c.policy}, receipt.Options{Payload: payload, Tenant: &c.Tenant, Kind: &s.Kind, StreamKey: c.streamKey})
		return r
	}
	r.Err = checkCommitment(r.Receipt, func(salt receipt.Salt) (receipt.Hash, error) {
		return receipt.Commitment(salt, s.Payload), nil
	})
	return r
}

// maxTries is how often a call is made when the server asks to retry later.
const maxTries = 6

// retry makes the call again when the server names a delay. Appends are safe to
// repeat.
func retry(ctx context.Context, call func() error) error {
	for try := 1; ; try++ {
		err := call()
		delay, ok := retryDelay(err)
		if !ok || try == maxTries {
			return err
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return err
		}
	}
}

// retryDelay returns the delay that the server names, when it has too much to
// do or is restarting. A full disk or a wrong clock, whose delays are long, is
// for people to mend.
func retryDelay(err error) (time.Duration, bool) {
	var ce *connect.Error
	if !errors.As(err, &ce) || ce.Code() != connect.CodeResourceExhausted && ce.Code() != connect.CodeUnavailable {
		return 0, false
	}
	for _, d := range ce.Details() {
		if v, err := d.Value(); err == nil {
			if info, ok := v.(*errdetails.RetryInfo); ok && info.RetryDelay.AsDuration() <= 5*time.Second {
				return info.RetryDelay.AsDuration(), true
			}
		}
	}
	return 0, false
}

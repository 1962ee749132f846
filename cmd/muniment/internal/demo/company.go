package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/controls/catalog"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/kindname"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/export"
	"muniment.dev/muniment/verifiers/intoto"
)

// A company records what its people and systems do, through the API. After the
// first error, its methods do nothing and return zero values.
type company struct {
	ctx       context.Context
	clock     *clock
	directory *directory
	server    *server
	admin     *muniment.Client // with the tenant's first token
	clients   map[string]*muniment.Client
	expires   map[string]time.Time           // of the tokens of people
	running   map[string]map[string]artifact // by environment and workload
	indexes   map[string]uint64              // of entries that later ones refer to
	err       error
}

// seed records the two weeks before a time, and returns the number of entries
// in the log.
func seed(ctx context.Context, data, tenant, issuer string, now time.Time) (entries uint64, err error) {
	d, err := addDirectory(data, tenant, issuer)
	if err != nil {
		return 0, err
	}
	start := midnight(now).AddDate(0, 0, -days).Add(6 * time.Hour)
	c := &company{ctx: ctx, clock: &clock{start: start, now: start}, directory: d, clients: map[string]*muniment.Client{}, expires: map[string]time.Time{}}
	if c.server, err = startServer(ctx, data, c.clock); err != nil {
		return 0, err
	}
	defer func() {
		if closed := c.server.close(); err == nil {
			err = closed
		}
	}()
	token, err := bounded.ReadSecret(filepath.Join(data, datadir.TokenDir, tenant+".token"))
	if err != nil {
		return 0, err
	}
	if c.admin, err = c.client(strings.TrimSpace(string(token))); err != nil {
		return 0, err
	}
	for _, s := range c.story(now) {
		c.clock.set(s.at)
		if s.do(); c.err != nil {
			return 0, fmt.Errorf("%s: %w", s.at.Format(time.RFC3339), c.err)
		}
	}
	return c.server.ledger.Published().Size, nil
}

func midnight(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// client returns a client with a token.
func (c *company) client(token string) (*muniment.Client, error) {
	return muniment.New(muniment.Options{Server: c.server.url, Token: token})
}

// system returns the client of a program, which has a token of its own with the
// role appender.
func (c *company) system(name string, kinds ...string) *muniment.Client {
	if client := c.clients[name]; client != nil || c.err != nil {
		return client
	}
	req := &munimentv1.IssueTokenRequest{Tenant: c.admin.Tenant, Reason: "token of " + name, Grant: &munimentv1.Grant{Id: name, Role: munimentv1.Role_ROLE_APPENDER, Kinds: kinds}}
	res, err := c.admin.Admin.IssueToken(c.ctx, connect.NewRequest(req))
	if err == nil {
		c.clients[name], err = c.client(res.Msg.Token)
	}
	c.failed("token of "+name, err)
	return c.clients[name]
}

// person returns the client of a person, who signs in again when the last
// session has ended.
func (c *company) person(sub string) *muniment.Client {
	if c.err != nil || c.clock.time().Before(c.expires[sub]) {
		return c.clients[sub]
	}
	token, err := c.directory.identityToken(sub)
	if err != nil {
		c.failed(sub, err)
		return nil
	}
	res, err := c.admin.Identity.ExchangeToken(c.ctx, connect.NewRequest(&munimentv1.ExchangeTokenRequest{Tenant: c.admin.Tenant, IdentityToken: token}))
	if err == nil {
		c.expires[sub] = res.Msg.Expires.AsTime()
		c.clients[sub], err = c.client(res.Msg.Token)
	}
	c.failed("sign-in of "+sub, err)
	return c.clients[sub]
}

func (c *company) failed(what string, err error) {
	if err != nil && c.err == nil {
		c.err = fmt.Errorf("%s: %w", what, err)
	}
}

// append records a submission, and returns its index.
func (c *company) append(by *muniment.Client, what string, s muniment.Submission) uint64 {
	if c.err != nil {
		return 0
	}
	r, err := by.Append(c.ctx, s)
	c.failed(what, err)
	return r.Index
}

// event records an event.
func (c *company) event(by *muniment.Client, kind string, m proto.Message) uint64 {
	payload, err := protojson.Marshal(m)
	c.failed(kind, err)
	sum := sha256.Sum256(payload)
	return c.append(by, kind, muniment.Submission{Kind: kind, Payload: payload, IdempotencyKey: hex.EncodeToString(sum[:16])})
}

// An artifact is what a release consists of.
type artifact struct{ kind, name, sha256 string }

func newArtifact(kind, name string) artifact {
	return artifact{kind, name, digest("artifact " + name)}
}

func (a artifact) message() *munimentv1.Artifact {
	return &munimentv1.Artifact{Name: a.name, Digest: map[string]string{"sha256": a.sha256}}
}

// digest returns the hexadecimal SHA-256 of a text.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// attest records a statement about artifacts that a signer has signed.
func (c *company) attest(by *muniment.Client, signer string, predicateType string, predicate any, about ...artifact) uint64 {
	subjects := []any{}
	for _, a := range about {
		subjects = append(subjects, map[string]any{"name": a.name, "digest": map[string]any{"sha256": a.sha256}})
	}
	statement, err := json.Marshal(map[string]any{"_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicateType": predicateType, "predicate": predicate})
	c.failed(predicateType, err)
	return c.append(by, predicateType, muniment.Submission{Kind: kindname.Attestation, Payload: c.sign(signer, statement)})
}

// sign returns an envelope with a statement.
func (c *company) sign(signer string, statement []byte) []byte {
	envelope, err := dsse.Sign(intoto.MediaType, statement, signingKey(signer))
	c.failed("sign as "+signer, err)
	return envelope
}

// export records a signed export manifest.
func (c *company) export(by *muniment.Client, m *export.Manifest) artifact {
	statement, err := m.AppendStatement(nil)
	c.failed(m.ExportID, err)
	payload := c.sign("data office", statement)
	c.append(by, m.ExportID, muniment.Submission{Kind: kindname.ExportManifest, Payload: payload})
	return artifact{kindname.ExportManifest, m.ExportID, digest(string(payload))}
}

// gate asks the gate about an artifact.
func (c *company) gate(by *muniment.Client, a artifact, stage, environment, want string) {
	if c.err != nil {
		return
	}
	res, err := by.Gate.Decide(c.ctx, connect.NewRequest(&munimentv1.DecideRequest{
		Tenant: by.Tenant, Stage: stage, Environment: environment, Subjects: []*munimentv1.GateSubject{{Type: a.kind, Artifact: a.message()}},
	}))
	what := fmt.Sprintf("gate %s %s for %s", stage, environment, a.name)
	if c.failed(what, err); c.err != nil {
		return
	}
	if d := res.Msg.Decisions[0].Decision; d.Decision != want {
		c.failed(what, fmt.Errorf("%s, want %s: %v", d.Decision, want, d.Results))
	}
}

// govern puts the admission policy and the control set in force.
func (c *company) govern(policy, controls []byte) {
	_, err := c.admin.Admin.SetPolicy(c.ctx, connect.NewRequest(&munimentv1.SetPolicyRequest{Tenant: c.admin.Tenant, Policy: policy, Reason: "evidence comes from our own signers"}))
	c.failed("admission policy", err)
	set, err := catalog.Parse(controls)
	if c.failed("controls", err); c.err != nil {
		return
	}
	entries, err := set.Entries()
	c.failed("controls", err)
	by := c.person("ada")
	for _, e := range entries {
		c.append(by, e.Kind+" "+e.ID, muniment.Submission{Kind: e.Kind, Payload: e.Payload, IdempotencyKey: e.Digest})
	}
}

// signers are the parties that sign evidence.
var signers = []string{"release workflow", "scanner", "review bot", "performance lab", "product security", "compliance office", "data office"}

// signingKey returns the key of a signer. Anybody can compute it, so it is good
// for a demo only.
func signingKey(signer string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("demo key of the " + signer))
	return ed25519.NewKeyFromSeed(seed[:])
}

// withKeys replaces KEY-ID(SIGNER) and PEM(SIGNER) in a document.
func withKeys(text string) ([]byte, error) {
	for _, s := range signers {
		key, err := dsse.NewKey(s, signingKey(s).Public())
		if err != nil {
			return nil, err
		}
		block, err := key.PEM()
		if err != nil {
			return nil, err
		}
		text = strings.ReplaceAll(text, "KEY-ID("+s+")", key.ID)
		text = strings.ReplaceAll(text, "PEM("+s+")", strings.ReplaceAll(strings.TrimSpace(string(block)), "\n", "\n        "))
	}
	return []byte(text), nil
}

// A step of the story happens at a time.
type step struct {
	at time.Time
	do func()
}

// inOrder sorts steps by their times. Those of one time stay in order.
func inOrder(steps []step) []step {
	slices.SortStableFunc(steps, func(a, b step) int { return a.at.Compare(b.at) })
	return steps
}

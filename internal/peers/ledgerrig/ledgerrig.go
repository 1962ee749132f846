// Package ledgerrig runs a Muniment server in-process, for examples and tests
// of clients.
package ledgerrig

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http/httptest"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/api/oidc/oidctest"
	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store/memstore"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Origin is the origin of every ledger of this package.
const Origin = "ledger.example"

// A Server is a running in-memory ledger with the tenant acme and a public log.
type Server struct {
	URL       string           // of the API. The log is under URL + "/tlog/"
	Token     string           // of acme's administrator
	Operator  string           // token of the operator, who reads metrics
	Policy    []byte           // the log's policy file
	StreamKey *entry.StreamKey // acme's

	api    *api.Server
	ledger *ledger.Ledger
	http   *httptest.Server
	people *oidctest.Issuer // nil: there are no people

	stop    context.CancelFunc // ends running
	running sync.WaitGroup
}

// Start starts a server with a new key. It panics on failure, because examples
// have no test to fail.
func Start() *Server { return start(nil) }

// StartWithPeople starts a server to which people can sign in, as approvers.
func StartWithPeople() *Server { return start(oidctest.Start()) }

// IdentityToken returns an identity token of a person, which is accepted once.
func (s *Server) IdentityToken(person string) string {
	return s.people.Token(map[string]any{"sub": person, "aud": Origin})
}

// Person returns the submitter that a person is.
func (s *Server) Person(name string) string { return "oidc:" + s.people.URL + "#" + name }

func start(people *oidctest.Issuer) *Server {
	skey, vkey, err := note.GenerateKey(nil, Origin)
	check(err)
	signer, err := note.NewSigner(skey)
	check(err)
	logger := slog.New(slog.DiscardHandler)
	key := entry.StreamKey(sha256.Sum256([]byte("stream key of acme")))
	s := &Server{Token: "mnt_acme_example", Operator: "mno_example", Policy: []byte(receipt.FormatTrustPolicy(vkey)), StreamKey: &key}
	s.ledger, err = ledger.Open(context.Background(), ledger.Config{Store: memstore.New(), Signer: signer, Fatal: check, Logger: logger})
	check(err)
	settings := api.Settings{MaxPayload: 16 << 20, PublicTlog: true}
	settings.Tenants = []auth.Tenant{{
		Name: "acme", Stream: ledger.NewStream(key),
		Tokens: []auth.Token{{ID: "admin", Hash: sha256.Sum256([]byte(s.Token)), Role: munimentv1.Role_ROLE_ADMIN}},
	}}
	settings.Operators = []auth.Operator{{ID: "operator", Hash: sha256.Sum256([]byte(s.Operator))}}
	if people != nil {
		s.people = people
		settings.Identities, err = oidc.New([]oidc.Issuer{{URL: people.URL, Audiences: []string{Origin}}}, oidc.Options{})
		check(err)
		settings.Tenants[0].Rules = []auth.IdentityRule{{Name: "people", Rule: oidc.Rule{Issuer: people.URL, Claims: map[string]string{"sub": "*"}}, Role: munimentv1.Role_ROLE_APPROVER}}
	}
	s.api, err = api.New(context.Background(), api.Config{
		Settings: settings, Ledger: s.ledger, Logger: logger, Metrics: api.NewMetrics("v0.0.0-example"), CoverageInterval: 100 * time.Millisecond,
	})
	check(err)
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.running.Go(func() { s.api.WatchCoverage(ctx) })
	s.http = httptest.NewServer(s.api.Handler())
	s.URL = s.http.URL
	return s
}

// Record appends an attestation for each payload.
func (s *Server) Record(payloads ...string) {
	client, err := muniment.New(muniment.Options{Server: s.URL, Token: s.Token})
	check(err)
	for _, p := range payloads {
		_, err := client.Append(context.Background(), muniment.Submission{Kind: kindname.Attestation, MediaType: "text/plain", Payload: []byte(p)})
		check(err)
	}
}

// Close stops the server.
func (s *Server) Close() {
	s.api.Drain()
	s.http.Close()
	if s.people != nil {
		s.people.Close()
	}
	s.stop()
	s.running.Wait()
	s.ledger.Close()
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

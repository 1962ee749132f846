package decide

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/auth"
	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/controls/bundle"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/spool"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
	"muniment.dev/muniment/verifiers/facts"
)

// A recordedCase is a line of controls/decide/testdata/worlds.json.
type recordedCase struct {
	Name    string
	Entries []struct {
		Index, Time uint64
		Header      *entry.Header // nil: erased
		Payload     *string       // nil: erased
	}
	Now                int64
	Stage, Environment string
	Subject            evaluate.Subject
	Parts              []evaluate.Part
	Answer             json.RawMessage
}

// TestOneAnswerEverywhere asks every gate about each of the recorded cases: the
// log's API, the API of a replica, delta files, bundles, the command with each
// of them, and the admission of a cluster. The answers are those that the
// evaluator gave without a ledger.
func TestOneAnswerEverywhere(t *testing.T) {
	soak.WithoutRace(t)
	file, err := os.ReadFile("../../../../controls/decide/testdata/worlds.json")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(file))
	lines.Buffer(nil, len(file))
	n, inPods := 0, 0
	for ; lines.Scan(); n++ {
		c := &recordedCase{}
		if err := json.Unmarshal(lines.Bytes(), c); err != nil {
			t.Fatal(err)
		}
		if c.reference() != "" {
			inPods++
		}
		t.Run(c.Name, func(t *testing.T) { newCaseRig(t, c).compare() })
	}
	if inPods < 50 {
		t.Errorf("%d cases about images that a Pod can run, want at least 50", inPods)
	}
	if n < 100 {
		t.Errorf("%d cases, want at least 100", n)
	}
}

const (
	caseOrigin = "ledger.test/log"
	caseToken  = "mnt_acme_token"
)

// A caseRig is a log with the entries of a case.
type caseRig struct {
	t       *testing.T
	c       *recordedCase
	clock   *caseClock
	signer  note.Signer
	policy  *receipt.TrustPolicy
	acme    *ledger.Stream
	globex  *ledger.Stream
	log     *ledger.Ledger
	request *munimentv1.DecideRequest
	want    *munimentv1.GateDecision
}

// A caseClock shows the time of the case.
type caseClock struct{ ms, first int64 }

func (c *caseClock) Now() (time.Time, time.Duration) {
	return c.time(), time.Duration(c.ms-c.first) * time.Millisecond
}

func (c *caseClock) time() time.Time { return time.UnixMilli(c.ms).UTC() }

func newCaseRig(t *testing.T, c *recordedCase) *caseRig {
	t.Helper()
	r := &caseRig{t: t, c: c, clock: &caseClock{c.Now, c.Now}, acme: ledger.NewStream(entry.StreamKey{1}), globex: ledger.NewStream(entry.StreamKey{2}), want: &munimentv1.GateDecision{}}
	if len(c.Entries) > 0 {
		r.clock.ms = int64(c.Entries[0].Time)
		r.clock.first = r.clock.ms
	}
	skey, vkey, err := note.GenerateKey(nil, caseOrigin)
	r.must(err)
	r.signer, err = note.NewSigner(skey)
	r.must(err)
	r.policy, err = receipt.ParseTrustPolicy("test", []byte(receipt.FormatTrustPolicy(vkey)))
	r.must(err)
	r.log, err = ledger.Open(t.Context(), ledger.Config{Store: memstore.New(), Signer: r.signer, Fatal: func(error) {}, Logger: slog.New(slog.DiscardHandler), Clock: r.clock, Governs: ingest.Governs})
	r.must(err)
	t.Cleanup(r.log.Close)
	r.must(protojson.Unmarshal(c.Answer, r.want))
	r.fill()
	subject := &munimentv1.GateSubject{Type: c.Subject.Type, Artifact: &munimentv1.Artifact{Name: c.Subject.Name, Digest: c.Subject.Digest}}
	for _, p := range c.Parts {
		subject.Parts = append(subject.Parts, &munimentv1.GatePart{Digest: p.Digest, Platform: p.Name})
	}
	r.request = &munimentv1.DecideRequest{Tenant: "acme", Stage: c.Stage, Environment: c.Environment, Subjects: []*munimentv1.GateSubject{subject}, DryRun: true, Explain: true}
	return r
}

func (r *caseRig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// fill appends the entries of the case, and those of another tenant where the
// indexes have gaps.
func (r *caseRig) fill() {
	r.t.Helper()
	for i := range r.c.Entries {
		e := &r.c.Entries[i]
		for r.size() < e.Index {
			r.append(r.globex, &entry.Header{Kind: "attestation", Tenant: "globex"}, "filler", nil)
		}
		r.clock.ms = max(r.clock.ms, int64(e.Time))
		h, payload := e.Header, "an erased payload"
		if h == nil {
			h = &entry.Header{Kind: "attestation"}
		}
		if e.Payload != nil {
			payload = *e.Payload
		}
		h.Tenant = "acme"
		var erases *ledger.Erasure
		if h.Kind == ledger.ErasureKind {
			var at uint64
			fmt.Sscan(h.Attributes["entry"], &at)
			var err error
			erases, err = r.log.PlanErasure(r.t.Context(), r.acme, at, h.Attributes["scope"] == ledger.ScopeHeaderAndPayload)
			r.must(err)
		}
		r.append(r.acme, h, payload, erases)
	}
	for r.size() < max(1, r.want.GetTreeSize()) { // the smallest log has an entry
		r.append(r.globex, &entry.Header{Kind: "attestation", Tenant: "globex"}, "filler", nil)
	}
	r.want.TreeSize = proto.Uint64(r.size())
	r.clock.ms = max(r.clock.ms, r.c.Now)
}

func (r *caseRig) size() uint64 {
	if p := r.log.Published(); p != nil {
		return p.Size
	}
	return 0
}

func (r *caseRig) append(s *ledger.Stream, h *entry.Header, payload string, erases *ledger.Erasure) {
	r.t.Helper()
	d := ledger.Draft{Stream: s, Payload: receipt.PayloadOpening{Content: []byte(payload)}, Header: h, Erase: erases}
	d.LinkSalt, d.Opening.Salt, d.Payload.Salt = entry.NewSalts()
	h.Origin, h.IdempotencyKey = caseOrigin, fmt.Sprint(r.size())
	h.MediaType, h.Submitter = cmp.Or(h.MediaType, "application/json"), cmp.Or(h.Submitter, "token:other")
	h.Verification.Result = cmp.Or(h.Verification.Result, entry.Unverified)
	h.Payload = entry.PayloadRef{Commitment: entry.Commitment(d.Payload.Salt, d.Payload.Content), Size: uint64(len(payload))}
	var err error
	d.Opening.Content, err = h.AppendJSON(nil)
	r.must(err)
	if s == r.acme && payload != "an erased payload" {
		d.Facts, err = facts.Derive(r.t.Context(), h, func() ([]byte, error) { return []byte(payload), nil })
		r.must(err)
	}
	results, err := r.log.Append(r.t.Context(), []ledger.Draft{d})
	r.must(err)
	r.must(results[0].Err)
}

// compare asks all gates.
func (r *caseRig) compare() {
	r.t.Helper()
	online := r.serve(r.log, nil)
	if len(r.c.Subject.Digest) > 1 { // evidence about one proves nothing about another
		_, err := online.Gate.Decide(r.t.Context(), connect.NewRequest(r.request))
		if connect.CodeOf(err) != connect.CodeInvalidArgument {
			r.t.Errorf("several digests: %v", err)
		}
		return
	}
	r.check("API", online, true)

	var delta bytes.Buffer
	_, err := r.log.Export(r.t.Context(), &delta, 0, []*ledger.Stream{r.acme}, nil)
	r.must(err)
	replica := r.replica(delta.Bytes())
	kept, err := spool.Make(r.t.TempDir())
	r.must(err)
	defer kept.Close()
	there := r.serve(replica, kept)
	r.check("replica", there, true)
	spooled := []string{r.check("recording replica", there, false)}
	if reference := r.c.reference(); reference != "" {
		spooled = append(spooled, r.admit(there, kept, reference))
	}

	offline := newOfflineGate(r.replica(delta.Bytes()), r.acme, r.clock.time)
	offline.spool = kept
	client := &muniment.Client{Tenant: "acme", Gate: offline}
	r.check("delta", client, true)
	spooled = append(spooled, r.check("recording delta", client, false))
	r.bundles(replica)
	r.submit(online, kept, spooled...)
}

// bundles creates bundles of the log and of its replica, which must be equal.
// It asks the gate that decides from them.
func (r *caseRig) bundles(replica *ledger.Ledger) {
	r.t.Helper()
	artifact := decide.ArtifactOf(r.request.Subjects[0])
	for what, req := range map[string]bundle.Request{
		"of the artifact": {Artifacts: []decide.Artifact{artifact}},
		"of everything":   {Since: time.UnixMilli(1)},
	} {
		log, again, copied := r.bundle(r.log, req), r.bundle(r.log, req), r.bundle(replica, req)
		if !bytes.Equal(log, again) || !bytes.Equal(log, copied) {
			r.t.Fatalf("bundle %s: the log and its replica create different ones of the same state", what)
		}
		key := r.acme.Key
		var content *bundle.Log
		recompute := func(ctx context.Context, b *bundlefile.Bundle, _ *receipt.TrustPolicy) (*bundlefile.Reports, error) {
			content = r.content(b)
			return bundle.Recompute(ctx, b, content)
		}
		_, report, err := bundlefile.Verify(r.t.Context(), bytes.NewReader(log), int64(len(log)), []*receipt.TrustPolicy{r.policy}, bundlefile.Options{StreamKey: &key, Reports: recompute})
		if err != nil {
			r.t.Fatalf("bundle %s: %v", what, err)
		}
		if !report.Complete || report.Reports.Problem != "" {
			r.t.Errorf("bundle %s: complete %v, reports %+v", what, report.Complete, report.Reports)
		}
		r.check("bundle "+what, &muniment.Client{Tenant: "acme", Gate: newOfflineGate(content, r.acme, r.clock.time)}, true)
	}
}

// content returns a replica with the content of a bundle.
func (r *caseRig) content(b *bundlefile.Bundle) *bundle.Log {
	r.t.Helper()
	s := memstore.NewRaw()
	open := func() (ledger.Growth, error) { return bundle.OpenGrowth(r.t.Context(), b) }
	_, err := ledger.ImportGrowth(r.t.Context(), s, open, ledger.ImportOptions{Policy: r.policy, Streams: []*ledger.Stream{r.acme}, Derive: facts.Derive})
	r.must(err)
	content, err := bundle.NewLog(r.t.Context(), r.openReplica(s), b)
	r.must(err)
	return content
}

// bundle creates a bundle.
func (r *caseRig) bundle(l *ledger.Ledger, req bundle.Request) []byte {
	r.t.Helper()
	exceptions := &exception.Projection{Log: l, Now: r.clock.time}
	d := &decide.Decider{Log: l, Facts: decide.StoredFacts{Log: l}, Exceptions: exceptions, Now: r.clock.time}
	var out bytes.Buffer
	_, err := bundle.Create(r.t.Context(), &out, &bundle.Source{Ledger: l, Stream: r.acme, Tenant: "acme", Decider: d, Policy: r.policy}, &req)
	r.must(err)
	return out.Bytes()
}

// replica returns a replica of the log.
func (r *caseRig) replica(delta []byte) *ledger.Ledger {
	r.t.Helper()
	s := memstore.NewRaw()
	_, err := ledger.Import(r.t.Context(), s, bytes.NewReader(delta), int64(len(delta)), ledger.ImportOptions{Policy: r.policy, Streams: []*ledger.Stream{r.acme}, Derive: facts.Derive})
	r.must(err)
	return r.openReplica(s)
}

// openReplica opens a replica after an import.
func (r *caseRig) openReplica(s store.Store) *ledger.Ledger {
	r.t.Helper()
	l, err := ledger.OpenReplica(r.t.Context(), ledger.Config{Store: s, Logger: slog.New(slog.DiscardHandler)}, r.policy)
	r.must(err)
	r.t.Cleanup(l.Close)
	return l
}

// serve serves a log or replica, and returns a client.
func (r *caseRig) serve(l *ledger.Ledger, kept *spool.Spool) *muniment.Client {
	r.t.Helper()
	tenant := auth.Tenant{Name: "acme", Stream: r.acme, Tokens: []auth.Token{{ID: "acme", Hash: sha256.Sum256([]byte(caseToken)), Role: munimentv1.Role_ROLE_READER}}}
	settings := api.Settings{}
	settings.Tenants = []auth.Tenant{tenant}
	log := slog.New(slog.DiscardHandler)
	s, err := api.New(context.Background(), api.Config{Ledger: l, Settings: settings, Logger: log, Metrics: api.NewMetrics("test"), Now: r.clock.time, Spool: kept})
	r.must(err)
	hs := httptest.NewServer(s.Handler())
	transport := &http.Transport{}
	r.t.Cleanup(func() {
		s.Drain()
		transport.CloseIdleConnections()
		hs.Close()
	})
	client, err := muniment.New(muniment.Options{Server: hs.URL, Token: caseToken, Tenant: "acme", HTTPClient: &http.Client{Transport: transport}})
	r.must(err)
	return client
}

// check compares the answer of a gate, and of the command that asks it. It
// returns the digest of the spooled document.
func (r *caseRig) check(what string, client *muniment.Client, dry bool) string {
	r.t.Helper()
	request := proto.CloneOf(r.request)
	request.DryRun = dry
	res, err := client.Gate.Decide(r.t.Context(), connect.NewRequest(request))
	if err != nil {
		r.t.Errorf("%s: %v", what, err)
		return ""
	}
	got := res.Msg.Decisions[0]
	if res.Msg.TreeSize != r.want.GetTreeSize() || res.Msg.AsOf == nil {
		r.t.Errorf("%s: tree size %d as of %s", what, res.Msg.TreeSize, res.Msg.AsOf.AsTime())
	}
	if !proto.Equal(got.Decision, r.want) {
		r.t.Errorf("%s:\ngot  %v\nwant %v", what, got.Decision, r.want)
	}
	if !dry {
		return got.Spooled
	}
	set, err := controlSet(r.t.Context(), client)
	if err != nil {
		r.t.Errorf("%s: control set: %v", what, err)
	}
	report, err := newReport(r.t.Context(), client, set, request, []*subject{{GateSubject: request.Subjects[0]}})
	if err != nil {
		r.t.Errorf("%s: command: %v", what, err)
		return ""
	}
	one := report.Subjects[0]
	if report.Decision != r.want.Decision || one.Reason != r.want.Reason || len(one.Results) != len(r.want.Results) {
		r.t.Errorf("%s: command: %+v, want %v", what, report, r.want)
		return ""
	}
	for i, g := range one.Results {
		if w := r.want.Results[i]; g.Result != w.Result || g.Reason != w.Reason || fmt.Sprint(g.Entries) != fmt.Sprint(w.Entries) || fmt.Sprint(g.Missing) != fmt.Sprint(w.Missing) {
			r.t.Errorf("%s: command: %+v, want %v", what, g, w)
		}
	}
	return ""
}

// submit submits the spooled decisions to the log, which decides the same.
func (r *caseRig) submit(client *muniment.Client, kept *spool.Spool, digests ...string) {
	r.t.Helper()
	var documents [][]byte
	for _, digest := range digests {
		document, err := kept.Get(digest)
		r.must(err)
		documents = append(documents, document)
	}
	res, err := client.Gate.SubmitDecisions(r.t.Context(), connect.NewRequest(&munimentv1.SubmitDecisionsRequest{Tenant: "acme", Decisions: documents}))
	r.must(err)
	second := munimentv1.SubmissionResult_SUBMISSION_RESULT_REPEATED
	if !r.want.ValidUntil.AsTime().After(r.want.Decided.AsTime()) {
		second = munimentv1.SubmissionResult_SUBMISSION_RESULT_RECORDED
	}
	want := munimentv1.SubmissionResult_SUBMISSION_RESULT_RECORDED
	for _, got := range res.Msg.Results {
		if got.Result != want {
			r.t.Errorf("submitted: %v, want %v", got, want)
		}
		want = second
	}
}

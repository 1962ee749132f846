package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"muniment.dev/muniment/ingest/policy"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/sigstore"
)

// publicGood returns the trusted root of the public-good Sigstore instance.
func publicGood(change ...func(*RootFile)) *RootFile {
	f := &RootFile{Name: "public-good", Trusted: sigstore.PublicGood(), Document: sigstore.PublicGoodJSON()}
	for _, c := range change {
		c(f)
	}
	return f
}

func withAdmission(t *testing.T, cfg AdmissionConfig) (*Ingester, Submitter) {
	t.Helper()
	in, who, _ := newIngester(t)
	cfg.Ledger = in.Ledger
	var err error
	if in.Admission, err = NewAdmission(cfg); err != nil {
		t.Fatal(err)
	}
	return in, who
}

func appendOne(t *testing.T, in *Ingester, who Submitter, s Submission) ledger.Result {
	t.Helper()
	results, err := in.Append(context.Background(), who, []Submission{s})
	if err != nil {
		t.Fatal(err)
	}
	return results[0]
}

// headers returns the headers of the submitter's stream, oldest first.
func headers(t *testing.T, in *Ingester, who Submitter) []*entry.Header {
	t.Helper()
	var all []*entry.Header
	for q := (ledger.Query{OldestFirst: true, Limit: 1000}); ; {
		page, err := in.Ledger.List(context.Background(), who.Stream, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			all = append(all, e.Header)
		}
		if q.Token = page.Next; q.Token == "" {
			return all
		}
	}
}

// checkRules checks that each entry names the newest policy before it and only
// trusted roots recorded before it.
func checkRules(t *testing.T, in *Ingester, who Submitter) {
	t.Helper()
	inForce, roots := "", map[string]bool{}
	for i, h := range headers(t, in, who) {
		switch name := h.Attributes["name"]; {
		case h.Kind == "config" && (name == PolicyConfig || name == DefaultPolicyConfig):
			inForce = h.Attributes["digest"]
		case h.Kind == "config" && strings.HasPrefix(name, RootConfigPrefix):
			roots[h.Attributes["digest"]] = true
		}
		if h.AdmissionPolicy != inForce {
			t.Fatalf("entry %d of the stream (%s) names the policy %q, but %q is in force", i, h.Kind, h.AdmissionPolicy, inForce)
		}
		if r := h.Verification.TrustedRoot; r != "" && !roots[r] {
			t.Fatalf("entry %d of the stream names the trusted root %s, which is not recorded before it", i, r)
		}
	}
}

const enforceNothing = "version: 1\nmode: enforce\nrules:\n  - {name: findings, kinds: [finding], unsigned: true}\n"

// TestRulesAreEntries checks that the policy and the trusted roots in force are
// recorded once, before the first entry that they apply to.
func TestRulesAreEntries(t *testing.T) {
	in, who := withAdmission(t, AdmissionConfig{Roots: []*RootFile{publicGood()}})
	r := appendOne(t, in, who, Submission{Kind: "attestation", Payload: realEvidence(t, provenance)})
	if r.Err != nil || r.Index != 2 {
		t.Fatalf("%+v", r)
	}
	h := headers(t, in, who)[2]
	if h.Verification != (entry.Verification{Result: entry.Verified, Format: "sigstore", TrustedRoot: sigstore.PublicGood().Digest(), Reason: "in the log https://rekor.sigstore.dev, logged 2023-04-18T17:45:12Z"}) ||
		*h.Admission != (entry.Admission{Result: entry.Admitted, Rule: "everything"}) || h.AdmissionPolicy != policy.Digest([]byte(policy.Default)) {
		t.Errorf("%+v %+v %s", h.Verification, h.Admission, h.AdmissionPolicy)
	}
	if again := appendOne(t, in, who, Submission{Kind: "attestation", Payload: realEvidence(t, provenance)}); !again.Duplicate || again.Index != 2 {
		t.Errorf("the same again: %+v", again)
	}

	// A restarted server finds the recorded ones.
	var err error
	if in.Admission, err = NewAdmission(AdmissionConfig{Ledger: in.Ledger, Roots: []*RootFile{publicGood()}}); err != nil {
		t.Fatal(err)
	}
	if r := appendOne(t, in, who, Submission{Kind: "attestation", MediaType: "text/plain", Payload: []byte("x")}); r.Index != 3 {
		t.Errorf("a restart recorded something: the next entry is %d", r.Index)
	}

	// The tenant's own policy overrides the default one, even after a restart.
	if _, err := in.Admission.SetPolicy(context.Background(), who, []byte(enforceNothing), "why"); err != nil {
		t.Fatal(err)
	}
	other, _ := ParseAdmissionPolicy([]byte(strings.Replace(policy.Default, "everything\n", "all\n", 1)))
	if in.Admission, err = NewAdmission(AdmissionConfig{Ledger: in.Ledger, Roots: []*RootFile{publicGood()}, Default: other}); err != nil {
		t.Fatal(err)
	}
	p, index, err := in.Admission.Policy(context.Background(), who)
	if err != nil || string(p.Text()) != enforceNothing || index != 4 {
		t.Errorf("in force: entry %d, %v\n%s", index, err, p.Text())
	}
	r = appendOne(t, in, who, Submission{Kind: "attestation", Payload: realEvidence(t, provenance)})
	var refusal *Refusal
	if !errors.As(r.Err, &refusal) || refusal.Policy != p.Digest() {
		t.Errorf("%+v", r)
	}
	checkRules(t, in, who)

	// An invalid policy changes nothing.
	for text, wantErr := range map[string]string{"version: 1": "mode: missing", "version: 1\nmode: enforce\nsigners: {a: {identity: x, issuer: y, trusted_root: ours}}\nrules: [{name: r, signers: [a]}]": `trusted root "ours" is not in force`} {
		var wrong *policy.Error
		if _, err := in.Admission.SetPolicy(context.Background(), who, []byte(text), "why"); !errors.As(err, &wrong) || !strings.Contains(err.Error(), wantErr) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if now, _, _ := in.Admission.Policy(context.Background(), who); now.Digest() != p.Digest() {
		t.Error("an invalid policy is in force")
	}
}

// TestRulesRace checks that each entry names the policy and roots in force at
// its place while both change and callers cancel.
func TestRulesRace(t *testing.T) {
	in, who := withAdmission(t, AdmissionConfig{Roots: []*RootFile{publicGood()}})
	text := func(i int) []byte { return fmt.Appendf(nil, "# %d\n%s", i, policy.Default) }
	const policies, writers, entries = 20, 8, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range entries {
				ctx, cancel := context.WithCancel(context.Background())
				if i%5 == 0 {
					go cancel()
				}
				s := Submission{Kind: "attestation", MediaType: "text/plain", Payload: fmt.Appendf(nil, "%d %d", w, i)}
				if _, err := in.Append(ctx, who, []Submission{s}); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Go(func() {
		for i := range policies {
			ctx, cancel := context.WithCancel(context.Background())
			if i%3 == 0 {
				go cancel()
			}
			if _, err := in.Admission.SetPolicy(ctx, who, text(i), "why"); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			cancel()
			in.Admission.SetRoots([]*RootFile{publicGood(func(f *RootFile) { f.Confirmed = time.Now() })})
			if _, err := in.RecordConfig(context.Background(), who, Basis{}, "grant/x", []byte("{}"), ""); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	checkRules(t, in, who)
	if n := len(headers(t, in, who)); n < policies+writers*entries/2 {
		t.Errorf("only %d entries", n)
	}
}

// TestRootAges checks that an old trusted root causes a warning, that an
// expired one is not used, and that confirmation renews it.
func TestRootAges(t *testing.T) {
	var said bytes.Buffer
	age := time.Duration(0)
	in, who := withAdmission(t, AdmissionConfig{
		Roots:  []*RootFile{publicGood(func(f *RootFile) { f.WarnAfter, f.RefuseAfter = 30*24*time.Hour, 60*24*time.Hour })},
		Logger: slog.New(slog.NewTextHandler(&said, nil)), Now: func() time.Time { return time.Now().Add(age) },
	})
	result := func() entry.Verification {
		t.Helper()
		payload := append(realEvidence(t, provenance), make([]byte, 0)...)
		// Different bytes each time, so that it is not a duplicate.
		payload = append(payload, bytes.Repeat([]byte(" "), len(headers(t, in, who)))...)
		r := appendOne(t, in, who, Submission{Kind: "attestation", Payload: payload})
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		all := headers(t, in, who)
		return all[len(all)-1].Verification
	}
	if v := result(); v.Result != entry.Verified || said.Len() > 0 {
		t.Errorf("a new root: %+v\n%s", v, &said)
	}
	age = 31 * 24 * time.Hour
	if v := result(); v.Result != entry.Verified || strings.Count(said.String(), "expires soon") != 1 {
		t.Errorf("a root of 31 days: %+v\n%s", v, &said)
	}
	result()
	if strings.Count(said.String(), "expires soon") != 1 {
		t.Errorf("the warning is repeated immediately:\n%s", &said)
	}
	age = 61 * 24 * time.Hour
	if v := result(); v.Result != entry.Unverified || !strings.Contains(v.Reason, "and expired on 2") || !strings.Contains(said.String(), "trusted root expired") {
		t.Errorf("a root of 61 days: %+v\n%s", v, &said)
	}
	in.Admission.SetRoots([]*RootFile{publicGood(func(f *RootFile) {
		f.WarnAfter, f.RefuseAfter, f.Confirmed = 30*24*time.Hour, 60*24*time.Hour, time.Now().Add(time.Hour)
	})})
	age = time.Hour
	if v := result(); v.Result != entry.Verified {
		t.Errorf("a confirmed root: %+v", v)
	}
	checkRules(t, in, who)
	in.Admission.SetRoots([]*RootFile{publicGood(func(f *RootFile) { f.Tenants = []string{"globex"} })})
	if v := result(); v.Result != entry.Unverified || !strings.Contains(v.Reason, "no trusted root in force contains") {
		t.Errorf("a root of another tenant: %+v", v)
	}
}

// TestHostileEvidence checks that hostile evidence is refused with a clear
// error, in bounded memory, and not recorded.
func TestHostileEvidence(t *testing.T) {
	soak.WithoutRace(t)
	in, who := withAdmission(t, AdmissionConfig{})
	in.MaxPayload = 16 << 20
	if _, err := in.Admission.SetPolicy(context.Background(), who, []byte("version: 1\nmode: enforce\nrules:\n  - name: others\n    deny: true\n    subjects: {names: ['registry.globex.example/**']}\n"+
		"  - name: r\n    unsigned: true\n    condition: predicate == null || !has(predicate.x) || predicate.x != 1\n"), "why"); err != nil {
		t.Fatal(err)
	}
	before := len(headers(t, in, who))
	const size = 10_000_000
	st := func(subject, predicate string) string {
		return `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"` + subject + `","digest":{"sha256":"aa"}}],"predicateType":"https://example.com/p","predicate":` + predicate + `}`
	}
	fill := func(s string) string { return strings.Repeat(s, size/len(s)) }
	for _, c := range []struct{ name, kind, mediaType, payload, wantErr string }{
		{"nested arrays in a predicate", "attestation", "", st("a", `{"a":`+fill("[")), "nested"},
		{"nested objects in a document", "attestation", "application/spdx+json", fill(`{"a":`), "not JSON"},
		{"a predicate too large for conditions", "attestation", "", st("a", `{"a":"`+fill("x")+`"}`), "above the limit of 2097152"},
		{"a typed document that is too large", "control", "", `{"parameters":{"a":[` + fill("1,") + `1]}}`, "above the limit of 1048576 for kind control"},
		{"nesting in a typed document", "control", "", `{"parameters":{"a":` + strings.Repeat("[", maxTyped-100), "recursion"},
		{"gzip", "attestation", "application/vnd.in-toto+gzip", "\x1f\x8b\x08", "compressed"},
		{"zstd", "attestation", "application/spdx+json+zstd", "\x28\xb5\x2f\xfd", "compressed"},
		{"another tenant's subject", "attestation", "", st("registry.globex.example/app", "{}"), `rule "others": the rule denies it`},
		{"an envelope without signatures", "attestation", "", `{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[]}`, "signatures"},
		{"an envelope with too many signatures", "attestation", "", `{"payloadType":"text/plain","payload":"e30=","signatures":[` + strings.Repeat(`{"sig":"AA=="},`, 64) + `{"sig":"AA=="}]}`, "more than 64"},
	} {
		s := Submission{Kind: c.kind, MediaType: c.mediaType, Payload: []byte(c.payload)}
		if IsEvent(c.kind) {
			s.IdempotencyKey = "x"
		}
		var was, is runtime.MemStats
		runtime.ReadMemStats(&was)
		r := appendOne(t, in, who, s)
		runtime.ReadMemStats(&is)
		if r.Err == nil || !strings.Contains(r.Err.Error(), c.wantErr) || len(r.Err.Error()) > 2000 {
			t.Errorf("%s: %.300v", c.name, r.Err)
		}
		if spent := is.TotalAlloc - was.TotalAlloc; spent > 100<<20 {
			t.Errorf("%s: allocated %d MiB for %d MB", c.name, spent>>20, len(c.payload)/1_000_000)
		}
	}
	if after := len(headers(t, in, who)); after != before {
		t.Errorf("%d entries were recorded", after-before)
	}
}

// A submission that is decided before a change of the rules, and arrives after
// it, is decided again. The observer of decisions makes the change between the
// two.
func TestDecidedAgain(t *testing.T) {
	in, who := withAdmission(t, AdmissionConfig{})
	ctx := context.Background()
	appendOne(t, in, who, Submission{Kind: "attestation", MediaType: "text/plain", Payload: []byte("before")})
	decisions := 0
	in.Decided = func(*policy.Decision) {
		if decisions++; decisions > 1 {
			return
		}
		if _, err := in.Admission.SetPolicy(ctx, who, []byte(enforceNothing), "in between"); err != nil {
			t.Error(err)
		}
	}
	r := appendOne(t, in, who, Submission{Kind: "attestation", MediaType: "text/plain", Payload: []byte("late")})
	var refusal *Refusal
	if !errors.As(r.Err, &refusal) || decisions != 2 {
		t.Errorf("evidence that the new policy refuses: %+v after %d decisions", r, decisions)
	}
	checkRules(t, in, who)
}

// A submission whose credentials end between its decision and its entry is not
// recorded.
func TestCredentialsEndInBetween(t *testing.T) {
	in, who := withAdmission(t, AdmissionConfig{})
	ctx := context.Background()
	ended := errors.New("revoked")
	var gone error
	who.Valid = func() error { return gone }
	in.Decided = func(*policy.Decision) {
		gone = ended
		other := who
		other.Valid = nil
		if _, err := in.RecordConfig(ctx, other, Basis{}, "grant/x", nil, "revoke it"); err != nil {
			t.Error(err)
		}
	}
	size := in.Ledger.Published().Size
	_, err := in.Append(ctx, who, []Submission{{Kind: "attestation", MediaType: "text/plain", Payload: []byte("late")}})
	if !errors.Is(err, ended) {
		t.Errorf("got error %v", err)
	}
	for _, h := range headers(t, in, who) {
		if h.Kind == "attestation" {
			t.Error("the evidence was recorded")
		}
	}
	if in.Ledger.Published().Size == size {
		t.Error("nothing was recorded, so nothing was tested")
	}
}

// Whatever a submitter records, the submitter is introduced first. If that
// fails, nothing is recorded.
func TestIntroducedFirst(t *testing.T) {
	ctx := context.Background()
	in, who := withAdmission(t, AdmissionConfig{})
	in.SetLimits(1<<20, 1<<20)
	appendOne(t, in, who, Submission{Kind: "attestation", MediaType: "text/plain", Payload: []byte("the rules are recorded")})
	refused := errors.New("not now")
	for name, act := range map[string]func(Submitter) error{
		"Append": func(who Submitter) error {
			_, err := in.Append(ctx, who, []Submission{{Kind: "attestation", MediaType: "text/plain", Payload: []byte("x")}})
			return err
		},
		"AppendStream": func(who Submitter) error {
			_, err := in.AppendStream(ctx, who, &Stream{Kind: "attestation", MediaType: "text/plain", Payload: strings.NewReader("y")})
			return err
		},
		"RecordConfig": func(who Submitter) error {
			_, err := in.RecordConfig(ctx, who, Basis{}, "grant/x", []byte("{}"), "")
			return err
		},
		"SetPolicy": func(who Submitter) error {
			_, err := in.Admission.SetPolicy(ctx, who, []byte("version: 1\nmode: record\nrules:\n  - {name: everything, unsigned: true}\n"), "")
			return err
		},
	} {
		who, size, asked := who, in.Ledger.Published().Size, 0
		who.Introduce = func(context.Context) error { asked++; return refused }
		if err := act(who); !errors.Is(err, refused) || in.Ledger.Published().Size != size {
			t.Errorf("%s of a submitter who cannot be introduced: %v", name, err)
		}
		who.Introduce = func(context.Context) error { asked++; return nil }
		if err := act(who); err != nil || asked < 2 || in.Ledger.Published().Size == size {
			t.Errorf("%s: introduced %d times, %v", name, asked, err)
		}
	}
	who.Introduce = func(context.Context) error { return refused }
	if _, _, err := in.Admission.Policy(ctx, who); err != nil {
		t.Errorf("reading the policy: %v", err)
	}
}

// Records of who was admitted do not affect drafts in progress.
func TestExchangesOvertakeNothing(t *testing.T) {
	for name, want := range map[string]bool{PolicyConfig: true, "trusted-root/a": true, "legal-hold/x": true, "grant/ci": true, "retention": true, ExchangeType + "/00": false, SessionType + "/00": false} {
		h := &entry.Header{Kind: "config", Attributes: map[string]string{"name": name}}
		h.Attributes["type"], _, _ = strings.Cut(name, "/")
		if Governs(h) != want {
			t.Errorf("%s governs: %t", name, !want)
		}
	}
	if Governs(&entry.Header{Kind: "attestation", Attributes: map[string]string{"type": "grant"}}) {
		t.Error("an attestation governs")
	}
	for _, kind := range Kinds() {
		if kind != "config" && Governs(&entry.Header{Kind: kind}) != ordered[kind] {
			t.Errorf("kind %s governs: %t", kind, !ordered[kind])
		}
	}
}

// Two servers with different default policies or trusted roots do not go on
// replacing each other's. The other server acts each time that this one has
// decided.
func TestServersWithDifferentRules(t *testing.T) {
	defaults, err := ParseAdmissionPolicy([]byte(enforceNothing))
	if err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]AdmissionConfig{
		"default policy": {Default: defaults, Roots: []*RootFile{publicGood()}},
		"trusted root":   {Roots: []*RootFile{publicGood(func(f *RootFile) { f.Trusted, f.Document = anotherRoot(t) })}},
		"neither":        {Roots: []*RootFile{publicGood()}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			in, who := withAdmission(t, AdmissionConfig{Roots: []*RootFile{publicGood()}})
			other.Ledger = in.Ledger
			there := &Ingester{Ledger: in.Ledger, MaxPayload: in.MaxPayload}
			if there.Admission, err = NewAdmission(other); err != nil {
				t.Fatal(err)
			}
			decisions := 0
			in.Decided = func(*policy.Decision) {
				if decisions++; decisions > 2*maxOvertaken {
					return
				}
				_, _, err := there.Admission.Policy(ctx, who)
				if err == nil && name == "neither" { // but its administrator is busy
					_, err = there.RecordConfig(ctx, who, Basis{}, "grant/x", []byte("{}"), "")
				}
				if err != nil {
					t.Error(err)
				}
			}
			evidence := []Submission{{Kind: "attestation", MediaType: "text/plain", Payload: []byte("evidence")}}
			if _, err := in.Append(ctx, who, evidence); !errors.Is(err, ErrContended) {
				t.Errorf("got error %v after %d decisions", err, decisions)
			}
			for _, h := range headers(t, in, who) {
				if h.Kind == "attestation" {
					t.Error("the evidence was recorded")
				}
			}
			in.Decided = nil
			if r := appendOne(t, in, who, evidence[0]); r.Err != nil {
				t.Error(r.Err)
			}
			checkRules(t, in, who)
		})
	}
}

// anotherRoot returns a trusted root that is not the public-good one.
func anotherRoot(t *testing.T) (*sigstore.TrustedRoot, []byte) {
	t.Helper()
	document := append(bytes.TrimSpace(sigstore.PublicGoodJSON()), '\n', '\n')
	root, err := sigstore.ParseTrustedRoot(document)
	if err != nil {
		t.Fatal(err)
	}
	return root, document
}

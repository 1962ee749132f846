package decide

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/export"
	"muniment.dev/muniment/verifiers/facts"
)

// day0 is the time of the first entries.
var day0 = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func hours(n float64) time.Duration { return time.Duration(n * float64(time.Hour)) }

// A world is a stream in memory. It is a Log.
type world struct {
	entries []*worldEntry
	size    uint64 // of the log; 0: one above the last entry
	now     float64
	reads   int
}

// A worldEntry is an entry with its payload.
type worldEntry struct {
	ledger.Entry
	payload []byte // nil: erased
}

// add appends an entry at the time of the world.
func (w *world) add(h entry.Header, payload string) uint64 {
	index := uint64(len(w.entries))
	if n := len(w.entries); n > 0 {
		index = w.entries[n-1].Index + 1
	}
	if h.Submitter == "" {
		h.Submitter = "token:ci"
	}
	if h.Verification.Result == "" {
		h.Verification.Result = entry.Unverified
	}
	h.Payload.Size = uint64(len(payload))
	w.entries = append(w.entries, &worldEntry{ledger.Entry{Index: index, Header: &h, Skeleton: entry.Skeleton{Time: uint64(day0.Add(hours(w.now)).UnixMilli())}}, []byte(payload)})
	return index
}

func (w *world) Published() *ledger.Published {
	p := &ledger.Published{Size: w.size}
	if n := len(w.entries); n > 0 {
		last := w.entries[n-1]
		p.Size, p.Time = max(p.Size, last.Index+1), last.Skeleton.Time
	}
	return p
}

func (w *world) Next(ctx context.Context, _ *ledger.Published, _ *ledger.Stream, f ledger.Filter, from uint64) (*ledger.Entry, uint64, error) {
	for _, e := range w.entries {
		w.reads++
		if e.Index >= from && e.Header != nil && f.Matches(&e.Entry) {
			return &e.Entry, e.Index + 1, nil
		}
	}
	return nil, max(from, w.Published().Size), ctx.Err()
}

func (w *world) List(ctx context.Context, _ *ledger.Stream, q ledger.Query) (*ledger.Page, error) {
	page := &ledger.Page{Size: w.Published().Size}
	below := q.Below
	if below == 0 {
		below = page.Size
	}
	if q.Token != "" {
		if _, err := fmt.Sscan(q.Token, &below); err != nil {
			return nil, err
		}
	}
	for _, e := range slices.Backward(w.entries) {
		w.reads++
		if e.Index >= below || !f(q.Filter).Matches(&e.Entry) {
			continue
		}
		if len(page.Entries) == q.Limit {
			page.Next = fmt.Sprint(e.Index + 1)
			break
		}
		page.Entries = append(page.Entries, e.Entry)
	}
	return page, ctx.Err()
}

func f(filter ledger.Filter) *ledger.Filter { return &filter }

func (w *world) Entry(_ context.Context, _ *ledger.Stream, index uint64) (*ledger.Entry, error) {
	for _, e := range w.entries {
		if e.Index == index {
			return &e.Entry, nil
		}
	}
	return nil, ledger.ErrNotFound
}

func (w *world) Payload(_ context.Context, e *ledger.Entry) (*receipt.PayloadOpening, error) {
	for _, x := range w.entries {
		if x.Index == e.Index && x.payload != nil {
			return &receipt.PayloadOpening{Content: x.payload}, nil
		}
	}
	return nil, nil
}

// erase erases an entry's payload, and with header also its header.
func (w *world) erase(index uint64, header bool) {
	scope := ledger.ScopePayload
	for _, e := range w.entries {
		if e.Index == index {
			if e.payload = nil; header {
				e.Header, scope = nil, ledger.ScopeHeaderAndPayload
			}
		}
	}
	w.add(entry.Header{Kind: ledger.ErasureKind, Attributes: map[string]string{"entry": fmt.Sprint(index), "scope": scope}}, "{}")
}

// decider returns a decider whose clock is that of the world.
func (w *world) decider() *Decider {
	now := func() time.Time { return day0.Add(hours(w.now)) }
	return &Decider{Log: w, Facts: payloadFacts{w}, Exceptions: &exception.Projection{Log: w, Now: now}, Now: now}
}

var stream = ledger.NewStream(entry.StreamKey{1})

// ask makes one decision.
func (w *world) ask(t testing.TB, d *Decider, q Question, a Artifact) *evaluate.Decision {
	t.Helper()
	var got *evaluate.Decision
	err := d.Decide(context.Background(), "acme", stream, &q, []Artifact{a}, func(_ int, one *evaluate.Decision) error {
		got = one
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// obj is a JSON object.
type obj = map[string]any

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// put appends a control set with the controls. A control can lack what most
// have in common.
func (w *world) put(set obj, controls ...obj) uint64 {
	whole := obj{"version": "1", "stages": []string{"build", "promote", "deploy"}, "signers": signers}
	maps.Copy(whole, set)
	var listed []obj
	for _, c := range controls {
		full := obj{"title": "A control", "state": "active", "severity": "high", "modes": []obj{{"stage": "deploy", "mode": "enforce"}}}
		maps.Copy(full, c)
		payload := text(full)
		w.add(entry.Header{Kind: kindname.Control, Controls: []string{full["id"].(string)}, Submitter: kim}, payload)
		listed = append(listed, obj{"id": full["id"], "digest": entry.SHA256([]byte(payload))})
	}
	if whole["controls"] == nil {
		whole["controls"] = listed
	}
	return w.add(entry.Header{Kind: kindname.ControlSet, Submitter: kim}, text(whole))
}

// Signers of evidence.
const (
	workflow = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1"
	issuer   = "https://token.actions.githubusercontent.com"
)

// signers are those of the control sets.
var signers = []obj{
	{"name": "workflow", "identityRegexp": `https://github\.com/acme/[a-z]+/\.github/workflows/release\.yml@refs/tags/.*`, "issuer": issuer},
	{"name": "scanner", "keyIds": []string{"SHA256:scanner", "SHA256:scanner2"}},
	{"name": "person", "identity": "dana@acme.example", "issuer": "https://idp.example"},
	{"name": "robot", "submitters": []string{"token:robot-*"}},
}

// People.
const (
	dana = "oidc:https://idp.example#dana"
	kim  = "oidc:https://idp.example#kim"
	lee  = "oidc:https://idp.example#lee"
)

var (
	byWorkflow = entry.Signer{Identity: workflow, Issuer: issuer}
	byScanner  = entry.Signer{KeyID: "SHA256:scanner"}
	byScanner2 = entry.Signer{KeyID: "SHA256:scanner2"}
	byMallory  = entry.Signer{Identity: "mallory@evil.example", Issuer: issuer}
)

// Types of predicates.
const (
	manifest   = export.PredicateType
	provenance = "https://slsa.dev/provenance/v1"
	scan       = "https://cosign.sigstore.dev/attestation/vuln/v1"
	vex        = "https://openvex.dev/ns/v0.2.0"
	testResult = "https://in-toto.io/attestation/test-result/v0.1"
)

func sha(hex string) map[string]string { return map[string]string{"sha256": strings.Repeat(hex, 64)} }

// app is the artifact of most cases.
var app = Artifact{Subject: evaluate.Subject{Type: "image", Name: "registry.example/app:1.2", Digest: sha("a")}}

// attest appends a verified attestation about the artifact with a digest.
func (w *world) attest(predicateType string, predicate any, digest map[string]string, by ...entry.Signer) uint64 {
	subject := entry.Subject{Name: "app", Digest: digest}
	statement := obj{"_type": "https://in-toto.io/Statement/v1", "subject": []any{obj{"name": "app", "digest": digest}}, "predicateType": predicateType, "predicate": predicate}
	h := entry.Header{Kind: kindname.Attestation, MediaType: "application/vnd.in-toto+json", PredicateType: predicateType, Subjects: []entry.Subject{subject}, Signers: by}
	if len(by) > 0 {
		h.Verification.Result = entry.Verified
	}
	return w.add(h, text(statement))
}

// manifest appends an export manifest whose loss is 0.5. The file of the
// manifest is the app.
func (w *world) manifest(epsilon string, by entry.Signer) uint64 {
	claimed := obj{"claimedBy": obj{"keyId": by.KeyID}}
	if by.KeyID == "" {
		claimed = obj{"claimedBy": obj{"identity": by.Identity, "issuer": by.Issuer}}
	}
	i := w.attest(manifest, obj{
		"tenant": "acme", "exportId": "e", "created": "2026-11-01T00:00:00Z",
		"files":     []any{obj{"name": "a.csv", "digest": sha("b"), "size": 2, "mediaType": "text/csv", "license": []string{"MIT"}}},
		"residency": obj{"claims": []any{with(claimed, obj{"activity": "storage", "locations": []any{obj{"country": "DE"}}})}},
		"licenses":  obj{"spdxListVersion": "3.29.0"},
		"privacy": obj{
			"dp_flavor":    obj{"name": "Pure DP"},
			"privacy_loss": obj{"privacy_unit": "User-level", "neighboring_relation": "bounded", "privacy_parameters": obj{"epsilon": epsilon}},
			"mechanisms":   []any{obj{"name": "Laplace", "sensitivity": "1/4", "scale": "1", "count": 2}},
			"sensitivity":  claimed, "sampler": with(claimed, obj{"name": "s"}),
			"budget": obj{"name": "b", "epsilon": "1", "spent": obj{"epsilon": epsilon}},
		},
	}, sha("b"), by)
	w.last().Kind = kindname.ExportManifest
	w.last().Subjects = append(w.last().Subjects, entry.Subject{Name: "e", Digest: app.Digest})
	return i
}

// last returns the header of the newest entry, to be changed.
func (w *world) last() *entry.Header { return w.entries[len(w.entries)-1].Header }

func buildOf(builder string) obj {
	return obj{"buildDefinition": obj{"buildType": "https://example.com/build", "externalParameters": obj{"ref": "v1"}}, "runDetails": obj{"builder": obj{"id": builder}}}
}

// scanOf is a report of grype. Each vulnerability is ID/severity/package.
func scanOf(vulnerabilities ...string) obj {
	matches := []obj{}
	for _, v := range vulnerabilities {
		parts := strings.Split(v, "/")
		matches = append(matches, obj{"vulnerability": obj{"id": parts[0], "severity": parts[1]}, "artifact": obj{"name": parts[2], "version": "1.0", "purl": "pkg:golang/example.com/" + parts[2] + "@1.0"}})
	}
	return obj{"scanner": obj{"uri": "grype", "version": "0.99", "result": obj{"matches": matches}}}
}

// vexOf has a statement for each of ID/status.
func vexOf(statements ...string) obj {
	all := []obj{}
	for _, s := range statements {
		id, status, _ := strings.Cut(s, "/")
		all = append(all, obj{"vulnerability": obj{"name": id}, "status": status, "justification": "vulnerable_code_not_present"})
	}
	return obj{"author": "acme", "statements": all}
}

// finding appends a finding. It has no subjects without a digest.
func (w *world) finding(id, severity, status string, digest map[string]string, controls ...string) uint64 {
	h := entry.Header{Kind: kindname.Finding, Controls: controls, Submitter: kim, Attributes: map[string]string{
		"finding": id, "severity": severity, "status": status, "source": "audit", "detected": day0.Add(hours(w.now)).Format(time.RFC3339)}}
	if digest != nil {
		h.Subjects = []entry.Subject{{Digest: digest}}
	}
	if status == "resolved" {
		h.Attributes["resolution"] = "accepted"
	}
	return w.add(h, "{}")
}

// request appends a request by dana for an exception from a control.
func (w *world) request(id, control string, expires float64, change ...func(*entry.Header)) uint64 {
	h := entry.Header{Kind: kindname.ExceptionRequest, Controls: []string{control}, Submitter: dana, Subjects: []entry.Subject{{Digest: app.Digest}},
		Attributes: map[string]string{"exception": id, "expires": day0.Add(hours(expires)).Format(time.RFC3339)}}
	for _, c := range change {
		c(&h)
	}
	return w.add(h, "{}")
}

// decision appends a decision about the exception in an entry.
func (w *world) decision(id string, request uint64, action, by string, expires ...float64) uint64 {
	a := map[string]string{"exception": id, "request": fmt.Sprint(request), "decision": action}
	if len(expires) > 0 {
		a["expires"] = day0.Add(hours(expires[0])).Format(time.RFC3339)
	}
	return w.add(entry.Header{Kind: kindname.ExceptionDecision, Attributes: a, Submitter: by}, "{}")
}

// keyEvent appends an event of a key or identity.
func (w *world) keyEvent(event string, s entry.Signer, from float64) uint64 {
	a := map[string]string{"event": event, "from": day0.Add(hours(from)).Format(time.RFC3339)}
	for name, v := range map[string]string{"keyId": s.KeyID, "identity": s.Identity, "issuer": s.Issuer} {
		if v != "" {
			a[name] = v
		}
	}
	return w.add(entry.Header{Kind: kindname.KeyEvent, Attributes: a, Submitter: kim}, "{}")
}

// register appends the registration of a key to a person.
func (w *world) register(keyID, person, by string) {
	w.keyEvent("registered", entry.Signer{KeyID: keyID}, 0)
	w.last().Attributes["person"], w.last().Submitter = person, by
}

// summary returns what matters of a decision in one line. The end of its
// validity is in hours after the decision.
func summary(d *evaluate.Decision) string {
	parts := []string{string(d.Decision)}
	if d.Reason != "" {
		reason, _, _ := strings.Cut(d.Reason, ":")
		parts[0] += " " + reason
	}
	for i := range d.Results {
		r := &d.Results[i]
		s := r.Control
		if r.Mode != evaluate.Enforce {
			s += " (" + string(r.Mode) + ")"
		}
		s += " " + r.Result
		if r.Code() != r.Result {
			s += " " + r.Code()
		}
		if m := missing(r); len(m) > 0 {
			s += " [" + strings.Join(m, ", ") + "]"
		}
		for _, x := range r.Exceptions {
			s += " " + x.ID
		}
		parts = append(parts, s)
	}
	return strings.Join(append(parts, fmt.Sprintf("%gh", d.ValidUntil.Sub(d.Decided).Hours())), "; ")
}

// missing returns the requirements that are not met, with the names of parts.
func missing(r *evaluate.Result) []string {
	var all []string
	for _, line := range r.Missing {
		name, _, _ := strings.Cut(line, ": needs")
		all = append(all, name)
	}
	return all
}

// payloadFacts extracts facts from payloads.
type payloadFacts struct{ Log Log }

func (p payloadFacts) FactsOf(ctx context.Context, _ *ledger.Stream, e *ledger.Entry) (*facts.Facts, error) {
	return facts.OfPayload(ctx, e.Header, func() ([]byte, error) {
		content, err := p.Log.Payload(ctx, e)
		if err != nil {
			return nil, err
		}
		if content == nil {
			return nil, fmt.Errorf("payload of entry %d: %w", e.Index, ledger.ErrErased)
		}
		return content.Content, nil
	})
}

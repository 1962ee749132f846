package inventory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store/memstore"
)

// A world is one stream of a ledger in memory. Its clock stands still unless it
// is set.
type world struct {
	t      *testing.T
	ledger *ledger.Ledger
	stream *ledger.Stream
	reader *Reader
	now    time.Time
	count  int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	skey, _, err := note.GenerateKey(nil, "ledger.test/log")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, stream: ledger.NewStream(entry.StreamKey{1}), now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
	clock := func() time.Time { return w.now }
	w.ledger, err = ledger.Open(context.Background(), ledger.Config{Store: memstore.New(), Signer: signer, Clock: w, Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.ledger.Close)
	d := &decide.Decider{Log: w.ledger, Facts: decide.StoredFacts{Log: w.ledger}, Exceptions: &exception.Projection{Log: w.ledger, Now: clock}, Now: clock}
	w.reader = &Reader{Decider: d, Projection: &Projection{Log: w.ledger}}
	return w
}

// Now implements ledger.Clock.
func (w *world) Now() (time.Time, time.Duration) { return w.now, time.Duration(w.now.UnixNano()) }

// add appends an entry, and returns its index.
func (w *world) add(h *entry.Header, payload string, erase *ledger.Erasure) uint64 {
	w.t.Helper()
	w.count++
	d := ledger.Draft{Stream: w.stream, Header: h, Payload: receipt.PayloadOpening{Content: []byte(payload)}, Erase: erase}
	d.LinkSalt, d.Opening.Salt, d.Payload.Salt = entry.NewSalts()
	h.Origin, h.Tenant, h.MediaType, h.IdempotencyKey = w.ledger.Origin(), "acme", "application/json", fmt.Sprint(w.count)
	if h.Submitter == "" {
		h.Submitter = "token:acme"
	}
	if h.Verification.Result == "" {
		h.Verification.Result = entry.Unverified
	}
	h.Payload = entry.PayloadRef{Size: uint64(len(payload)), Commitment: entry.Commitment(d.Payload.Salt, []byte(payload))}
	var err error
	if d.Opening.Content, err = h.AppendJSON(nil); err != nil {
		w.t.Fatal(err)
	}
	results, err := w.ledger.Append(context.Background(), []ledger.Draft{d})
	if err != nil {
		w.t.Fatal(err)
	}
	if results[0].Err != nil {
		w.t.Fatal(results[0].Err)
	}
	return results[0].Index
}

func sha(hex string) string { return strings.Repeat(hex, 64) }

// inventory appends an inventory. Each item is TYPE:NAME:HEX, or TYPE:NAME for
// what has no digest.
func (w *world) inventory(scope, environment, source string, items ...string) uint64 {
	return w.part(scope, environment, source, "", 0, 0, items...)
}

func (w *world) part(scope, environment, source, observation string, part, parts int, items ...string) uint64 {
	w.t.Helper()
	a := map[string]string{"scope": scope, "environment": environment, "source": source, "observed": w.now.Format(time.RFC3339), "items": fmt.Sprint(len(items))}
	if parts > 0 {
		a["observation"], a["part"], a["parts"] = observation, fmt.Sprint(part), fmt.Sprint(parts)
	}
	var listed, unidentified []string
	for _, i := range items {
		f := strings.Split(i, ":")
		if len(f) == 2 {
			unidentified = append(unidentified, fmt.Sprintf(`{"type":%q,"name":%q,"reason":"no digest"}`, f[0], f[1]))
			continue
		}
		extra := ""
		if len(f) == 4 {
			extra = fmt.Sprintf(`,"parts":[{"digest":{"sha256":%q},"platform":"linux/arm64"}]`, sha(f[3]))
		}
		listed = append(listed, fmt.Sprintf(`{"type":%q,"artifact":{"name":%q,"digest":{"sha256":%q}},"workload":"shop/deployment/web"%s}`, f[0], f[1], sha(f[2]), extra))
	}
	payload := fmt.Sprintf(`{"items":[%s],"unidentified":[%s]}`, strings.Join(listed, ","), strings.Join(unidentified, ","))
	return w.add(&entry.Header{Kind: kindname.Inventory, Attributes: a}, payload, nil)
}

const releaseKey = "sha256:1111111111111111111111111111111111111111111111111111111111111111"

// attest appends an attestation that a key has signed, or one that is not
// signed.
func (w *world) attest(hex, key string) uint64 {
	h := &entry.Header{Kind: kindname.Attestation, PredicateType: "https://slsa.dev/provenance/v1", Subjects: []entry.Subject{{Digest: map[string]string{"sha256": sha(hex)}}}}
	if key != "" {
		h.Signers, h.Verification.Result = []entry.Signer{{KeyID: key}}, entry.Verified
	}
	return w.add(h, "{}", nil)
}

// Controls, by what they are about.
var controls = map[string]string{
	"signed":   `{"id":"SIGNED","title":"t","state":"active","severity":"high","appliesTo":{"types":["image","chart"],"names":["registry.example/**"]},"check":{"require":[{"name":"provenance","predicateTypes":["https://slsa.dev/provenance/*"],"signers":["release"]}]},"modes":[{"stage":"deploy","mode":"enforce"}],"exceptions":{"approvers":1}}`,
	"any":      `{"id":"ANY","title":"t","state":"active","severity":"high","check":{"require":[{"name":"any","unsigned":true}]},"modes":[{"stage":"deploy","mode":"enforce"}]}`,
	"warn":     `{"id":"WARN","title":"t","state":"active","severity":"high","check":{"require":[{"name":"provenance","signers":["release"]}]},"modes":[{"stage":"deploy","mode":"warn"}]}`,
	"included": `{"id":"INCLUDED","title":"t","state":"active","severity":"high","check":{"condition":"stage == 'deploy'"},"includes":["WARN"],"modes":[{"stage":"deploy","mode":"enforce"}]}`,
}

func (w *world) controls(names ...string) {
	w.t.Helper()
	var listed []string
	for _, n := range names {
		payload := controls[n]
		id := strings.Split(payload, `"`)[3]
		w.add(&entry.Header{Kind: kindname.Control, Controls: []string{id}}, payload, nil)
		listed = append(listed, fmt.Sprintf(`{"id":%q,"digest":%q}`, id, entry.SHA256([]byte(payload))))
	}
	set := fmt.Sprintf(`{"version":"1","stages":["build","deploy"],"signers":[{"name":"release","keyIds":[%q]}],"controls":[%s]}`, releaseKey, strings.Join(listed, ","))
	w.add(&entry.Header{Kind: kindname.ControlSet, Attributes: map[string]string{"version": "1"}}, set, nil)
}

// cover returns a line for each count, gap and problem.
func (w *world) cover(q Query, by Criteria) string {
	w.t.Helper()
	if by == (Criteria{}) {
		by.Stage = "deploy"
	}
	var gaps []string
	c, err := w.reader.Cover(context.Background(), "acme", w.stream, &q, by, func(a *Artifact, g *Gap, _, _ int) error {
		if g != nil {
			gaps = append(gaps, fmt.Sprintf("%s %s %s", a.Type, a.Name(), g.Reason))
		}
		return nil
	})
	if err != nil {
		return err.Error()
	}
	var lines []string
	for _, n := range c.Counts {
		lines = append(lines, fmt.Sprintf("%s %s %d/%d", n.Environment, n.Type, n.Attested, n.Inventoried))
	}
	lines = append(lines, gaps...)
	for _, p := range c.Problems {
		before, _, _ := strings.Cut(p, ":")
		lines = append(lines, "? "+before)
	}
	return strings.Join(lines, "\n")
}

func (w *world) want(what string, q Query, by Criteria, lines ...string) {
	w.t.Helper()
	if got, want := w.cover(q, by), strings.Join(lines, "\n"); got != want {
		w.t.Errorf("%s:\n%s\nwant\n%s", what, got, want)
	}
}

func TestCoverage(t *testing.T) {
	w := newWorld(t)
	w.want("nothing", Query{}, Criteria{}, "? nothing is inventoried")
	w.inventory(Runs, "prod", "a", "image:registry.example/web:a")
	w.want("no control set", Query{}, Criteria{}, "prod image 0/1", "image registry.example/web undecided", "? no control set is in force")
	w.controls("signed")
	w.want("an artifact without evidence", Query{}, Criteria{}, "prod image 0/1", "image registry.example/web not-satisfied")
	w.attest("a", "")
	w.attest("a", "sha256:"+sha("2"))
	w.want("evidence of strangers", Query{}, Criteria{}, "prod image 0/1", "image registry.example/web not-satisfied")
	size := w.ledger.Published().Size
	w.attest("a", releaseKey)
	w.want("attested", Query{}, Criteria{}, "prod image 1/1")
	w.want("before", Query{At: decide.Moment{Size: size}}, Criteria{}, "prod image 0/1", "image registry.example/web not-satisfied")

	w.inventory(Exists, "prod", "registry", "image:registry.example/web:a", "image:registry.example/web-2:a", "chart:registry.example/chart:c", "image:registry.example/planted:d", "delta:acme.delta:e")
	w.attest("c", releaseKey)
	w.want("what exists, too", Query{}, Criteria{}, "prod image 1/2", "prod chart 1/1", "prod delta 0/1", "image registry.example/planted not-satisfied", "delta acme.delta no-control")
	w.want("one type", Query{Types: []string{"chart"}}, Criteria{}, "prod chart 1/1")
	w.want("a type that is not there", Query{Types: []string{"chart", "export-manifest"}}, Criteria{}, "prod chart 1/1", "? nothing of type export-manifest is inventoried")
	w.want("one scope", Query{Scope: Runs}, Criteria{}, "prod image 1/1")
	w.want("another environment", Query{Environment: "Prod"}, Criteria{}, "? nothing is inventoried")
	w.want("another stage", Query{Scope: Runs}, Criteria{Stage: "build"}, "prod image 0/1", "image registry.example/web no-control")
	w.want("an unknown stage", Query{Scope: Runs}, Criteria{Stage: "cutover"}, "prod image 0/1", "image registry.example/web undecided", "? the control set does not define this stage")
	w.want("one control", Query{Scope: Runs}, Criteria{Control: "SIGNED"}, "prod image 1/1")
	w.want("an unknown control", Query{Scope: Runs}, Criteria{Control: "SINGED"}, "control SINGED: the control set in force does not have it: see muniment control list")

	// A name to which no control applies does not hide that the artifact has
	// another one.
	w.inventory(Runs, "prod", "a", "image:registry.example/web:a", "image:docker.io/evil:a")
	w.want("a second name outside of the controls", Query{Scope: Runs}, Criteria{}, "prod image 0/1", "image registry.example/web no-control")
	w.inventory(Runs, "prod", "a", "image:registry.example/web:a", "image:registry.example/tag")
	w.want("without a digest", Query{Scope: Runs}, Criteria{}, "prod image 1/2", "image registry.example/tag unidentified")
	w.inventory(Runs, "prod", "a", "image:registry.example/web:a:f")
	w.want("a platform by its index", Query{Scope: Runs}, Criteria{}, "prod image 1/1")
	w.inventory(Runs, "prod", "a", "image:registry.example/web:f:a")
	w.want("an index by its only platform", Query{Scope: Runs}, Criteria{}, "prod image 1/1")
	w.inventory(Runs, "prod", "a", "image:registry.example/web:f", "image:registry.example/web:f:a")
	w.want("an index also without its platform", Query{Scope: Runs}, Criteria{}, "prod image 0/1", "image registry.example/web not-satisfied")
	w.inventory(Runs, "prod", "a")
	w.want("nothing runs", Query{Scope: Runs}, Criteria{}, "? nothing is inventoried")

	w.inventory(Runs, "prod", "a", "image:registry.example/web:a")
	w.controls("any")
	w.want("unsigned evidence is enough", Query{Scope: Runs}, Criteria{}, "prod image 0/1", "image registry.example/web unsigned")
	w.controls("any", "warn")
	w.want("signed evidence only for a warning", Query{Scope: Runs}, Criteria{}, "prod image 0/1", "image registry.example/web unsigned")
	w.want("the control that warns", Query{Scope: Runs}, Criteria{Control: "WARN"}, "prod image 1/1")
	w.controls("any", "warn", "included")
	w.want("an included control rests on it", Query{Scope: Runs}, Criteria{}, "prod image 1/1")
}

// TestSummary compares the numbers with those of Cover, and checks by what they
// are counted.
func TestSummary(t *testing.T) {
	w := newWorld(t)
	summary := func() string {
		t.Helper()
		sum, err := w.reader.Summarize(context.Background(), "acme", w.stream, &Query{}, Criteria{Stage: "deploy"})
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for cell, n := range sum.Tallies {
			lines = append(lines, fmt.Sprintf("%s %s %s %d/%d %v", cell.Environment, cell.Scope, cell.Type, n.Attested(), n.Inventoried, n.Gaps))
		}
		slices.Sort(lines)
		return fmt.Sprintf("%s %d: %s", sum.Result, len(sum.Sources), strings.Join(lines, "; "))
	}
	want := func(when, want string) {
		t.Helper()
		if got := summary(); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", when, got, want)
		}
	}
	want("nothing", "no-inventory 0: ")
	w.inventory(Runs, "prod", "a", "image:registry.example/web:a")
	want("no control set", "undecided 1: prod runs image 0/1 map[undecided:1]")
	w.controls("signed")
	w.attest("a", releaseKey)
	w.inventory(Exists, "prod", "registry", "image:registry.example/web:a", "image:registry.example/planted:d", "chart:registry.example/chart:c")
	w.inventory(Runs, "test", "b", "image:registry.example/tag", "image:registry.example/web:a", "image:docker.io/other:e")
	want("two environments", "decided 3: prod exists chart 0/1 map[not-satisfied:1]; prod exists image 0/1 map[not-satisfied:1]; prod runs image 1/1 map[]; test runs image 1/3 map[no-control:1 unidentified:1]")
	w.add(&entry.Header{Kind: kindname.Inventory, Attributes: map[string]string{"scope": Runs, "environment": "test", "source": "b", "observed": w.now.Format(time.RFC3339), "retired": "true"}}, "{}", nil)
	want("a source ends", "decided 2: prod exists chart 0/1 map[not-satisfied:1]; prod exists image 0/1 map[not-satisfied:1]; prod runs image 1/1 map[]")
	w.inventory(Runs, "prod", "a")
	w.inventory(Exists, "prod", "registry")
	want("sources that list nothing", "undecided 2: ")
	w.now = w.now.Add(RunsFor + time.Minute)
	w.inventory(Exists, "prod", "registry", "image:registry.example/web:a")
	want("a stale source", "undecided 2: prod exists image 1/1 map[]")
}

func TestException(t *testing.T) {
	w := newWorld(t)
	w.controls("signed")
	w.inventory(Runs, "prod", "a", "image:registry.example/web:a")
	const kim, ada = "oidc:https://id.example#kim", "oidc:https://id.example#ada"
	request := w.add(&entry.Header{Kind: kindname.ExceptionRequest, Submitter: kim, Controls: []string{"SIGNED"}, Subjects: []entry.Subject{{Digest: map[string]string{"sha256": sha("a")}}},
		Attributes: map[string]string{"exception": "E-1", "expires": w.now.Add(time.Hour).Format(time.RFC3339)}}, "{}", nil)
	w.add(&entry.Header{Kind: kindname.ExceptionDecision, Submitter: ada, Attributes: map[string]string{"exception": "E-1", "request": fmt.Sprint(request), "decision": "approve"}}, "{}", nil)
	w.want("an exception is not an attestation", Query{}, Criteria{}, "prod image 0/1", "image registry.example/web excepted")
}

func TestNewest(t *testing.T) {
	w := newWorld(t)
	w.controls("signed")
	w.attest("a", releaseKey)
	first := w.inventory(Runs, "prod", "a", "image:registry.example/web:a")
	w.inventory(Runs, "prod", "b", "image:registry.example/other:b")
	w.want("two clusters", Query{}, Criteria{}, "prod image 1/2", "image registry.example/other not-satisfied")
	w.inventory(Runs, "prod", "b", "image:registry.example/web:a")
	w.want("the second again", Query{}, Criteria{}, "prod image 1/1")

	w.part(Runs, "prod", "b", "x", 1, 2, "image:registry.example/web:a")
	w.want("half of an observation", Query{}, Criteria{}, "prod image 1/1")
	w.part(Runs, "prod", "b", "y", 2, 2, "image:registry.example/web:a")
	w.want("halves of two observations", Query{}, Criteria{}, "prod image 1/1")
	second := w.part(Runs, "prod", "b", "x", 2, 2, "image:registry.example/planted:d")
	w.want("the other half", Query{}, Criteria{}, "prod image 1/2", "image registry.example/planted not-satisfied")
	w.want("before the other half", Query{At: decide.Moment{Size: second}}, Criteria{}, "prod image 1/1")
	h := &entry.Header{Kind: kindname.Inventory, Submitter: "token:other", Attributes: map[string]string{"scope": Runs, "environment": "prod", "source": "b", "observed": w.now.Format(time.RFC3339), "observation": "y", "part": "1", "parts": "2"}}
	w.add(h, "{}", nil)
	w.want("a half by another submitter", Query{}, Criteria{}, "prod image 1/2", "image registry.example/planted not-satisfied")
	w.add(&entry.Header{Kind: kindname.Inventory, Admission: &entry.Admission{Result: entry.Recorded}, Attributes: h.Attributes}, "{}", nil)
	w.want("a half that was not admitted", Query{}, Criteria{}, "prod image 1/2", "image registry.example/planted not-satisfied")

	w.now = w.now.Add(47 * time.Hour)
	w.inventory(Runs, "prod", "a", "image:registry.example/web:a")
	w.now = w.now.Add(2 * time.Hour)
	w.want("a cluster that was not observed", Query{}, Criteria{}, "prod image 1/2", "image registry.example/planted not-satisfied", `? the inventory of what runs in prod (b) is stale`)
	w.want("a longer time", Query{MaxAge: 50 * time.Hour}, Criteria{}, "prod image 1/2", "image registry.example/planted not-satisfied")
	w.add(&entry.Header{Kind: kindname.Inventory, Attributes: map[string]string{"scope": Runs, "environment": "prod", "source": "b", "observed": w.now.Format(time.RFC3339), "retired": "true", "items": "0"}}, "{}", nil)
	w.want("a cluster that has ended", Query{}, Criteria{}, "prod image 1/1")

	// An observation that claims to be of the future is as old as its entry.
	w.add(&entry.Header{Kind: kindname.Inventory, Attributes: map[string]string{"scope": Runs, "environment": "prod", "source": "c", "observed": w.now.Add(time.Hour).Format(time.RFC3339)}}, `{}`, nil)
	newest, err := w.reader.Projection.Newest(context.Background(), w.stream, w.ledger.Published().Size)
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(newest, func(o *Observation) bool { return o.Source == "c" }); !newest[i].Observed.Equal(w.now) {
		t.Errorf("observed %s, want %s", newest[i].Observed, w.now)
	}
	if first == 0 {
		t.Error("the first inventory has no index")
	}
}

func TestErased(t *testing.T) {
	for _, scope := range []string{ledger.ScopePayload, ledger.ScopeHeaderAndPayload} {
		w := newWorld(t)
		w.controls("signed")
		w.attest("a", releaseKey)
		w.inventory(Runs, "prod", "a", "image:registry.example/web:a")
		index := w.inventory(Runs, "prod", "a", "image:registry.example/web:a", "image:registry.example/planted:d")
		w.want("before", Query{}, Criteria{}, "prod image 1/2", "image registry.example/planted not-satisfied")
		plan, err := w.ledger.PlanErasure(context.Background(), w.stream, index, scope == ledger.ScopeHeaderAndPayload)
		if err != nil {
			t.Fatal(err)
		}
		w.add(&entry.Header{Kind: ledger.ErasureKind, Attributes: map[string]string{"entry": fmt.Sprint(index), "scope": scope}}, "{}", plan)
		want := []string{"prod image 1/1"} // the one before it
		if scope == ledger.ScopePayload {
			want = []string{`? the inventory of what runs in prod (a) cannot be read`, "? nothing is inventoried"}
		}
		w.want(scope, Query{}, Criteria{}, want...)
		w.reader.Projection = &Projection{Log: w.ledger}
		w.want(scope+" after a restart", Query{}, Criteria{}, want...)
	}
}

// TestReliedUpon checks that the entries of the newest inventories are kept,
// and no others.
func TestReliedUpon(t *testing.T) {
	w := newWorld(t)
	old := w.inventory(Runs, "prod", "a", "image:web:a")
	stray := w.part(Runs, "prod", "a", "x", 1, 2, "image:web:a")
	first, second := w.part(Runs, "prod", "a", "y", 1, 2, "image:web:a"), w.part(Runs, "prod", "a", "y", 2, 2, "image:planted:d")
	other := w.inventory(Exists, "prod", "a", "image:web:a")
	refused := w.add(&entry.Header{Kind: kindname.Inventory, Admission: &entry.Admission{Result: entry.Recorded}, Attributes: map[string]string{"scope": Runs, "environment": "prod", "source": "a", "observed": w.now.Format(time.RFC3339)}}, "{}", nil)
	kept := func(when string, want ...uint64) {
		t.Helper()
		for index := range w.ledger.Published().Size {
			e, err := w.ledger.Entry(context.Background(), w.stream, index)
			if err != nil {
				t.Fatal(err)
			}
			why, err := w.reader.Projection.ReliedUpon(context.Background(), w.stream, e)
			if err != nil || (why != "") != slices.Contains(want, index) {
				t.Errorf("%s: entry %d is kept because of %q, %v; want %v kept", when, index, why, err, want)
			}
		}
	}
	kept("before", first, second, other)
	w.reader.Projection = &Projection{Log: w.ledger}
	kept("after a restart", first, second, other)
	if newer := w.inventory(Runs, "prod", "a", "image:web:a"); old < newer && stray < newer && refused < newer {
		kept("with a newer one", other, newer)
	}
}

// A source whose observations are never completed does not grow.
func TestPending(t *testing.T) {
	w := newWorld(t)
	for i := range 3 * maxPending {
		w.part(Runs, "prod", "a", fmt.Sprint(i), 1, 2)
	}
	w.part(Runs, "prod", "a", "0", 2, 2, "image:registry.example/web:a")
	w.want("the oldest", Query{}, Criteria{}, "? nothing is inventoried")
	w.part(Runs, "prod", "a", fmt.Sprint(3*maxPending-1), 2, 2, "image:registry.example/web:a")
	w.want("the newest", Query{}, Criteria{}, "prod image 0/1", "image registry.example/web undecided", "? no control set is in force")
}

// An artifact under too many names is not decided about, so that they cannot
// make coverage expensive.
func TestManyNames(t *testing.T) {
	w := newWorld(t)
	w.controls("signed")
	w.attest("a", releaseKey)
	var items []string
	for i := range maxAsks + 1 {
		items = append(items, fmt.Sprintf("image:registry.example/web-%d:a", i))
	}
	w.inventory(Runs, "prod", "a", items[:maxAsks]...)
	w.want("as many names as possible", Query{}, Criteria{}, "prod image 1/1")
	w.inventory(Runs, "prod", "a", items...)
	w.want("one more", Query{}, Criteria{}, "prod image 0/1", "image registry.example/web-0 undecided")
}

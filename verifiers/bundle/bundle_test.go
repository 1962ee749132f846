package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

var update = flag.Bool("update", false, "write the vectors")

// A vectors file is docs/spec/vectors/bundles.json.
type vectors struct {
	Policies   map[string]string `json:"policies"`
	StreamKeys map[string]string `json:"streamKeys"`
	Bundles    map[string][]byte `json:"bundles"`
	Cases      []vector          `json:"cases"`
}

type vector struct {
	Name      string       `json:"name"`
	Bundle    string       `json:"bundle"`
	Edits     []edit       `json:"edits,omitempty"`
	Policies  []string     `json:"policies"`
	StreamKey string       `json:"streamKey,omitempty"`
	Expect    *expectation `json:"expect,omitempty"`
	Verdict   string       `json:"verdict"`
	Reason    string       `json:"reason,omitempty"`
	Report    *facts       `json:"report,omitempty"`
}

type edit struct {
	At     int    `json:"at"`
	Remove int    `json:"remove"`
	Insert []byte `json:"insert"`
}

type expectation struct {
	Identity *string `json:"identity,omitempty"`
	Tenant   *string `json:"tenant,omitempty"`
}

type facts struct {
	Identity string `json:"identity"`
	Origin   string `json:"origin"`
	Tenant   string `json:"tenant"`
	Size     uint64 `json:"size"`
	Entries  uint64 `json:"entries"`
	Included uint64 `json:"included"`
	Omitted  uint64 `json:"omitted"`
	Erased   uint64 `json:"erased"`
	Complete bool   `json:"complete"`

	Warnings []Warning `json:"warnings"`
}

const vectorsFile = "../../docs/spec/vectors/bundles.json"

func replaced(old, new string) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) }
}

// flip changes a byte of a member.
func flip(name string) func(map[string][]byte) {
	return func(all map[string][]byte) {
		all[name] = bytes.Clone(all[name])
		all[name][len(all[name])/2] ^= 1
	}
}

// renamed adds a report, and changes its name in the whole file.
func renamed(from, to string) func(b *build) {
	return func(b *build) {
		b.members = func(all map[string][]byte) { all[from] = []byte("{}") }
		b.text = replaced(from, to)
		b.archive = func(a []byte) []byte {
			at := bytes.Index(a, []byte(from))
			h := header(to, 2)
			copy(a[at:], h[:])
			return a
		}
	}
}

// cases are the bad bundles, with the reason.
var cases = []struct {
	name   string
	reason Code
	change func(b *build)
}{
	{"a byte after the end", ArchiveMalformed, func(b *build) { b.archive = func(a []byte) []byte { return append(a, 0) } }},
	{"a block after the end", ArchiveMalformed, func(b *build) { b.archive = func(a []byte) []byte { return append(a, make([]byte, 512)...) } }},
	{"one block of zeros at the end", ArchiveMalformed, func(b *build) { b.archive = func(a []byte) []byte { return a[:len(a)-512] } }},
	{"truncated", ArchiveMalformed, func(b *build) { b.archive = func(a []byte) []byte { return a[:len(a)/2] } }},
	{"empty", ArchiveMalformed, func(b *build) { b.archive = func(a []byte) []byte { return nil } }},
	{"only zeros", ArchiveMalformed, func(b *build) { b.archive = func(a []byte) []byte { return make([]byte, 1024) } }},
	{"another owner", ArchiveMalformed, func(b *build) { b.archive = func(a []byte) []byte { a[265] = 'r'; return a } }},
	{"another mode", ArchiveMalformed, func(b *build) { b.archive = func(a []byte) []byte { a[106] = '5'; return a } }},
	{"another time", ArchiveMalformed, func(b *build) { b.archive = func(a []byte) []byte { a[146] = '1'; return a } }},
	{"a link", ArchiveMalformed, func(b *build) { b.archive = func(a []byte) []byte { a[156] = '2'; return a } }},
	{"a wrong checksum", ArchiveMalformed, func(b *build) { b.archive = func(a []byte) []byte { a[150] ^= 1; return a } }},
	{"a name that leads out of the folder", ArchiveMalformed, renamed("assessment/aaaaaaaaaaa", "assessment/../../etc")},
	{"a name with an empty part", ArchiveMalformed, renamed("assessment/aaaaaaaaaaa", "assessment//aaaaaaaaaa")},
	{"a name that ends with a slash", ArchiveMalformed, renamed("assessment/aaaaaaaaaaa", "assessment/aaaaaaaaaa/")},
	{"a name that begins with a slash", ArchiveMalformed, renamed("assessment/aaaaaaaaaaa", "/ssessment/aaaaaaaaaaa")},
	{"padding that is not zero", ArchiveMalformed, func(b *build) {
		b.archive = func(a []byte) []byte { a[bytes.Index(a, []byte("evidence/0000000000000000.receipt"))-1] = 1; return a }
	}},
	{"no manifest", ManifestMissing, func(b *build) { b.extra = "z" }},
	{"a manifest that is not JSON", ManifestMalformed, func(b *build) { b.text = func([]byte) []byte { return []byte("{") } }},
	{"a manifest with a member twice", ManifestMalformed, func(b *build) { b.text = replaced(`{"mediaType"`, `{"size":1,"mediaType"`) }},
	{"a manifest with an unknown member", ManifestMalformed, func(b *build) { b.text = replaced(`{"mediaType"`, `{"a":1,"mediaType"`) }},
	{"a manifest without a selection", ManifestMalformed, func(b *build) { b.manifest = func(m *Manifest) { m.Selection = Selection{} } }},
	{"a tree of size 0", ManifestMalformed, func(b *build) { b.manifest = func(m *Manifest) { m.Size, m.Stream = 0, Stream{} } }},
	{"more entries than the tree", ManifestMalformed, func(b *build) { b.manifest = func(m *Manifest) { m.Stream.Entries = 99 } }},
	{"another version", ManifestVersion, func(b *build) { b.text = replaced("bundle.v1+json", "bundle.v2+json") }},
	{"a member that is not listed", MembersDiffer, func(b *build) { b.manifest = func(m *Manifest) { m.Members = m.Members[1:] } }},
	{"a wrong size", MembersDiffer, func(b *build) { b.manifest = func(m *Manifest) { m.Members[0].Size++ } }},
	{"a wrong role", MembersDiffer, func(b *build) { b.manifest = func(m *Manifest) { m.Members[0].Role = RoleReport } }},
	{"a name without a role", MembersDiffer, func(b *build) { b.members = func(all map[string][]byte) { all["a"] = nil } }},
	{"a report in a folder", MembersDiffer, func(b *build) { b.members = func(all map[string][]byte) { all["assessment/a/b"] = []byte("{}") } }},
	{"no page", MembersDiffer, func(b *build) { b.members = func(all map[string][]byte) { delete(all, IndexName) } }},
	{"a missing tile", MembersDiffer, func(b *build) { b.members = func(all map[string][]byte) { delete(all, Tile{0, 0, 10}.Name()) } }},
	{"a tile too many", MembersDiffer, func(b *build) {
		b.members = func(all map[string][]byte) { all[Tile{1, 0, 1}.Name()] = make([]byte, 32) }
	}},
	{"a tree of another size", MembersDiffer, func(b *build) { b.manifest = func(m *Manifest) { m.Size++ } }},
	{"a changed page", MemberDigest, func(b *build) { b.archive = replaced("doctype html", "doctype htmI") }},
	{"a wrong digest", MemberDigest, func(b *build) { b.manifest = func(m *Manifest) { m.Members[1].SHA256[0] ^= 1 } }},
	{"a checkpoint that is none", CheckpointMalformed, func(b *build) { b.members = func(all map[string][]byte) { all[CheckpointName] = []byte("x\n") } }},
	{"an invalid signature", CheckpointSignature, func(b *build) {
		b.members = func(all map[string][]byte) { all[CheckpointName] = replaced("\n10\n", "\n11\n")(all[CheckpointName]) }
	}},
	{"signed by another key", CheckpointUnsigned, func(b *build) { b.signer, _ = testSigner(b.t, "other key") }},
	{"another root in the manifest", CheckpointMismatch, func(b *build) { b.manifest = func(m *Manifest) { m.Root[0] ^= 1 } }},
	{"another origin in the manifest", CheckpointMismatch, func(b *build) { b.manifest = func(m *Manifest) { m.Origin = "other" } }},
	{"a leaf of another version", LeavesMalformed, func(b *build) {
		b.members = func(all map[string][]byte) {
			all[Tile{-1, 0, 10}.Name()] = replaced("\x00A\x02", "\x00A\x03")(all[Tile{-1, 0, 10}.Name()])
		}
	}},
	{"a leaf of another length", LeavesMalformed, func(b *build) {
		b.members = func(all map[string][]byte) {
			all[Tile{-1, 0, 10}.Name()] = replaced("\x00A\x02", "\x00B\x02")(all[Tile{-1, 0, 10}.Name()])
		}
	}},
	{"a changed leaf", TreeRoot, func(b *build) { b.members = func(all map[string][]byte) { all[Tile{-1, 0, 10}.Name()][66] ^= 1 } }},
	{"a changed tile", TileMismatch, func(b *build) { b.members = flip(Tile{0, 0, 10}.Name()) }},
	{"a record that is not JSON", RecordMalformed, func(b *build) {
		b.members = func(all map[string][]byte) { all[EntriesName(0)] = all[EntriesName(0)][1:] }
	}},
	{"a record without a line feed", RecordMalformed, func(b *build) {
		b.members = func(all map[string][]byte) { all[EntriesName(0)] = all[EntriesName(0)][:len(all[EntriesName(0)])-1] }
	}},
	{"records in two short members", RecordMalformed, func(b *build) {
		b.members = func(all map[string][]byte) {
			first, rest, _ := bytes.Cut(all[EntriesName(0)], []byte("\n"))
			all[EntriesName(0)], all[EntriesName(2)] = append(bytes.Clone(first), '\n'), rest
		}
	}},
	{"records under another name", RecordMalformed, func(b *build) {
		b.members = func(all map[string][]byte) {
			all[EntriesName(1)] = all[EntriesName(0)]
			delete(all, EntriesName(0))
		}
	}},
	{"an unknown state", RecordMalformed, func(b *build) { b.records = func(all []*Record) { all[2].Payload = "lost" } }},
	{"two records of one index", RecordOrder, func(b *build) { b.records = func(all []*Record) { all[2].Index = all[1].Index } }},
	{"a record beyond the tree", RecordOrder, func(b *build) { b.records = func(all []*Record) { all[len(all)-1].Index = 10 } }},
	{"a header that is not JSON", HeaderMalformed, func(b *build) { b.records = func(all []*Record) { all[1].Opening.Content = []byte("{}") } }},
	{"a header of another log", HeaderForeign, func(b *build) { b.items[2].origin = "other.example" }},
	{"another tenant in the manifest", HeaderForeign, func(b *build) { b.manifest = func(m *Manifest) { m.Tenant = "globex" } }},
	{"another salt", RecordLeaf, func(b *build) { b.records = func(all []*Record) { all[1].LinkSalt[0] ^= 1 } }},
	{"another time of an entry", RecordLeaf, func(b *build) { b.records = func(all []*Record) { all[1].Time++ } }},
	{"a missing record", RecordLeaf, func(b *build) { b.records = func(all []*Record) { copy(all[1:], all[2:]) } }},
	{"another number of entries", StreamMismatch, func(b *build) { b.manifest = func(m *Manifest) { m.Stream.Entries-- } }},
	{"another last entry", StreamMismatch, func(b *build) { b.manifest = func(m *Manifest) { m.Stream.Last[0] ^= 1 } }},
	{"a time before the last entry", StreamMismatch, func(b *build) { b.manifest = func(m *Manifest) { m.Time = 1 } }},
	{"an erasure that no entry records", ErasureMismatch, func(b *build) {
		b.records = func(all []*Record) { all[1].Payload = Erased }
	}},
	{"an erased payload listed as omitted", ErasureMismatch, func(b *build) { b.records = func(all []*Record) { all[3].Payload = Omitted } }},
	{"a header that no entry erases", ErasureMismatch, func(b *build) { b.items[3].noHeader = true }},
	{"an erased header", ErasureMismatch, func(b *build) { b.items[5].noHeader = false }},
	{"an erasure of a later entry", ErasureMismatch, func(b *build) { b.items[6].attributes["entry"] = "9" }},
	{"omitted evidence about the artifact", PayloadOmitted, func(b *build) { b.items[2].omit = true }},
	{"an omitted control set", PayloadOmitted, func(b *build) { b.items[0].omit = true }},
	{"an omitted key event", PayloadOmitted, func(b *build) { b.items[9].omit = true }},
	{"a missing payload", PayloadMissing, func(b *build) {
		b.members = func(all map[string][]byte) { delete(all, PayloadName(2, "application/json")) }
	}},
	{"a missing receipt", PayloadMissing, func(b *build) { b.members = func(all map[string][]byte) { delete(all, ReceiptName(2)) } }},
	{"a payload under the name of another type", PayloadMissing, func(b *build) {
		b.members = func(all map[string][]byte) {
			all[PayloadName(2, "text/plain")] = all[PayloadName(2, "application/json")]
			delete(all, PayloadName(2, "application/json"))
		}
	}},
	{"a payload of no record", PayloadUnexpected, func(b *build) {
		b.members = func(all map[string][]byte) { all[PayloadName(3, "application/json")] = []byte(`{"scan":2}`) }
	}},
	{"a changed payload", PayloadMismatch, func(b *build) { b.members = flip(PayloadName(2, "application/json")) }},
	{"a longer payload", PayloadMismatch, func(b *build) {
		b.members = func(all map[string][]byte) { all[PayloadName(2, "application/json")] = []byte(`{"scan":1} `) }
	}},
	{"the receipt of another entry", ReceiptMismatch, func(b *build) {
		b.members = func(all map[string][]byte) { all[ReceiptName(2)] = all[ReceiptName(0)] }
	}},
	{"a receipt with another inclusion proof", ReceiptMismatch, func(b *build) {
		b.members = func(all map[string][]byte) {
			all[ReceiptName(2)] = replaced(`index 2\n`, `index 3\n`)(all[ReceiptName(2)])
		}
	}},
	{"a receipt that is not JSON", ReceiptMismatch, func(b *build) { b.members = func(all map[string][]byte) { all[ReceiptName(2)] = []byte("{") } }},
	{"a stream that goes on", StreamIncomplete, func(b *build) { b.hide(7, 8) }},
	{"a forked stream", StreamIncomplete, func(b *build) { b.hide(7, 1) }},
	{"a hidden entry far ahead", StreamIncomplete, func(b *build) { b.hide(1, 9) }},
	{"a wrong tag", StreamIncomplete, func(b *build) { b.items[2].tagOf = seq(7) }},
}

func seq(n uint64) *uint64 { return &n }

// hide gives the entry of another tenant a tag of acme's stream.
func (b *build) hide(i int, n uint64) { b.items[i].tagOf, b.items[i].hidden = &n, true }

// world returns the vectors as the test makes them.
func world(t *testing.T) *vectors {
	v := &vectors{Policies: testPolicies(t), StreamKeys: map[string]string{"malformed": "x"}, Bundles: map[string][]byte{}}
	for _, tenant := range []string{"acme", "globex"} {
		v.StreamKeys[tenant] = entry.Hash(*streamKey(tenant)).String() + "\n"
	}
	good := newBuild(t).bytes()
	v.Bundles["good"] = good
	b, err := Open(bytes.NewReader(good), int64(len(good)))
	if err != nil {
		t.Fatal(err)
	}
	report := facts{Identity: b.Identity, Origin: testOrigin, Tenant: "acme", Size: 10, Entries: 8, Included: 3, Omitted: 3, Erased: 2,
		Warnings: []Warning{NotWitnessed, CompletenessNotChecked, ReportsNotCompared}}
	complete := report
	complete.Complete, complete.Warnings = true, []Warning{NotWitnessed, ReportsNotCompared}
	wrong, bad, acme, globex, empty := "sha256:"+strings.Repeat("0", 64), "sha256:x", "acme", "globex", ""
	one := func(name string, policies []string, key string, expect *expectation, verdict string, reason Code, r *facts) {
		v.Cases = append(v.Cases, vector{Name: name, Bundle: "good", Policies: policies, StreamKey: key, Expect: expect, Verdict: verdict, Reason: string(reason), Report: r})
	}
	one("good", []string{"log"}, "", nil, "verified", "", &report)
	one("good and complete", []string{"log"}, "acme", nil, "verified", "", &complete)
	one("one policy accepts", []string{"other", "log"}, "acme", nil, "verified", "", &complete)
	one("as expected", []string{"log"}, "acme", &expectation{&b.Identity, &acme}, "verified", "", &complete)
	one("another policy", []string{"other"}, "", nil, "refused", CheckpointUnsigned, nil)
	one("no cosignature", []string{"witnessed"}, "", nil, "refused", CheckpointQuorum, nil)
	one("another stream key", []string{"log"}, "globex", nil, "refused", StreamKeyMismatch, nil)
	one("another identity", []string{"log"}, "", &expectation{Identity: &wrong}, "refused", IdentityMismatch, nil)
	one("another tenant", []string{"log"}, "", &expectation{Tenant: &globex}, "refused", TenantMismatch, nil)
	one("no policy", []string{}, "", nil, "not-checked", PolicyMissing, nil)
	one("a malformed policy", []string{"malformed"}, "", nil, "not-checked", PolicyMalformed, nil)
	one("a malformed key", []string{"log"}, "malformed", nil, "not-checked", StreamKeyMalformed, nil)
	one("a malformed identity", []string{"log"}, "", &expectation{Identity: &bad}, "not-checked", ExpectationMalformed, nil)
	one("an empty tenant", []string{"log"}, "", &expectation{Tenant: &empty}, "not-checked", ExpectationMalformed, nil)
	for _, c := range append(cases, adversarial...) {
		build := newBuild(t)
		c.change(build)
		file := build.bytes()
		one := vector{Name: c.name, Bundle: "good", Edits: edits(good, file), Policies: []string{"log"}, StreamKey: "acme", Verdict: "refused", Reason: string(c.reason)}
		if c.reason == "" {
			one.Verdict, one.Report = "verified", build.facts(file)
		}
		v.Cases = append(v.Cases, one)
	}
	return v
}

// facts returns the report of a bundle that verifies with the stream key, by
// the items that it was made from.
func (b *build) facts(file []byte) *facts {
	opened, err := Open(bytes.NewReader(file), int64(len(file)))
	b.must(err)
	f := &facts{Identity: opened.Identity, Origin: testOrigin, Tenant: "acme", Size: uint64(len(b.items)), Complete: true, Warnings: []Warning{NotWitnessed, ReportsNotCompared}}
	for _, it := range b.items {
		switch {
		case it.tenant != "acme":
			continue
		case it.noPayload:
			f.Erased++
		case it.omit:
			f.Omitted++
		default:
			f.Included++
		}
		f.Entries++
	}
	return f
}

// edits returns how to make one file of another, block by block.
func edits(from, to []byte) (all []edit) {
	for at := 0; at < len(from) || at < len(to); at += blockSize {
		old, now := from[min(at, len(from)):min(at+blockSize, len(from))], to[min(at, len(to)):min(at+blockSize, len(to))]
		if bytes.Equal(old, now) {
			continue
		}
		if n := len(all); n > 0 && all[n-1].At+all[n-1].Remove == min(at, len(from)) {
			all[n-1].Remove, all[n-1].Insert = all[n-1].Remove+len(old), append(all[n-1].Insert, now...)
			continue
		}
		all = append(all, edit{min(at, len(from)), len(old), bytes.Clone(now)})
	}
	return all
}

// file returns the file of a case.
func (v *vectors) file(c *vector) []byte {
	from := v.Bundles[c.Bundle]
	var out []byte
	at := 0
	for _, e := range c.Edits {
		out = append(append(out, from[at:e.At]...), e.Insert...)
		at = e.At + e.Remove
	}
	return append(out, from[at:]...)
}

// verify verifies the bundle of a case.
func (v *vectors) verify(c *vector) (*Report, Code, bool) {
	var o Options
	var policies []*receipt.TrustPolicy
	for _, name := range c.Policies {
		p, err := receipt.ParseTrustPolicy(name, []byte(v.Policies[name]))
		if err != nil {
			return nil, PolicyMalformed, false
		}
		policies = append(policies, p)
	}
	if c.StreamKey != "" {
		key, err := receipt.ParseStreamKey([]byte(v.StreamKeys[c.StreamKey]))
		if err != nil {
			return nil, StreamKeyMalformed, false
		}
		o.StreamKey = key
	}
	if c.Expect != nil {
		o.Identity, o.Tenant = c.Expect.Identity, c.Expect.Tenant
	}
	file := v.file(c)
	_, r, err := Verify(context.Background(), bytes.NewReader(file), int64(len(file)), policies, o)
	var e *Error
	if errors.As(err, &e) {
		return nil, e.Code, errors.Is(err, ErrNotVerified)
	}
	return r, "", true
}

func TestVectors(t *testing.T) {
	made, err := json.MarshalIndent(world(t), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	made = append(made, '\n')
	if *update {
		if err := os.WriteFile(vectorsFile, made, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, made) {
		t.Errorf("%s is not what the test makes: run go test ./verifiers/bundle -update", vectorsFile)
	}
	v := &vectors{}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
	seen := map[Code]bool{}
	for i := range v.Cases {
		c := &v.Cases[i]
		r, code, verdict := v.verify(c)
		seen[code] = true
		switch {
		case string(code) != c.Reason:
			t.Errorf("%s: %q, want %q", c.Name, code, c.Reason)
		case c.Verdict == "not-checked" == verdict:
			t.Errorf("%s: a verdict: %v, want %s", c.Name, verdict, c.Verdict)
		case r != nil:
			got := facts{r.Identity, r.Origin, r.Tenant, r.Size, r.Entries, r.Included, r.Omitted, uint64(len(r.Erased)), r.Complete, r.Warnings}
			if !reflect.DeepEqual(got, *c.Report) {
				t.Errorf("%s: %+v, want %+v", c.Name, got, *c.Report)
			}
		}
	}
	for _, code := range slices.Sorted(maps.Keys(stepOf)) {
		// package controls/bundle has the cases of step 11
		if !seen[code] && code != Unreadable && code != CheckpointOrigin && code != ReportMismatch {
			t.Errorf("no case has the code %s", code)
		}
	}
}

// TestMutants changes each byte of a good bundle, one at a time. None verifies.
func TestMutants(t *testing.T) {
	good := newBuild(t).bytes()
	policy, err := receipt.ParseTrustPolicy("log", []byte(testPolicies(t)["log"]))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(bytes.NewReader(good), int64(len(good)))
	if err != nil {
		t.Fatal(err)
	}
	o := Options{StreamKey: streamKey("acme"), Identity: &b.Identity}
	random := rand.New(rand.NewPCG(1, 1))
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << random.UintN(8)
		if _, _, err := Verify(t.Context(), bytes.NewReader(bad), int64(len(bad)), []*receipt.TrustPolicy{policy}, o); !errors.Is(err, ErrNotVerified) {
			t.Fatalf("the bundle with another byte at offset %d: %v", i, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	b := newBuild(f)
	f.Add(b.bytes())
	f.Add(make([]byte, 1024))
	policy, err := receipt.ParseTrustPolicy("log", []byte(testPolicies(f)["log"]))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		_, _, err := Verify(t.Context(), bytes.NewReader(file), int64(len(file)), []*receipt.TrustPolicy{policy}, Options{StreamKey: streamKey("acme")})
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("%T: %v", err, err)
		}
	})
}

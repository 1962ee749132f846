package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"maps"
	"math/big"
	"os"
	"reflect"
	"slices"
	"testing"
	"testing/fstest"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/dsse"
)

var update = flag.Bool("update", false, "write the vectors")

const vectorsFolder = "../../docs/spec/vectors/"

// A vectors file is docs/spec/vectors/exports.json.
type vectors struct {
	Keys       map[string]string            `json:"keys"`
	Policies   map[string]string            `json:"policies"`
	StreamKeys map[string]string            `json:"streamKeys"`
	Files      map[string]map[string][]byte `json:"files"`
	Receipts   map[string][]byte            `json:"receipts"`
	Streams    map[string][]byte            `json:"streams"`
	Cases      []*vector                    `json:"cases"`
}

type vector struct {
	Name      string          `json:"name"`
	Manifest  []byte          `json:"manifest"`
	Keys      []string        `json:"keys"`
	Policies  []string        `json:"policies,omitempty"`
	Files     string          `json:"files,omitempty"`
	Receipt   string          `json:"receipt,omitempty"`
	Stream    string          `json:"stream,omitempty"`
	StreamKey string          `json:"streamKey,omitempty"`
	Expect    *expectation    `json:"expect,omitempty"`
	Licenses  json.RawMessage `json:"licenses,omitempty"`
	Residency json.RawMessage `json:"residency,omitempty"`
	Epsilon   json.RawMessage `json:"epsilon,omitempty"`
	Verdict   string          `json:"verdict"`
	Reason    string          `json:"reason,omitempty"`
	Report    *Report         `json:"report,omitempty"`
}

type expectation struct {
	Tenant, Export string
	emptyTenant    bool
}

func (e expectation) MarshalJSON() ([]byte, error) {
	m := map[string]string{}
	if e.Tenant != "" || e.emptyTenant {
		m["tenant"] = e.Tenant
	}
	if e.Export != "" {
		m["export"] = e.Export
	}
	return json.Marshal(m)
}

func (e *expectation) UnmarshalJSON(b []byte) error {
	m := map[string]string{}
	err := json.Unmarshal(b, &m)
	tenant, ok := m["tenant"]
	*e = expectation{tenant, m["export"], ok && tenant == ""}
	return err
}

// world returns the vectors as the test makes them. The reports are those of
// Verify: TestVectors compares the verdicts with the cases.
func world(t testing.TB) *vectors {
	t.Helper()
	v := &vectors{Keys: map[string]string{}, Policies: testPolicies(t), StreamKeys: map[string]string{"malformed": "x"}, Files: folders(), Receipts: map[string][]byte{}, Streams: map[string][]byte{}}
	for _, label := range []string{"exporter", "platform", "other"} {
		_, v.Keys[label] = testKey(t, label)
	}
	for _, tenant := range []string{"acme", "globex"} {
		v.StreamKeys[tenant] = keyText(tenant)
	}
	for label := range curves {
		_, v.Keys[label] = curveKey(t, label)
	}
	for _, b := range append(builds(), adversarialBuilds(t)...) {
		c := &vector{Name: b.name, Keys: []string{"exporter"}, Reason: b.reason, Verdict: "verified"}
		if b.reason != "" {
			c.Verdict = "refused"
		}
		if slices.Contains(steps[stepCaller], Code(b.reason)) {
			c.Verdict = "not-checked"
		}
		var m *Manifest
		c.Manifest, m = b.bytes(t)
		c.Manifest = append([]byte{}, c.Manifest...) // not null in JSON
		if b.inputs != nil {
			b.inputs(c)
		}
		if c.Receipt == b.name || c.Stream == b.name {
			items := logItems2(t, c.Manifest, m)
			if b.log != nil {
				items = b.log(t, items)
			}
			l := newLog(t, items)
			if c.Receipt == b.name {
				v.Receipts[b.name] = l.receipt
			}
			if c.Stream == b.name {
				v.Streams[b.name] = l.bundle
			}
			if b.name == "good with everything" {
				v.Streams["truncated"] = l.bundle[:len(l.bundle)-512]
				v.Streams["short"] = newLog(t, items[:ownEntry]).bundle
			}
		}
		v.Cases = append(v.Cases, c)
	}
	return v
}

// logItems2 returns the items of the log for a manifest that can have no
// privacy.
func logItems2(t testing.TB, file []byte, m *Manifest) []*item {
	if m.Privacy != nil {
		return logItems(t, file, m)
	}
	items := logItems(t, file, newManifest(t))
	items[ownEntry].attributes = nil
	return items
}

// verify verifies a case.
func (v *vectors) verify(c *vector) (*Report, error) {
	o, err := v.options(c)
	if err != nil {
		return nil, err
	}
	return Verify(context.Background(), c.Manifest, o)
}

func (v *vectors) options(c *vector) (o Options, err error) {
	for _, name := range c.Keys {
		k, err := dsse.ParseKey(name, []byte(v.Keys[name]))
		if err != nil {
			return o, err
		}
		o.Keys = append(o.Keys, k)
	}
	for _, name := range c.Policies {
		p, err := receipt.ParseTrustPolicy(name, []byte(v.Policies[name]))
		if err != nil {
			return o, callerError(PolicyMalformed, "%w", err)
		}
		o.Policies = append(o.Policies, p)
	}
	if c.Files != "" {
		files := fstest.MapFS{}
		for name, content := range v.Files[c.Files] {
			files[name] = &fstest.MapFile{Data: content, Mode: 0o644}
		}
		o.Files = fs.FS(files)
	}
	if c.Receipt != "" {
		o.Receipt = v.Receipts[c.Receipt]
	}
	if c.Stream != "" {
		o.Stream, o.StreamSize = bytes.NewReader(v.Streams[c.Stream]), int64(len(v.Streams[c.Stream]))
	}
	if c.StreamKey != "" {
		if o.StreamKey, err = receipt.ParseStreamKey([]byte(v.StreamKeys[c.StreamKey])); err != nil {
			return o, callerError(StreamKeyMalformed, "%w", err)
		}
	}
	if e := c.Expect; e != nil {
		if e.Tenant != "" || e.emptyTenant {
			o.Tenant = &e.Tenant
		}
		if e.Export != "" {
			o.Export = &e.Export
		}
	}
	r, err := ParseRequirements(Requirements{c.Licenses, c.Residency, c.Epsilon})
	o.Licenses, o.Residency, o.Epsilon = r.Licenses, r.Residency, r.Epsilon
	return o, err
}

// compare compares a file of vectors with what the test makes.
func compare(t *testing.T, name string, made any) {
	t.Helper()
	text, err := json.MarshalIndent(made, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	if *update {
		if err := os.WriteFile(vectorsFolder+name, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(vectorsFolder + name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, text) {
		t.Errorf("%s is not what the test makes: run go test ./verifiers/export -update", name)
	}
}

func TestVectors(t *testing.T) {
	v := world(t)
	seen := map[Code]bool{}
	for _, c := range v.Cases {
		r, err := v.verify(c)
		code := ""
		var e *Error
		if errors.As(err, &e) {
			code = string(e.Code)
			seen[e.Code] = true
		}
		switch {
		case err != nil && e == nil:
			t.Errorf("%s: %v", c.Name, err)
		case code != c.Reason:
			t.Errorf("%s: %q (%v), want %q", c.Name, code, err, c.Reason)
		case c.Verdict == "not-checked" == errors.Is(err, ErrNotVerified) && err != nil:
			t.Errorf("%s: a verdict: %v, want %s", c.Name, errors.Is(err, ErrNotVerified), c.Verdict)
		}
		c.Report = r
	}
	for _, codes := range steps {
		for _, code := range codes {
			if !seen[code] && code != Unreadable {
				t.Errorf("no case has the code %s", code)
			}
		}
	}
	compare(t, "exports.json", v)
}

// TestWholeReport compares the report of the complete case with what the
// specification requires, since the other reports are those of Verify.
func TestWholeReport(t *testing.T) {
	v := world(t)
	c := v.Cases[slices.IndexFunc(v.Cases, func(c *vector) bool { return c.Name == "good with everything" })]
	r, err := v.verify(c)
	if err != nil {
		t.Fatal(err)
	}
	two := uint64(2)
	by := signerOf(t, "exporter")
	want := &Report{
		Proven: r.Proven,
		Claimed: Claimed{Created: "2026-11-29T06:00:00Z", Rows: &two,
			Residency:   []ClaimedPlace{{Storage, []string{"DE-BE", "aws:eu-west-3"}, by, 0}, {Processing, []string{"aws:eu-central-1"}, by, 0}},
			Sensitivity: &ClaimedBy{ClaimedBy: by}, Sampler: &ClaimedBy{"OpenDP 0.16.0 discrete Gaussian", by}},
		Warnings: []string{ResidencyWithoutEvidence, NotWitnessed},
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v, want %+v", r, want)
	}
	if got, want := *r.Proven.Stream, (StreamFacts{8, 6, 2, 1}); got != want {
		t.Errorf("stream: %+v, want %+v", got, want)
	}
	if got, want := *r.Proven.Privacy, (ProvenPrivacy{ZCDP, "acme-2026", "2.7", "0.000001", "0.12", "0.17"}); got != want {
		t.Errorf("privacy: %+v, want %+v", got, want)
	}
	if e := r.Proven.Entry; e.Origin != testOrigin || e.Index != ownEntry || e.Size != 8 || len(r.Proven.Files) != 3 || !r.Proven.Files[2].Checked {
		t.Errorf("proven: %+v, entry %+v", r.Proven, e)
	}
}

func keyText(tenant string) string { return entry.Hash(*streamKey(tenant)).String() + "\n" }

// minus returns d less n units of the last of the given digits.
func (d Decimal) minus(n int64, digits int) Decimal {
	step := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(maxFraction-digits)), nil)
	return decimalOf(new(big.Int).Sub(d.units, step.Mul(step, big.NewInt(n))))
}

// TestTables compares the tables of the package with those of the
// specification.
func TestTables(t *testing.T) {
	const folder = "../../docs/spec/tables/"
	files, err := tableFiles.ReadDir("tables")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		want, err := os.ReadFile(folder + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if have, err := tableFiles.ReadFile("tables/" + f.Name()); err != nil || !bytes.Equal(have, want) {
			t.Errorf("tables/%s differs from %s: copy it", f.Name(), folder)
		}
	}
	if len(files) != 3 {
		t.Errorf("%d tables, want 3", len(files))
	}
	if n := len(spdxTable().licenses); n < 700 {
		t.Errorf("%d licences", n)
	}
	for region, code := range places().regions {
		g := Geography{Country: code[:2]}
		if len(code) > 2 {
			g.State = code
		}
		if err := places().check(g); err != nil {
			t.Errorf("%s: %v", region, err)
		}
	}
	_ = maps.Keys(places().regions)
}

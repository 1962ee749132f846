package export

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/transparency-dev/merkle/proof"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/bundle"
	"muniment.dev/muniment/verifiers/dsse"
)

const testOrigin = "ledger.example/exports"

// det returns 32 bytes that depend on the label only.
func det[T ~[32]byte](label string) T { return T(sha256.Sum256([]byte("export test " + label))) }

func signingKey(label string) ed25519.PrivateKey {
	seed := det[entry.Hash]("key " + label)
	return ed25519.NewKeyFromSeed(seed[:])
}

// testKey returns the public key of a label.
func testKey(t testing.TB, label string) (*dsse.Key, string) {
	t.Helper()
	public := signingKey(label).Public()
	k, err := dsse.NewKey(label, public)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return k, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func signerOf(t testing.TB, label string) entry.Signer {
	k, _ := testKey(t, label)
	return entry.Signer{KeyID: k.ID}
}

// decimal parses a decimal of a test.
func decimal(s string) Decimal {
	d, err := ParseDecimal(s)
	if err != nil {
		panic(s)
	}
	return d
}

func optional(s string) *Decimal { d := decimal(s); return &d }

func rational(s string) Rational {
	r, err := ParseRational(s)
	if err != nil {
		panic(s)
	}
	return r
}

// testFiles are the files of the usual export.
func testFiles() map[string][]byte {
	return map[string][]byte{
		"assets/part-0000.csv": []byte("id,score\n1,0.5\n2,0.25\n"),
		"schema.json":          []byte(`{"fields":["id","score"]}`),
		"empty.txt":            {},
	}
}

// newManifest returns the usual manifest. It is the second spend of its budget.
func newManifest(t testing.TB) *Manifest {
	exporter := signerOf(t, "exporter")
	rows, files := uint64(2), testFiles()
	return &Manifest{
		Tenant: "acme", ExportID: "embeddings-2026-11", Created: "2026-11-29T06:00:00Z", SPDXListVersion: SPDXListVersion(),
		Files: []File{
			{Name: "assets/part-0000.csv", SHA256: sha256.Sum256(files["assets/part-0000.csv"]), Size: uint64(len(files["assets/part-0000.csv"])), MediaType: "text/csv", Rows: &rows,
				License: []string{"CC-BY-4.0"}, FieldSets: []FieldSet{{Fields: []string{"score"}, License: []string{"LicenseRef-acme-export OR (MIT AND Apache-2.0)"}}}},
			{Name: "schema.json", SHA256: sha256.Sum256(files["schema.json"]), Size: uint64(len(files["schema.json"])), MediaType: "application/json", License: []string{"GPL-2.0-only WITH Classpath-exception-2.0"}},
			{Name: "empty.txt", SHA256: sha256.Sum256(nil), Size: 0, MediaType: "text/plain", License: []string{"CC0-1.0"}},
		},
		Use: &Use{StorageAllowed: []Geography{{Country: "DE"}, {Country: "FR"}}, StorageForbidden: []Geography{{Country: "US"}}, ProcessingIncluded: []Geography{{Country: "DE", State: "DE-HE"}, {Country: "IE"}}, ProcessingExcluded: []Geography{{Country: "US"}}},
		Claims: []Claim{
			{Activity: Storage, Locations: []Location{{Geography: Geography{Country: "DE", State: "DE-BE"}}, {Geography: Geography{Country: "FR"}, CloudRegion: "aws:eu-west-3"}}, ClaimedBy: exporter},
			{Activity: Processing, Locations: []Location{{Geography: Geography{Country: "DE"}, CloudRegion: "aws:eu-central-1"}}, ClaimedBy: exporter},
		},
		Privacy: newPrivacy(exporter),
	}
}

func newPrivacy(by entry.Signer) *Privacy {
	return &Privacy{
		Flavor: ZCDP, Unit: "User-level", UnitDescription: "All events of one user.", Relation: "unbounded",
		Parameters:    Parameters{Epsilon: decimal("2.7"), Delta: optional("0.000001"), Rho: optional("0.12")},
		Mechanisms:    []Mechanism{{Gaussian, rational("1"), rational("10"), 20}, {Laplace, rational("1/3"), rational("10/3"), 4}},
		SensitivityBy: by, Sampler: "OpenDP 0.16.0 discrete Gaussian", SamplerBy: by,
		Budget: "acme-2026", BudgetEpsilon: decimal("4"), BudgetDelta: optional("0.000001"), SpentRho: optional("0.17"),
	}
}

// pure changes the manifest to pure differential privacy.
func pure(m *Manifest) {
	p := m.Privacy
	p.Flavor, p.Parameters = PureDP, Parameters{Epsilon: decimal("0.75")}
	p.Mechanisms = []Mechanism{{Laplace, rational("1"), rational("4"), 2}, {Laplace, rational("0.5"), rational("2"), 1}}
	p.BudgetEpsilon, p.BudgetDelta, p.SpentRho, p.SpentEpsilon = decimal("1"), nil, nil, optional("0.75")
}

// statement returns the statement of the manifest.
func statement(t testing.TB, m *Manifest) []byte {
	t.Helper()
	text, err := m.AppendStatement(nil)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// sign returns an envelope that the keys have signed.
func sign(t testing.TB, payloadType string, payload []byte, keys ...string) []byte {
	t.Helper()
	var env map[string]any
	var all []any
	for _, k := range keys {
		text, err := dsse.Sign(payloadType, payload, signingKey(k))
		if err == nil {
			err = json.Unmarshal(text, &env)
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, env["signatures"].([]any)...)
	}
	env["signatures"] = all
	text, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// bundled returns a Sigstore bundle with an envelope.
func bundled(env []byte) []byte {
	return fmt.Appendf(nil, `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":""}},"dsseEnvelope":%s}`, env)
}

// An item is an entry of the test's log.
type item struct {
	tenant, kind, predicateType string
	payload                     []byte
	attributes                  map[string]string
	erased                      bool    // header and payload
	hidden                      *uint64 // has the tag of this sequence number of acme's stream
}

// A testLog is a log with the entry of a manifest.
type testLog struct {
	bundle  []byte
	receipt []byte // of the manifest
	leaves  []entry.Hash
}

// spendItem is a spend by another export.
func spendItem(p *Privacy, change func(a map[string]string)) *item {
	a := p.Attributes()
	a["epsilon"], a["rho"] = "1.5", "0.05"
	if change != nil {
		change(a)
	}
	return &item{tenant: "acme", kind: "export-manifest", predicateType: PredicateType, payload: []byte("another export"), attributes: a}
}

const ownEntry = 5

// logItems are the entries of the usual log. The manifest is entry 5.
func logItems(t testing.TB, file []byte, m *Manifest) []*item {
	p := m.Privacy
	return []*item{
		{tenant: "acme", kind: "attestation", payload: []byte("an audit of the data centre")},
		{tenant: "globex", kind: "attestation", payload: []byte("theirs")},
		spendItem(p, nil),
		spendItem(p, func(a map[string]string) { a["budget"] = "another"; a["rho"] = "100" }),
		{tenant: "acme", kind: "export-manifest", payload: []byte("version 1"), attributes: map[string]string{"name": "old", "epsilon": "0.25"}},
		{tenant: "acme", kind: "export-manifest", predicateType: PredicateType, payload: file, attributes: p.Attributes()},
		{tenant: "globex", kind: "attestation", payload: []byte("theirs")},
		spendItem(p, func(a map[string]string) { a["rho"] = "3" }),
	}
}

func streamKey(tenant string) *entry.StreamKey {
	k := det[entry.StreamKey]("stream " + tenant)
	return &k
}

func logSigner(t testing.TB, label string) (note.Signer, string) {
	seed := det[entry.Hash](label)
	public := append([]byte{1}, ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)...)
	h := sha256.Sum256(append([]byte(testOrigin+"\n"), public...))
	hash := binary.BigEndian.Uint32(h[:4])
	s, err := note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", testOrigin, hash, base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...))))
	if err != nil {
		t.Fatal(err)
	}
	return s, fmt.Sprintf("%s+%08x+%s", testOrigin, hash, base64.StdEncoding.EncodeToString(public))
}

func testPolicies(t testing.TB) map[string]string {
	_, key := logSigner(t, "log")
	_, other := logSigner(t, "another log")
	return map[string]string{"log": receipt.FormatTrustPolicy(key), "other": receipt.FormatTrustPolicy(other), "malformed": "log\n"}
}

// newLog returns a log with the entries.
func newLog(t testing.TB, items []*item) *testLog {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	seqs, prevs := map[string]uint64{}, map[string]entry.Hash{}
	l := &testLog{}
	var data []byte
	var records []*bundle.Record
	var own receipt.Receipt
	for i, it := range items {
		label := fmt.Sprint("entry ", i)
		key := streamKey(it.tenant)
		h := entry.Header{Origin: testOrigin, Tenant: it.tenant, Kind: it.kind, MediaType: "application/json", PredicateType: it.predicateType, Submitter: "token:" + it.tenant, Attributes: it.attributes,
			Verification: entry.Verification{Result: entry.Unverified}, Payload: entry.PayloadRef{Commitment: entry.Commitment(det[entry.Salt](label+"p"), it.payload), Size: uint64(len(it.payload))}}
		content, err := h.AppendJSON(nil)
		must(err)
		opening := &receipt.HeaderOpening{Salt: det[entry.Salt](label + "h"), Content: content}
		r := &bundle.Record{Index: uint64(i), Time: 1_700_000_000_000 + uint64(i), LinkSalt: det[entry.Salt](label + "l"), Opening: opening, HeaderHash: entry.HeaderHash(opening.Salt, content), Payload: bundle.Omitted}
		sk := entry.Skeleton{Tag: key.Tag(seqs[it.tenant]), LinkSalt: r.LinkSalt, StreamID: key.StreamID(), Seq: seqs[it.tenant], Prev: prevs[it.tenant], Time: r.Time, HeaderHash: r.HeaderHash}
		if it.hidden != nil {
			sk.Tag = streamKey("acme").Tag(*it.hidden)
		}
		leaf := sk.LeafData(entry.HashOrigin(testOrigin))
		l.leaves = append(l.leaves, entry.LeafHash(leaf[:]))
		data = append(append(data, 0, entry.LeafSize), leaf[:]...)
		seqs[it.tenant]++
		prevs[it.tenant] = l.leaves[i]
		if it.erased {
			r.Opening, r.Payload = nil, bundle.Erased
		}
		if it.tenant == "acme" {
			records = append(records, r)
		}
		if i == ownEntry {
			own = receipt.Receipt{Form: receipt.Detached, Tag: sk.Tag, Time: sk.Time, Header: opening, Payload: &receipt.PayloadOpening{Salt: det[entry.Salt](label + "p")},
				Link: &receipt.LinkOpening{Salt: sk.LinkSalt, StreamID: sk.StreamID, Seq: sk.Seq, Prev: sk.Prev}}
		}
	}
	signer, key := logSigner(t, "log")
	size := uint64(len(items))
	root := rootOf(l.leaves)
	signed, err := receipt.Checkpoint{Origin: testOrigin, Size: size, Root: root}.Sign(signer)
	must(err)
	if len(items) > ownEntry {
		l.receipt = inclusion(t, &own, ownEntry, l.leaves, signed)
	}
	var lines []byte
	for _, r := range records {
		lines, err = r.AppendLine(lines)
		must(err)
	}
	members := map[string][]byte{
		bundle.PolicyName: []byte(receipt.FormatTrustPolicy(key)), bundle.IndexName: []byte("<!doctype html>\n"), bundle.CheckpointName: signed,
		bundle.EntriesName(records[0].Index): lines, bundle.Tile{Level: -1, Index: 0, Width: len(items)}.Name(): data,
		bundle.Tile{Level: 0, Index: 0, Width: len(items)}.Name(): slices.Concat(entry.ByteSlices(l.leaves)...),
	}
	roles := map[string]bundle.Role{bundle.PolicyName: bundle.RolePolicy, bundle.IndexName: bundle.RoleReport, bundle.CheckpointName: bundle.RoleCheckpoint, bundle.EntriesName(records[0].Index): bundle.RoleEntries}
	m := &bundle.Manifest{Origin: testOrigin, Tenant: "acme", Size: size, Root: root, Time: records[len(records)-1].Time,
		Stream:    bundle.Stream{ID: streamKey("acme").StreamID(), Entries: uint64(len(records)), Last: prevs["acme"]},
		Selection: bundle.Selection{Subjects: []string{"sha256:" + det[entry.Hash]("none").String()}}, Artifacts: []bundle.Artifact{{Digest: map[string]string{"sha256": det[entry.Hash]("none").String()}}}}
	var out bytes.Buffer
	w := bundle.NewWriter(&out)
	add := func(name string, content []byte) {
		must(w.Next(name, int64(len(content))))
		_, err := w.Write(content)
		must(err)
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		role, ok := roles[name]
		if !ok {
			role = bundle.RoleTile
		}
		add(name, members[name])
		m.Members = append(m.Members, bundle.Member{Name: name, Role: role, Size: int64(len(members[name])), SHA256: sha256.Sum256(members[name])})
	}
	text, err := m.AppendJSON(nil)
	must(err)
	add(bundle.ManifestName, text)
	must(w.Close())
	l.bundle = out.Bytes()
	return l
}

// rootOf returns the root of a tree.
func rootOf(leaves []entry.Hash) entry.Hash {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	l, r := rootOf(leaves[:k]), rootOf(leaves[k:])
	return entry.NodeHash(&l, &r)
}

func inclusion(t testing.TB, r *receipt.Receipt, index uint64, leaves []entry.Hash, signed []byte) []byte {
	t.Helper()
	nodes, err := proof.Inclusion(index, uint64(len(leaves)))
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for _, id := range nodes.IDs {
		first := id.Index << id.Level
		h := rootOf(leaves[first:min(first+1<<id.Level, uint64(len(leaves)))])
		all = append(all, h[:])
	}
	path, err := nodes.Rehash(all, func(l, r []byte) []byte {
		h := entry.NodeHash((*entry.Hash)(l), (*entry.Hash)(r))
		return h[:]
	})
	if err != nil {
		t.Fatal(err)
	}
	tail := receipt.NewProofTail(signed)
	text, err := r.AppendJSONWithProof(nil, index, path, &tail)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/transparency-dev/merkle/proof"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

const testOrigin = "ledger.example/demo"

// det returns 32 bytes that depend on the label only.
func det[T ~[32]byte](label string) T { return T(sha256.Sum256([]byte("bundle test " + label))) }

func testSigner(t testing.TB, label string) (note.Signer, string) {
	seed := det[entry.Hash](label)
	private := ed25519.NewKeyFromSeed(seed[:])
	public := append([]byte{1}, private.Public().(ed25519.PublicKey)...)
	h := sha256.Sum256(append([]byte(testOrigin+"\n"), public...))
	hash := binary.BigEndian.Uint32(h[:4])
	s, err := note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", testOrigin, hash, base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...))))
	if err != nil {
		t.Fatal(err)
	}
	return s, fmt.Sprintf("%s+%08x+%s", testOrigin, hash, base64.StdEncoding.EncodeToString(public))
}

// An item is an entry of the test's log.
type item struct {
	tenant, kind, payload string
	mediaType             string // "": application/json
	subject               string // hexadecimal digits of its SHA-256; "": none
	attributes            map[string]string
	tagOf                 *uint64 // sequence number of the tag; nil: its own
	origin                string  // in the header
	noHeader              bool    // was erased
	noPayload             bool    // was erased
	omit                  bool
	hidden                bool // has a tag of acme's stream, but another stream's record
}

// The digests of the artifact that bundles of the test select, and of another.
var (
	selectedDigest = det[entry.Hash]("artifact").String()
	otherDigest    = det[entry.Hash]("other artifact").String()
)

// items are the entries of the usual log. Those of the tenant globex are not in
// the bundle.
func items() []*item {
	return []*item{
		{tenant: "acme", kind: "control-set", payload: "{}"},
		{tenant: "globex", kind: "attestation", payload: "theirs"},
		{tenant: "acme", kind: "attestation", payload: `{"scan":1}`, subject: selectedDigest},
		{tenant: "acme", kind: "attestation", payload: `{"scan":2}`, subject: otherDigest, omit: true},
		{tenant: "acme", kind: "attestation", payload: "erased", subject: selectedDigest, noPayload: true},
		{tenant: "acme", kind: "attestation", payload: "erased", subject: selectedDigest, noPayload: true, noHeader: true},
		{tenant: "acme", kind: "erasure", payload: "{}", attributes: map[string]string{"entry": "4", "scope": "payload"}, omit: true},
		{tenant: "globex", kind: "attestation", payload: "theirs"},
		{tenant: "acme", kind: "erasure", payload: "{}", attributes: map[string]string{"entry": "5", "scope": "header-and-payload"}, omit: true},
		{tenant: "acme", kind: "key-event", payload: "{}"},
	}
}

// A build makes a bundle. The functions change it at its stages.
type build struct {
	t     testing.TB
	items []*item

	records  func(all []*Record)
	members  func(all map[string][]byte)
	manifest func(m *Manifest)
	text     func(manifest []byte) []byte
	archive  func(all []byte) []byte
	signer   note.Signer
	extra    string // member that is written after the manifest
}

func newBuild(t testing.TB) *build {
	b := &build{t: t, items: items()}
	b.signer, _ = testSigner(t, "log key")
	return b
}

func (b *build) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// streamKey returns the key of a tenant.
func streamKey(tenant string) *entry.StreamKey {
	k := det[entry.StreamKey]("stream " + tenant)
	return &k
}

// leaves returns the leaves of the log, and the records of acme.
func (b *build) leaves() (leaves [][]byte, records []*Record, last entry.Hash) {
	seqs, prevs := map[string]uint64{}, map[string]entry.Hash{}
	origin := entry.HashOrigin(testOrigin)
	for i, it := range b.items {
		label := fmt.Sprint("entry ", i)
		key := streamKey(it.tenant)
		h := entry.Header{Origin: testOrigin, Tenant: it.tenant, Kind: it.kind, MediaType: "application/json", Submitter: "token:" + it.tenant, Attributes: it.attributes,
			Verification: entry.Verification{Result: entry.Unverified}, Payload: entry.PayloadRef{Commitment: entry.Commitment(det[entry.Salt](label+"p"), []byte(it.payload)), Size: uint64(len(it.payload))}}
		if it.mediaType != "" {
			h.MediaType = it.mediaType
		}
		if it.origin != "" {
			h.Origin = it.origin
		}
		if it.subject != "" {
			h.Subjects = []entry.Subject{{Digest: map[string]string{"sha256": it.subject}}}
		}
		content, err := h.AppendJSON(nil)
		b.must(err)
		opening := &receipt.HeaderOpening{Salt: det[entry.Salt](label + "h"), Content: content}
		r := &Record{Index: uint64(i), Time: 1000 + uint64(i), LinkSalt: det[entry.Salt](label + "l"), Opening: opening, HeaderHash: entry.HeaderHash(opening.Salt, content), Payload: Included,
			PayloadSalt: det[entry.Salt](label + "p"), Seq: seqs[it.tenant], Prev: prevs[it.tenant], Tag: key.Tag(seqs[it.tenant]), Header: &h}
		if it.tagOf != nil {
			r.Tag = key.Tag(*it.tagOf)
			if it.hidden {
				r.Tag = streamKey("acme").Tag(*it.tagOf)
			}
		}
		sk := r.skeleton(key.StreamID())
		data := sk.LeafData(origin)
		leaves = append(leaves, data[:])
		seqs[it.tenant]++
		prevs[it.tenant] = entry.LeafHash(data[:])
		if it.omit {
			r.Payload = Omitted
		}
		if it.noPayload {
			r.Payload = Erased
		}
		if it.noHeader {
			r.Opening, r.Header = nil, nil
		}
		if it.tenant == "acme" {
			records = append(records, r)
		}
	}
	return leaves, records, prevs["acme"]
}

// bytes returns the bundle.
func (b *build) bytes() []byte {
	b.t.Helper()
	leaves, records, last := b.leaves()
	size := uint64(len(leaves))
	all := map[string][]byte{PolicyName: []byte(testPolicies(b.t)["log"]), IndexName: []byte("<!doctype html>\n")}
	c := &treeCheck{check: func(t Tile, hashes []entry.Hash) error {
		all[t.Name()] = slices.Concat(entry.ByteSlices(hashes)...)
		return nil
	}}
	var bundle []byte
	hashes := make([]entry.Hash, len(leaves))
	for i, data := range leaves {
		hashes[i] = entry.LeafHash(data)
		b.must(c.add(0, hashes[i]))
		bundle = append(append(bundle, 0, entry.LeafSize), data...)
	}
	all[Tile{-1, 0, len(leaves)}.Name()] = bundle
	root, err := c.finish()
	b.must(err)
	all[CheckpointName], err = receipt.Checkpoint{Origin: testOrigin, Size: size, Root: root}.Sign(b.signer)
	b.must(err)
	m := &Manifest{Origin: testOrigin, Tenant: "acme", Size: size, Root: root,
		Stream:    Stream{ID: streamKey("acme").StreamID(), Entries: uint64(len(records)), Last: last},
		Selection: Selection{Subjects: []string{"sha256:" + selectedDigest}}, Artifacts: []Artifact{{Digest: map[string]string{"sha256": selectedDigest}}}}
	for _, r := range records {
		if r.Payload == Included {
			all[PayloadName(r.Index, r.Header.MediaType)] = []byte(b.items[r.Index].payload)
			all[ReceiptName(r.Index)] = b.receipt(r, hashes, all[CheckpointName])
		}
	}
	if b.records != nil {
		b.records(records)
	}
	var lines []byte
	for _, r := range records {
		lines, err = r.AppendLine(lines)
		b.must(err)
	}
	if n := len(records); n > 0 {
		all[EntriesName(records[0].Index)], m.Time = lines, records[n-1].Time
	}
	if b.members != nil {
		b.members(all)
	}
	return b.write(m, all)
}

// receipt returns the receipt of a record.
func (b *build) receipt(r *Record, leaves []entry.Hash, signed []byte) []byte {
	sk := r.skeleton(streamKey("acme").StreamID())
	out := receipt.Receipt{Form: receipt.Detached, Tag: sk.Tag, Time: sk.Time, Header: r.Opening, Payload: &receipt.PayloadOpening{Salt: r.PayloadSalt},
		Link: &receipt.LinkOpening{Salt: sk.LinkSalt, StreamID: sk.StreamID, Seq: sk.Seq, Prev: sk.Prev}}
	nodes, err := proof.Inclusion(r.Index, uint64(len(leaves)))
	b.must(err)
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
	b.must(err)
	tail := receipt.NewProofTail(signed)
	text, err := out.AppendJSONWithProof(nil, r.Index, path, &tail)
	b.must(err)
	return text
}

// write writes the archive.
func (b *build) write(m *Manifest, all map[string][]byte) []byte {
	var out bytes.Buffer
	w := NewWriter(&out)
	add := func(name string, content []byte) {
		b.must(w.Next(name, int64(len(content))))
		_, err := w.Write(content)
		b.must(err)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		add(name, all[name])
		m.Members = append(m.Members, Member{Name: name, Role: roleOf(name), Size: int64(len(all[name])), SHA256: sha256.Sum256(all[name])})
	}
	if b.manifest != nil {
		b.manifest(m)
	}
	text, err := m.AppendJSON(nil)
	b.must(err)
	if b.text != nil {
		text = b.text(text)
	}
	add(ManifestName, text)
	if b.extra != "" {
		add(b.extra, nil)
	}
	b.must(w.Close())
	if b.archive != nil {
		return b.archive(out.Bytes())
	}
	return out.Bytes()
}

// testPolicies returns the policies of the vectors.
func testPolicies(t testing.TB) map[string]string {
	_, key := testSigner(t, "log key")
	_, other := testSigner(t, "other key")
	return map[string]string{
		"log": receipt.FormatTrustPolicy(key), "other": receipt.FormatTrustPolicy(other), "malformed": "log\n",
		"witnessed": "log " + key + "\nwitness w " + witnessKey() + "\nquorum w\n",
	}
}

// witnessKey returns the key of a witness that has cosigned nothing.
func witnessKey() string {
	seed := det[entry.Hash]("witness key")
	public := append([]byte{4}, ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)...)
	h := sha256.Sum256(append([]byte("witness.example\n"), public...))
	return fmt.Sprintf("witness.example+%08x+%s", binary.BigEndian.Uint32(h[:4]), base64.StdEncoding.EncodeToString(public))
}

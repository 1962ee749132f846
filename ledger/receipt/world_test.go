package receipt

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/mldsa"
	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/ledger/entry"
)

// A world is a small log of two tenants with known keys, made without the
// ledger's code.
type world struct {
	t        *testing.T
	signer   note.Signer
	vkey     string
	origin   string
	keys     map[string]*entry.StreamKey
	payloads [][]byte
	receipts []*Receipt
	leaves   []entry.Hash
	witness  *torchwood.CosignatureSigner
	external []byte // the evidence to which entry 7 refers
}

func newSigner(t testing.TB, origin, label string) (note.Signer, string) {
	seed := det[entry.Hash](label)
	priv := ed25519.NewKeyFromSeed(seed[:])
	pub := append([]byte{1}, priv.Public().(ed25519.PublicKey)...)
	h := sha256.Sum256(append([]byte(origin+"\n"), pub...))
	hash := binary.BigEndian.Uint32(h[:4])
	s, err := note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", origin, hash, base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...))))
	if err != nil {
		t.Fatal(err)
	}
	return s, fmt.Sprintf("%s+%08x+%s", origin, hash, base64.StdEncoding.EncodeToString(pub))
}

// keyHash is that of signed-note.
func keyHash(name string, key []byte) uint32 {
	h := sha256.Sum256(append([]byte(name+"\n"), key...))
	return binary.BigEndian.Uint32(h[:4])
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, origin: "ledger.example/demo", external: []byte("evidence that is kept elsewhere"), keys: map[string]*entry.StreamKey{}}
	w.signer, w.vkey = newSigner(t, w.origin, "log key")
	seed := det[entry.Hash]("witness key")
	var err error
	if w.witness, err = torchwood.NewCosignatureSigner("witness.example", ed25519.NewKeyFromSeed(seed[:])); err != nil {
		t.Fatal(err)
	}
	seqs, prevs := map[string]uint64{}, map[string]entry.Hash{}
	for i := range 11 {
		tenant := []string{"acme", "globex"}[i%3%2]
		if w.keys[tenant] == nil {
			k := det[entry.StreamKey]("stream " + tenant)
			w.keys[tenant] = &k
		}
		label := fmt.Sprint("world ", i)
		payload := []byte(fmt.Sprintf(`{"evidence":%d,"note":"Umlaut ä, line\nbreak"}`, i))
		ps := det[entry.Salt](label + "p")
		h := entry.Header{Origin: w.origin, Tenant: tenant, Kind: "attestation", MediaType: "application/json", Submitter: "token:" + tenant,
			Subjects: []entry.Subject{{Name: "pkg/\"app\" ünï", Digest: map[string]string{"sha256": det[entry.Hash](label + "s").String(), "gitCommit": "abc"}}},
			Signers:  []entry.Signer{{Identity: "ci@acme.example", Issuer: "https://issuer.example"}, {KeyID: "k1"}}, PredicateType: "https://slsa.dev/provenance/v1",
			Verification: entry.Verification{Result: entry.Unverified}, Payload: entry.PayloadRef{Commitment: entry.Commitment(ps, payload), Size: uint64(len(payload))}}
		switch i {
		case 6:
			h.Verification, h.Controls = entry.Verification{Result: entry.Verified, Format: "sigstore"}, []string{"AC-2", "SI-7"}
			h.Admission = &entry.Admission{Result: entry.Admitted, Rule: "all"}
		case 7:
			sum := entry.Hash(sha256.Sum256(w.external))
			h.External = &entry.External{Digest: map[string]string{"SHA256": strings.ToUpper(sum.String())}, Size: uint64(len(w.external)), Location: "https://store.example/1"}
		case 8:
			h.Verification, h.Admission = entry.Verification{Result: entry.Failed, Reason: "wrong key"}, &entry.Admission{Result: entry.Recorded, Reason: "no rule"}
		}
		content, err := h.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		r := &Receipt{Form: Full, Tag: w.keys[tenant].Tag(seqs[tenant]), Time: 1760000000000 + uint64(i)*1000,
			Link:    &LinkOpening{Salt: det[entry.Salt](label + "l"), StreamID: w.keys[tenant].StreamID(), Seq: seqs[tenant], Prev: prevs[tenant]},
			Header:  &HeaderOpening{Salt: det[entry.Salt](label + "h"), Content: content},
			Payload: &PayloadOpening{Salt: ps, Content: payload}}
		r.LinkHash = entry.LinkHash(r.Link.Salt, r.Link.StreamID, r.Link.Seq, r.Link.Prev)
		r.HeaderHash = entry.HeaderHash(r.Header.Salt, content)
		d := entry.LeafData(r.Tag, entry.EntryHash(entry.HashOrigin(w.origin), r.LinkHash, r.Time, r.HeaderHash))
		w.leaves = append(w.leaves, entry.LeafHash(d[:]))
		seqs[tenant]++
		prevs[tenant] = w.leaves[i]
		w.receipts = append(w.receipts, r)
		w.payloads = append(w.payloads, payload)
	}
	return w
}

// tree returns the first n leaves as a sumdb/tlog tree, the independent
// implementation that proofs are made with here.
func (w *world) tree(n int) (tlog.HashReaderFunc, tlog.Hash) {
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(idx []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(idx))
		for i, x := range idx {
			out[i] = stored[x]
		}
		return out, nil
	})
	for i := range n {
		hs, err := tlog.StoredHashesForRecordHash(int64(i), tlog.Hash(w.leaves[i]), read)
		if err != nil {
			w.t.Fatal(err)
		}
		stored = append(stored, hs...)
	}
	root, err := tlog.TreeHash(int64(n), read)
	if err != nil {
		w.t.Fatal(err)
	}
	return read, root
}

// receipt returns entry i as a receipt of the form at tree size n.
func (w *world) receipt(i, n int, form Form, witnessed bool) []byte {
	w.t.Helper()
	read, root := w.tree(n)
	path, err := tlog.ProveRecord(int64(n), int64(i), read)
	if err != nil {
		w.t.Fatal(err)
	}
	signed, err := Checkpoint{Origin: w.origin, Size: uint64(n), Root: entry.Hash(root)}.Sign(w.signer)
	if err != nil {
		w.t.Fatal(err)
	}
	if witnessed {
		signed = append(signed, w.cosignature(string(signed))...)
	}
	r := *w.receipts[i]
	r.Form = form
	switch form {
	case Detached:
		r.Payload = &PayloadOpening{Salt: r.Payload.Salt}
	case Shared:
		r.Link = nil
	case PayloadErased:
		r.Payload = nil
	case HeaderErased:
		r.Payload, r.Header = nil, nil
	}
	r.Proof = torchwood.FormatProof(int64(i), path, signed)
	out, err := r.AppendJSON(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return append(out, '\n')
}

// rebuild returns a changed receipt with the proof of entry i.
func (w *world) rebuild(r Receipt, i, n int) []byte {
	p, err := Parse(w.receipt(i, n, Full, false))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Proof = p.Proof
	out, err := r.AppendJSON(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) sharedDetached(i, n int) []byte {
	r := *w.receipts[i]
	r.Form, r.Link, r.Payload = Shared, nil, &PayloadOpening{Salt: r.Payload.Salt}
	return w.rebuild(r, i, n)
}

// cosignature makes the witness's line at a fixed time, so that the vectors
// stay the same.
func (w *world) cosignature(signed string) string {
	text, _, _ := strings.Cut(signed, "\n\n")
	const at = 1760000100
	seed := det[entry.Hash]("witness key")
	sig := ed25519.Sign(ed25519.NewKeyFromSeed(seed[:]), []byte(fmt.Sprintf("cosignature/v1\ntime %d\n%s\n", at, text)))
	raw := binary.BigEndian.AppendUint32(nil, w.witness.KeyHash())
	raw = binary.BigEndian.AppendUint64(raw, uint64(time.Unix(at, 0).Unix()))
	return "— witness.example " + base64.StdEncoding.EncodeToString(append(raw, sig...)) + "\n"
}

// edWitness returns a cosignature line of a witness, and its key.
func edWitness(t testing.TB, name, signed string) (line, vkey string) {
	seed := det[entry.Hash](name)
	private := ed25519.NewKeyFromSeed(seed[:])
	w, err := torchwood.NewCosignatureSigner(name, private)
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(signed, "\n\n")
	const at = 1760000100
	raw := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, w.KeyHash()), at)
	raw = append(raw, ed25519.Sign(private, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s\n", at, text))...)
	return "— " + name + " " + base64.StdEncoding.EncodeToString(raw) + "\n", w.Verifier().String()
}

// pqKey is an ML-DSA-44 cosigner.
type pqKey struct {
	name string
	hash uint32
	key  *mldsa.PrivateKey
	vkey string
}

func newPQKey(t testing.TB, name, label string) *pqKey {
	seed := det[entry.Hash](label)
	key, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed[:])
	if err != nil {
		t.Fatal(err)
	}
	pub := append([]byte{6}, key.PublicKey().Bytes()...)
	h := sha256.Sum256(append([]byte(name+"\n"), pub...))
	k := &pqKey{name: name, hash: binary.BigEndian.Uint32(h[:4]), key: key}
	k.vkey = fmt.Sprintf("%s+%08x+%s", name, k.hash, base64.StdEncoding.EncodeToString(pub))
	return k
}

// cosignature makes the key's line over a signed checkpoint by the text of C2SP
// tlog-cosignature, deterministically.
func (k *pqKey) cosignature(t testing.TB, signed string, at uint64) string {
	c, err := ParseCheckpointUnverified([]byte(signed))
	if err != nil {
		t.Fatal(err)
	}
	m := append([]byte("subtree/v1\n\x00"), byte(len(k.name)))
	m = append(m, k.name...)
	m = binary.BigEndian.AppendUint64(m, at)
	m = append(append(m, byte(len(c.Origin))), c.Origin...)
	m = binary.BigEndian.AppendUint64(m, 0)
	m = binary.BigEndian.AppendUint64(m, c.Size)
	m = append(m, c.Root[:]...)
	sig, err := k.key.SignDeterministic(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw := binary.BigEndian.AppendUint32(nil, k.hash)
	raw = binary.BigEndian.AppendUint64(raw, at)
	return "— " + k.name + " " + base64.StdEncoding.EncodeToString(append(raw, sig...)) + "\n"
}

// editSignature changes the bytes of a signature line: 4 of key hash, 8 of
// time, the signature.
func editSignature(t testing.TB, line string, edit func([]byte) []byte) string {
	i := strings.LastIndex(line, " ") + 1
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line[i:]))
	if err != nil {
		t.Fatal(err)
	}
	return line[:i] + base64.StdEncoding.EncodeToString(edit(b)) + "\n"
}

// cosigned returns the receipt with lines added to its checkpoint.
func (w *world) cosigned(data []byte, lines ...string) []byte {
	r, err := Parse(data)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Proof = append(r.Proof, strings.Join(lines, "")...)
	out, err := r.AppendJSON(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

package receipt

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/mldsa"
	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

var update = flag.Bool("update", false, "write docs/spec/vectors anew")

const vectorDir = "../../docs/spec/vectors"

// golden compares what the generator makes with the checked-in file.
func golden(t *testing.T, name string, v any) {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(vectorDir, name)
	if *update {
		if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, buf.Bytes()) {
		t.Fatalf("%s is not what the code makes; a format changed. If that is meant: go test ./ledger/receipt -update", path)
	}
}

// det returns 32 bytes that depend on the label only.
func det[T ~[32]byte](label string) T {
	return T(sha256.Sum256([]byte("muniment test vector " + label)))
}

type entryCase struct {
	Name        string `json:"name"`
	StreamKey   string `json:"streamKey"`
	LinkSalt    string `json:"linkSalt"`
	HeaderSalt  string `json:"headerSalt"`
	PayloadSalt string `json:"payloadSalt"`
	Seq         string `json:"seq"`
	Time        string `json:"time"`
	Prev        string `json:"prev"`
	HeaderUTF8  string `json:"headerUtf8"`
	Payload     string `json:"payload"`
	StreamID    string `json:"streamID"`
	Tag         string `json:"tag"`
	Link        string `json:"link"`
	HeaderHash  string `json:"headerHash"`
	Commitment  string `json:"commitment"`
	EntryHash   string `json:"entryHash"`
	LeafData    string `json:"leafData"`
	LeafHash    string `json:"leafHash"`
}

func makeEntryCase(name string, key StreamKey, seq, tm uint64, prev Hash, header, payload string) entryCase {
	sk := Skeleton{Tag: key.Tag(seq), LinkSalt: det[Salt](name + " link"), StreamID: key.StreamID(), Seq: seq, Prev: prev, Time: tm,
		HeaderHash: HeaderHash(det[Salt](name+" header"), []byte(header))}
	data, ps := sk.LeafData(), det[Salt](name+" payload")
	return entryCase{
		Name: name, StreamKey: hex.EncodeToString(key[:]), LinkSalt: hex.EncodeToString(sk.LinkSalt[:]),
		HeaderSalt: Hash(det[Salt](name + " header")).String(), PayloadSalt: Hash(ps).String(),
		Seq: strconv.FormatUint(seq, 10), Time: strconv.FormatUint(tm, 10), Prev: prev.String(), HeaderUTF8: header, Payload: hex.EncodeToString([]byte(payload)),
		StreamID: sk.StreamID.String(), Tag: sk.Tag.String(), Link: sk.Link().String(), HeaderHash: sk.HeaderHash.String(),
		Commitment: Commitment(ps, []byte(payload)).String(), EntryHash: EntryHash(sk.Link(), tm, sk.HeaderHash).String(),
		LeafData: hex.EncodeToString(data[:]), LeafHash: sk.LeafHash().String(),
	}
}

func TestEntryVectors(t *testing.T) {
	var cases []entryCase
	cases = append(cases, makeEntryCase("plain", det[StreamKey]("key a"), 0, 1760000000000, Hash{}, `{"not":"parsed here"}`, "hello"))
	cases = append(cases, makeEntryCase("largest integers", det[StreamKey]("key b"), 1<<64-1, 1<<64-1, det[Hash]("prev"), "x", ""))
	cases = append(cases, makeEntryCase("unicode header", StreamKey{}, 7, 1, det[Hash]("prev 2"), "{\"name\":\"Urkunde \u00e4\U0001F4DC\"}", "\x00\x01\xff"))
	var prev Hash
	for i := range uint64(3) {
		c := makeEntryCase(fmt.Sprintf("chain-%d", i), det[StreamKey]("key chain"), i, 1760000000000+i/2, prev, fmt.Sprintf(`{"n":%d}`, i), fmt.Sprint("payload ", i))
		b, _ := hex.DecodeString(c.LeafHash)
		prev = Hash(b)
		cases = append(cases, c)
	}
	golden(t, "entry.json", cases)

	// The formulas of docs/spec/entry.md once more, written down naively.
	for _, c := range cases {
		un := func(s string) []byte { b, _ := hex.DecodeString(s); return b }
		num := func(s string) []byte {
			n, _ := strconv.ParseUint(s, 10, 64)
			return binary.BigEndian.AppendUint64(nil, n)
		}
		sum := func(parts ...[]byte) []byte { h := sha256.Sum256(bytes.Join(parts, nil)); return h[:] }
		m := hmac.New(sha256.New, un(c.StreamKey))
		m.Write(append([]byte("muniment/tag/v1\n"), num(c.Seq)...))
		streamID := sum([]byte("muniment/stream/v1\n"), un(c.StreamKey))
		link := sum([]byte("muniment/link/v1\n"), un(c.LinkSalt), streamID, num(c.Seq), un(c.Prev))
		hh := sum([]byte("muniment/header/v1\n"), un(c.HeaderSalt), []byte(c.HeaderUTF8))
		entry := sum([]byte("muniment/entry/v1\n"), link, num(c.Time), hh)
		leaf := append(append([]byte{1}, m.Sum(nil)...), entry...)
		for what, pair := range map[string][2]string{
			"streamID": {hex.EncodeToString(streamID), c.StreamID}, "link": {hex.EncodeToString(link), c.Link}, "leafData": {hex.EncodeToString(leaf), c.LeafData},
			"leafHash":   {hex.EncodeToString(sum([]byte{0}, leaf)), c.LeafHash},
			"commitment": {hex.EncodeToString(sum([]byte("muniment/payload/v1\n"), un(c.PayloadSalt), un(c.Payload))), c.Commitment},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s: %s is %s, want %s", c.Name, what, pair[1], pair[0])
			}
		}
	}
}

// A world is a small log of two tenants with known keys, made without the ledger's code.
type world struct {
	t        *testing.T
	signer   note.Signer
	vkey     string
	origin   string
	keys     map[string]*StreamKey
	payloads [][]byte
	receipts []*Receipt
	leaves   []Hash
	witness  *torchwood.CosignatureSigner
}

func newSigner(t testing.TB, origin, label string) (note.Signer, string) {
	seed := det[Hash](label)
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

func newWorld(t *testing.T) *world {
	w := &world{t: t, origin: "ledger.example/demo", keys: map[string]*StreamKey{}}
	w.signer, w.vkey = newSigner(t, w.origin, "log key")
	seed := det[Hash]("witness key")
	var err error
	if w.witness, err = torchwood.NewCosignatureSigner("witness.example", ed25519.NewKeyFromSeed(seed[:])); err != nil {
		t.Fatal(err)
	}
	seqs, prevs := map[string]uint64{}, map[string]Hash{}
	for i := range 11 {
		tenant := []string{"acme", "globex"}[i%3%2]
		if w.keys[tenant] == nil {
			k := det[StreamKey]("stream " + tenant)
			w.keys[tenant] = &k
		}
		label := fmt.Sprint("world ", i)
		payload := []byte(fmt.Sprintf(`{"evidence":%d,"note":"Umlaut ä, line\nbreak"}`, i))
		ps := det[Salt](label + "p")
		h := Header{Origin: w.origin, Tenant: tenant, Kind: "attestation", MediaType: "application/json", Submitter: "token:" + tenant,
			Subjects: []Subject{{Name: "pkg/\"app\" ünï", Digest: map[string]string{"sha256": det[Hash](label + "s").String(), "gitCommit": "abc"}}},
			Signers:  []Signer{{Identity: "ci@acme.example", Issuer: "https://issuer.example"}, {KeyID: "k1"}}, PredicateType: "https://slsa.dev/provenance/v1",
			Verification: Verification{Result: Unverified}, Payload: PayloadRef{Commitment: Commitment(ps, payload), Size: uint64(len(payload))}}
		content, err := h.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		r := &Receipt{Form: Full, Tag: w.keys[tenant].Tag(seqs[tenant]), Time: 1760000000000 + uint64(i)*1000,
			Link:    &LinkOpening{Salt: det[Salt](label + "l"), StreamID: w.keys[tenant].StreamID(), Seq: seqs[tenant], Prev: prevs[tenant]},
			Header:  &HeaderOpening{Salt: det[Salt](label + "h"), Content: content},
			Payload: &PayloadOpening{Salt: ps, Content: payload}}
		r.LinkHash = LinkHash(r.Link.Salt, r.Link.StreamID, r.Link.Seq, r.Link.Prev)
		r.HeaderHash = HeaderHash(r.Header.Salt, content)
		d := LeafData(r.Tag, EntryHash(r.LinkHash, r.Time, r.HeaderHash))
		w.leaves = append(w.leaves, LeafHash(d[:]))
		seqs[tenant]++
		prevs[tenant] = w.leaves[i]
		w.receipts = append(w.receipts, r)
		w.payloads = append(w.payloads, payload)
	}
	return w
}

// tree returns the first n leaves as a sumdb/tlog tree, the independent implementation that proofs are made with here.
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
	signed, err := Checkpoint{Origin: w.origin, Size: uint64(n), Root: Hash(root)}.Sign(w.signer)
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

// cosignature makes the witness's line at a fixed time, so that the vectors stay the same.
func (w *world) cosignature(signed string) string {
	text, _, _ := strings.Cut(signed, "\n\n")
	const at = 1760000100
	seed := det[Hash]("witness key")
	sig := ed25519.Sign(ed25519.NewKeyFromSeed(seed[:]), []byte(fmt.Sprintf("cosignature/v1\ntime %d\n%s\n", at, text)))
	raw := binary.BigEndian.AppendUint32(nil, w.witness.KeyHash())
	raw = binary.BigEndian.AppendUint64(raw, uint64(time.Unix(at, 0).Unix()))
	return "— witness.example " + base64.StdEncoding.EncodeToString(append(raw, sig...)) + "\n"
}

// pqKey is an ML-DSA-44 cosigner.
type pqKey struct {
	name string
	hash uint32
	key  *mldsa.PrivateKey
	vkey string
}

func newPQKey(t testing.TB, name, label string) *pqKey {
	seed := det[Hash](label)
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

// cosignature makes the key's line over a signed checkpoint by the text of C2SP tlog-cosignature, deterministically.
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

// editSignature changes the bytes of a signature line: 4 of key hash, 8 of time, the signature.
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

type receiptVectors struct {
	Policies   map[string]string `json:"policies"`
	StreamKeys map[string]string `json:"streamKeys"`
	Payloads   map[string]string `json:"payloads"`
	Cases      []*receiptCase    `json:"cases"`
}

type receiptCase struct {
	Name       string            `json:"name"`
	Receipt    string            `json:"receiptBase64"`
	Policies   []string          `json:"policies"`
	Payload    string            `json:"payload,omitempty"`
	HeaderOnly bool              `json:"headerOnly,omitempty"`
	Expect     map[string]string `json:"expect,omitempty"`
	Verdict    string            `json:"verdict"`
	Reason     string            `json:"reason,omitempty"`
	Statement  map[string]any    `json:"statement,omitempty"`
}

func (v *receiptVectors) verify(t *testing.T, c *receiptCase) (*Statement, error) {
	t.Helper()
	policies, o, data := v.inputs(t, c)
	return Verify(data, policies, o)
}

// inputs are what the case gives to the verifier.
func (v *receiptVectors) inputs(t *testing.T, c *receiptCase) (policies []*Policy, o Options, data []byte) {
	t.Helper()
	for _, name := range c.Policies {
		p, err := ParsePolicy(name, []byte(v.Policies[name]))
		if err != nil {
			t.Fatal(err)
		}
		policies = append(policies, p)
	}
	o = Options{HeaderOnly: c.HeaderOnly, Tenant: c.Expect["tenant"], Kind: c.Expect["kind"], Subject: c.Expect["subject"]}
	if c.Payload != "" {
		o.Payload, _ = base64.StdEncoding.DecodeString(v.Payloads[c.Payload])
	}
	if s := c.Expect["stream"]; s != "" {
		b, _ := hex.DecodeString(s)
		id := Hash(b)
		o.StreamID = &id
	}
	if s := c.Expect["streamKey"]; s != "" {
		b, _ := hex.DecodeString(v.StreamKeys[s])
		k := StreamKey(b)
		o.StreamKey = &k
	}
	data, err := base64.StdEncoding.DecodeString(c.Receipt)
	if err != nil {
		t.Fatal(err)
	}
	return policies, o, data
}

// statementMap is the statement as docs/spec/receipt.md, section 6, writes it.
func statementMap(s *Statement) map[string]any {
	m := map[string]any{"origin": s.Origin, "index": s.Index, "size": s.Size, "root": s.Root.String(), "leafHash": s.LeafHash.String(), "tag": s.Tag.String(),
		"time": s.Time, "headerHash": s.HeaderHash.String(), "signers": s.Signers}
	if s.Link != nil {
		m["streamId"], m["seq"], m["prev"] = s.Link.StreamID.String(), s.Link.Seq, s.Link.Prev.String()
	}
	if s.HeaderBytes != nil {
		m["headerSha256"] = Hash(sha256.Sum256(s.HeaderBytes)).String()
	}
	if s.PayloadSHA256 != nil {
		m["payloadSha256"] = s.PayloadSHA256.String()
	}
	return m
}

func TestReceiptVectors(t *testing.T) {
	w := newWorld(t)
	_, otherKey := newSigner(t, w.origin, "another log key")
	_, otherOrigin := newSigner(t, "other.example", "log key")
	wkey := w.witness.Verifier().String()
	pqLog, pqWitness, pqOther := newPQKey(t, w.origin, "post-quantum log key"), newPQKey(t, "witness.example", "post-quantum witness key"), newPQKey(t, w.origin, "another post-quantum key")
	v := &receiptVectors{
		Policies: map[string]string{
			"log": FormatPolicy(w.vkey), "other-key": FormatPolicy(otherKey), "other-origin": FormatPolicy(otherOrigin),
			"witnessed": "# comment\nlog " + w.vkey + "\nwitness w1 " + wkey + "\n\nquorum w1\n",
			"one-of":    "log\t" + w.vkey + " https://log.example/\nwitness w1 " + wkey + "\ngroup g any w1\nquorum g\n",
			"optional":  "log " + w.vkey + "\nwitness w1 " + wkey + "\nquorum none\n",
			"pq":        FormatPolicy(pqLog.vkey), "pq-other": FormatPolicy(pqOther.vkey),
			"pq-witnessed": "log " + pqLog.vkey + "\nwitness w1 " + pqWitness.vkey + " https://witness.example/\ngroup g all w1\nquorum g\n",
		},
		StreamKeys: map[string]string{}, Payloads: map[string]string{"empty": ""},
	}
	for name, k := range w.keys {
		v.StreamKeys[name] = hex.EncodeToString(k[:])
	}
	for i, p := range w.payloads {
		v.Payloads[fmt.Sprint("p", i)] = base64.StdEncoding.EncodeToString(p)
	}
	add := func(name string, data []byte, c receiptCase) {
		c.Name, c.Receipt = name, base64.StdEncoding.EncodeToString(data)
		if c.Policies == nil {
			c.Policies = []string{"log"}
		}
		c.Verdict = "accept"
		if c.Reason != "" {
			c.Verdict = "refuse"
		}
		v.Cases = append(v.Cases, &c)
	}
	full := w.receipt(4, 11, Full, false)
	add("full", full, receiptCase{})
	add("only entry of the log", w.receipt(0, 1, Full, false), receiptCase{})
	add("last entry", w.receipt(10, 11, Full, false), receiptCase{})
	add("full, with the same payload from elsewhere", full, receiptCase{Payload: "p4"})
	add("full, with another payload from elsewhere", full, receiptCase{Payload: "p5", Reason: "2"})
	add("full, with an empty payload from elsewhere", full, receiptCase{Payload: "empty", Reason: "2"})
	add("full, header only", full, receiptCase{HeaderOnly: true})
	add("detached with its payload", w.receipt(4, 11, Detached, false), receiptCase{Payload: "p4"})
	add("detached with another payload", w.receipt(4, 11, Detached, false), receiptCase{Payload: "p5", Reason: "4"})
	add("detached without payload", w.receipt(4, 11, Detached, false), receiptCase{Reason: "2"})
	add("detached, header only", w.receipt(4, 11, Detached, false), receiptCase{HeaderOnly: true})
	add("shared", w.receipt(4, 11, Shared, false), receiptCase{})
	add("payload-erased, header only", w.receipt(4, 11, PayloadErased, false), receiptCase{HeaderOnly: true})
	add("payload-erased", w.receipt(4, 11, PayloadErased, false), receiptCase{Reason: "2"})
	add("payload-erased with a payload", w.receipt(4, 11, PayloadErased, false), receiptCase{Payload: "p4", HeaderOnly: true, Reason: "2"})
	add("header-erased, header only", w.receipt(4, 11, HeaderErased, false), receiptCase{HeaderOnly: true})
	add("header-erased", w.receipt(4, 11, HeaderErased, false), receiptCase{Reason: "2"})
	for i := range w.receipts {
		add(fmt.Sprintf("entry %d at size 11", i), w.receipt(i, 11, Full, false), receiptCase{})
		add(fmt.Sprintf("entry %d at size %d", i, i+1), w.receipt(i, i+1, Full, false), receiptCase{})
	}
	all := map[string]string{"tenant": "globex", "kind": "attestation", "subject": "sha256:" + det[Hash]("world 4s").String(), "streamKey": "globex", "stream": w.keys["globex"].StreamID().String()}
	add("all expectations met", full, receiptCase{Expect: all})
	for _, x := range [][2]string{{"tenant", "initech"}, {"tenant", "ACME"}, {"kind", "erasure"}, {"subject", "sha256:00"}, {"subject", det[Hash]("world 4s").String()}, {"stream", det[Hash]("x").String()}} {
		add(fmt.Sprintf("expectation %s = %s not met", x[0], x[1]), full, receiptCase{Expect: map[string]string{x[0]: x[1]}, Reason: "10"})
	}
	other := map[string]string{"acme": "globex", "globex": "acme"}[all["streamKey"]]
	add("stream key of another tenant", full, receiptCase{Expect: map[string]string{"streamKey": other}, Reason: "10"})
	add("stream expected of a shared receipt", w.receipt(4, 11, Shared, false), receiptCase{Expect: map[string]string{"stream": all["stream"]}, Reason: "10"})
	add("tenant expected of a header-erased receipt", w.receipt(4, 11, HeaderErased, false), receiptCase{HeaderOnly: true, Expect: map[string]string{"tenant": all["tenant"]}, Reason: "10"})
	add("stream key with a header-erased receipt", w.receipt(4, 11, HeaderErased, false), receiptCase{HeaderOnly: true, Expect: map[string]string{"streamKey": all["streamKey"]}})
	add("policy with another key", full, receiptCase{Policies: []string{"other-key"}, Reason: "7"})
	add("policy with another origin", full, receiptCase{Policies: []string{"other-origin"}, Reason: "7"})
	add("one of two policies", full, receiptCase{Policies: []string{"other-key", "log"}})
	add("no policy", full, receiptCase{Policies: []string{}, Reason: "7"})
	wit := w.receipt(4, 11, Full, true)
	add("witnessed, quorum asks for it", wit, receiptCase{Policies: []string{"witnessed"}})
	add("witnessed, by a group", wit, receiptCase{Policies: []string{"one-of"}})
	add("witnessed, witness not in the policy", wit, receiptCase{})
	add("witnessed, quorum none", wit, receiptCase{Policies: []string{"optional"}})
	add("not witnessed, quorum asks for it", full, receiptCase{Policies: []string{"witnessed"}, Reason: "7"})
	add("not witnessed, quorum none", full, receiptCase{Policies: []string{"optional"}})
	p, err := Parse(full)
	if err != nil {
		t.Fatal(err)
	}
	const at = 1760000100
	proof := string(p.Proof)
	_, checkpoint, _ := strings.Cut(proof, "\n\n")
	later := strings.Replace(checkpoint, "\n11\n", "\n12\n", 1)
	logLine, witnessLine := pqLog.cosignature(t, checkpoint, at), pqWitness.cosignature(t, checkpoint, at)
	pq := w.cosigned(full, logLine, witnessLine)
	add("post-quantum", pq, receiptCase{Policies: []string{"pq"}})
	add("post-quantum, witnessed", pq, receiptCase{Policies: []string{"pq-witnessed"}})
	add("post-quantum, by the Ed25519 policy", pq, receiptCase{})
	add("post-quantum, not witnessed, quorum asks for it", w.cosigned(full, logLine), receiptCase{Policies: []string{"pq-witnessed"}, Reason: "7"})
	add("post-quantum, log has not cosigned", w.cosigned(full, witnessLine), receiptCase{Policies: []string{"pq-witnessed"}, Reason: "7"})
	add("post-quantum, neither has cosigned, or the other policy", full, receiptCase{Policies: []string{"pq", "log"}})
	add("post-quantum, policy with another key", pq, receiptCase{Policies: []string{"pq-other"}, Reason: "7"})
	add("post-quantum, cosignature of another size", w.cosigned(full, pqLog.cosignature(t, later, at)), receiptCase{Policies: []string{"pq"}, Reason: "7"})
	add("post-quantum, time of the cosignature changed", w.cosigned(full, editSignature(t, logLine, func(b []byte) []byte { b[11]++; return b })), receiptCase{Policies: []string{"pq"}, Reason: "7"})
	add("post-quantum, time of the cosignature above 2^63-1", w.cosigned(full, pqLog.cosignature(t, checkpoint, 1<<63)), receiptCase{Policies: []string{"pq"}, Reason: "7"})
	add("post-quantum, cosignature cut short", w.cosigned(full, editSignature(t, logLine, func(b []byte) []byte { return b[:len(b)-1] })), receiptCase{Policies: []string{"pq"}, Reason: "7"})

	edit := func(name, reason, old, new string) {
		t.Helper()
		if bytes.Count(full, []byte(old)) == 0 {
			t.Fatalf("case %q: %q is not in the receipt", name, old)
		}
		add(name, bytes.Replace(full, []byte(old), []byte(new), 1), receiptCase{Reason: reason})
	}
	short := *w.receipts[4]
	short.Payload = &PayloadOpening{Salt: short.Payload.Salt, Content: []byte{}}
	add("full, with an empty payload that is not the one recorded", w.rebuild(short, 4, 11), receiptCase{Reason: "4"})
	add("shared without its payload, header only", w.sharedDetached(4, 11), receiptCase{HeaderOnly: true})
	add("shared with its payload from elsewhere", w.sharedDetached(4, 11), receiptCase{Payload: "p4"})
	add("detached, header only, with another payload", w.receipt(4, 11, Detached, false), receiptCase{HeaderOnly: true, Payload: "p5", Reason: "4"})
	zero := *w.receipts[4]
	zero.Link = &LinkOpening{Salt: zero.Link.Salt, StreamID: zero.Link.StreamID, Seq: zero.Link.Seq}
	add("prev zero though seq is not", w.rebuild(zero, 4, 11), receiptCase{Reason: "5"})
	bad := bytes.Replace(wit, []byte("— witness.example "), []byte("— witness.example AAAA"), 1)
	add("witness line with another key hash", bad, receiptCase{})
	add("witness line with another key hash, quorum asks for it", bad, receiptCase{Policies: []string{"witnessed"}, Reason: "7"})
	edit("white space between members", "", `","tag"`, "\",\r\n\t \"tag\"")
	edit("escape in a member name", "", `"tag"`, "\"\\u0074ag\"")
	edit("another escape of the same header", "", `{\"origin\"`, "{\\u0022origin\\u0022")
	edit("mediaType of another version", "1", "receipt.v1", "receipt.v2")
	edit("form full renamed detached", "1", `"form":"full"`, `"form":"detached"`)
	edit("form full renamed shared", "1", `"form":"full"`, `"form":"shared"`)
	edit("unknown form", "1", `"form":"full"`, `"form":"Full"`)
	edit("unknown member", "1", `"time"`, `"extra":1,"time"`)
	edit("member in another case", "1", `"time"`, `"Time"`)
	edit("null for an object", "1", `"mediaType"`, `"link":null,"mediaType"`)
	edit("time changed", "8", `"time":17600000`, `"time":17600001`)
	edit("time as a string", "1", `"time":1760000004000`, `"time":"1760000004000"`)
	edit("time with an exponent", "1", `"time":1760000004000`, `"time":1760000004e3`)
	edit("seq changed", "8", `"seq":1`, `"seq":2`)
	edit("seq 0 with prev", "5", `"seq":1`, `"seq":0`)
	edit("header changed", "8", `attestation`, `attestatiom`)
	edit("header of another origin", "8", `{\"origin\":\"ledger.example/demo`, `{\"origin\":\"ledger.example/demi`)
	edit("index changed", "8", `index 4\n`, `index 5\n`)
	edit("index with leading zero", "1", `index 4\n`, `index 04\n`)
	edit("index with sign", "1", `index 4\n`, `index +4\n`)
	edit("index beyond the tree", "8", `index 4\n`, `index 11\n`)
	edit("extra line in the proof", "1", `index 4\n`, `extra AAAA\nindex 4\n`)
	edit("tree size changed", "7", `ledger.example/demo\n11\n`, `ledger.example/demo\n12\n`)
	edit("tree size with leading zero", "1", `ledger.example/demo\n11\n`, `ledger.example/demo\n011\n`)
	edit("extension line", "1", `\n\n— `, `\nextension\n\n— `)
	edit("signature of an unknown key beside it", "", `\n\n— `, `\n\n— other.example AAAAAAAAAA==\n— `)
	edit("signature of an unknown key, sloppy base64", "1", `\n\n— `, `\n\n— other.example AAAAAAAAAB==\n— `)
	edit("no end of the last line", "1", `=\n"}`, `="}`)
	edit("data after the object", "1", "}\n", "}\n{}")
	lines := strings.Split(proof, "\n")
	edit("hash of the proof missing", "8", lines[2]+`\n`, "")
	edit("hash of the proof doubled", "8", lines[2]+`\n`, lines[2]+`\n`+lines[2]+`\n`)
	edit("hash of the proof too short", "1", lines[2], "AAAA")
	edit("signature line doubled", "", lines[len(lines)-2]+`\n`, lines[len(lines)-2]+`\n`+lines[len(lines)-2]+`\n`)
	edit("signature line by the log's key that does not verify", "7", lines[len(lines)-2][:60], lines[len(lines)-2][:59]+map[bool]string{true: "B", false: "A"}[lines[len(lines)-2][59] == 'A'])

	for _, c := range v.Cases {
		s, err := v.verify(t, c)
		if (err == nil) != (c.Verdict == "accept") {
			t.Fatalf("%s: verdict should be %s, got %v", c.Name, c.Verdict, err)
		}
		if err == nil {
			c.Statement = statementMap(s)
		}
	}
	golden(t, "receipts.json", v)
}

type strictCase struct {
	Name    string `json:"name"`
	Target  string `json:"target"`
	Input   string `json:"inputBase64"`
	Verdict string `json:"verdict"`
}

func TestStrictJSONVectors(t *testing.T) {
	w := newWorld(t)
	header, rec := string(w.receipts[1].Header.Content), string(bytes.TrimSpace(w.receipt(1, 3, Full, false)))
	var cases []strictCase
	add := func(target, name, in, verdict string) {
		cases = append(cases, strictCase{name, target, base64.StdEncoding.EncodeToString([]byte(in)), verdict})
	}
	edit := func(target, name, old, new, verdict string) {
		t.Helper()
		in := map[string]string{"header": header, "receipt": rec}[target]
		if !strings.Contains(in, old) {
			t.Fatalf("%s: %q is not in the %s", name, old, target)
		}
		add(target, name, strings.Replace(in, old, new, 1), verdict)
	}
	for _, target := range []string{"header", "receipt"} {
		in := map[string]string{"header": header, "receipt": rec}[target]
		first := map[string]string{"header": "origin", "receipt": "mediaType"}[target]
		add(target, "as it is", in, "accept")
		add(target, "white space around", " \t\r\n"+in+"\n\n", "accept")
		add(target, "no-break space around", "\u00a0"+in, "refuse")
		add(target, "form feed around", in+"\f", "refuse")
		add(target, "byte order mark", "\ufeff"+in, "refuse")
		add(target, "empty", "", "refuse")
		add(target, "null", "null", "refuse")
		add(target, "array", "["+in+"]", "refuse")
		add(target, "string", `"x"`, "refuse")
		add(target, "empty object", "{}", "refuse")
		add(target, "cut off", in[:len(in)-1], "refuse")
		add(target, "two documents", in+in, "refuse")
		add(target, "data after", in+" x", "refuse")
		add(target, "NUL after", in+"\x00", "refuse")
		add(target, "trailing comma", in[:len(in)-1]+",}", "refuse")
		add(target, "comment", "/* c */"+in, "refuse")
		edit(target, "single quotes", `"`+first+`"`, `'`+first+`'`, "refuse")
		edit(target, "unquoted name", `"`+first+`"`, first, "refuse")
		edit(target, "duplicate member", `{"`+first+`"`, `{"`+first+`":"x","`+first+`"`, "refuse")
		edit(target, "duplicate member, one escaped", `{"`+first+`"`, `{"\u00`+hex.EncodeToString([]byte(first[:1]))+first[1:]+`":"x","`+first+`"`, "refuse")
		edit(target, "name escaped", `"`+first+`"`, `"\u00`+hex.EncodeToString([]byte(first[:1]))+first[1:]+`"`, "accept")
		edit(target, "unknown member", `{"`+first+`"`, `{"unknown":1,"`+first+`"`, "refuse")
		edit(target, "unknown member, null", `{"`+first+`"`, `{"unknown":null,"`+first+`"`, "refuse")
		edit(target, "__proto__", `{"`+first+`"`, `{"__proto__":{},"`+first+`"`, "refuse")
		edit(target, "member in upper case", `"`+first+`"`, `"`+strings.ToUpper(first)+`"`, "refuse")
		edit(target, "name with a space", `"`+first+`"`, `"`+first+` "`, "refuse")
		edit(target, "deep nesting", `{"`+first+`"`, `{"unknown":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`,"`+first+`"`, "refuse")
		edit(target, "very deep nesting", `{"`+first+`"`, `{"unknown":`+strings.Repeat("[", 2000)+`,"`+first+`"`, "refuse")
	}
	for _, x := range []struct{ name, old, new, verdict string }{
		{"invalid UTF-8", `"kind":"attestation"`, "\"kind\":\"attestation\",\"predicateTypE\":\"\xff\"", "refuse"},
		{"invalid UTF-8 in a value", "pkg/", "pkg\xc3\x28/", "refuse"},
		{"overlong UTF-8", "pkg/", "pkg\xc0\xaf", "refuse"},
		{"surrogate in UTF-8", "pkg/", "pkg\xed\xa0\x80", "refuse"},
		{"lone high surrogate", "pkg/", `pkg\ud800/`, "refuse"},
		{"lone low surrogate", "pkg/", `pkg\udc00/`, "refuse"},
		{"surrogates the wrong way round", "pkg/", `pkg\udc00\ud800/`, "refuse"},
		{"surrogate pair", "pkg/", `pkg\ud83d\udcdc/`, "accept"},
		{"unescaped control character", "pkg/", "pkg\x01/", "refuse"},
		{"unescaped line break", "pkg/", "pkg\n/", "refuse"},
		{"escaped control character", "pkg/", `pkg\u0001/`, "accept"},
		{"escaped NUL", "pkg/", `pkg\u0000/`, "accept"},
		{"unknown escape", "pkg/", `pkg\x41/`, "refuse"},
		{"escaped slash", "pkg/", `pkg\/`, "accept"},
		{"short escape", "pkg/", `pkg\u12"`, "refuse"},
		{"missing member", `"submitter":"token:globex",`, ``, "refuse"},
		{"number for a string", `"kind":"attestation"`, `"kind":1`, "refuse"},
		{"null for a string", `"kind":"attestation"`, `"kind":null`, "refuse"},
		{"null for an optional string", `"predicateType":"https://slsa.dev/provenance/v1"`, `"predicateType":null`, "refuse"},
		{"empty optional string", `"predicateType":"https://slsa.dev/provenance/v1"`, `"predicateType":""`, "refuse"},
		{"optional member missing", `"predicateType":"https://slsa.dev/provenance/v1",`, ``, "accept"},
		{"kind not known yet", `"kind":"attestation"`, `"kind":"brand-new"`, "accept"},
		{"kind in upper case", `"kind":"attestation"`, `"kind":"Attestation"`, "refuse"},
		{"empty kind", `"kind":"attestation"`, `"kind":""`, "refuse"},
		{"tenant with a dash at the end", `"tenant":"globex"`, `"tenant":"globex-"`, "refuse"},
		{"tenant with a line break", `"tenant":"globex"`, `"tenant":"globex\n"`, "refuse"},
		{"empty origin", `"origin":"ledger.example/demo"`, `"origin":""`, "refuse"},
		{"verification result not known", `"result":"unverified"`, `"result":"good"`, "refuse"},
		{"verified, with all that can be said", `{"result":"unverified"}`, `{"result":"verified","format":"sigstore","trustedRoot":"sha256:` + strings.Repeat("0", 64) + `","reason":"r"}`, "accept"},
		{"verification failed", `{"result":"unverified"}`, `{"result":"failed","reason":"signature"}`, "accept"},
		{"verification with an empty reason", `{"result":"unverified"}`, `{"result":"unverified","reason":""}`, "refuse"},
		{"trusted root without algorithm", `{"result":"unverified"}`, `{"result":"verified","trustedRoot":"` + strings.Repeat("0", 64) + `"}`, "refuse"},
		{"admission", `"verification"`, `"admission":{"result":"admitted","rule":"r"},"verification"`, "accept"},
		{"admission, recorded", `"verification"`, `"admission":{"result":"recorded","rule":"r","reason":"no rule"},"verification"`, "accept"},
		{"admission result not known", `"verification"`, `"admission":{"result":"refused"},"verification"`, "refuse"},
		{"admission without result", `"verification"`, `"admission":{"rule":"r"},"verification"`, "refuse"},
		{"admission with another member", `"verification"`, `"admission":{"result":"admitted","by":"x"},"verification"`, "refuse"},
		{"admission with an empty rule", `"verification"`, `"admission":{"result":"admitted","rule":""},"verification"`, "refuse"},
		{"materials", `"verification"`, `"materials":[{"digest":{"sha256":"00"}}],"verification"`, "accept"},
		{"materials empty", `"verification"`, `"materials":[],"verification"`, "refuse"},
		{"material without digest", `"verification"`, `"materials":[{"name":"n"}],"verification"`, "refuse"},
		{"controls", `"verification"`, `"controls":["AC-2","SI-7"],"verification"`, "accept"},
		{"controls empty", `"verification"`, `"controls":[],"verification"`, "refuse"},
		{"control empty", `"verification"`, `"controls":[""],"verification"`, "refuse"},
		{"control a number", `"verification"`, `"controls":[1],"verification"`, "refuse"},
		{"controls a string", `"verification"`, `"controls":"AC-2","verification"`, "refuse"},
		{"attributes", `"verification"`, `"attributes":{"incident":"INC-1","any name":"v"},"verification"`, "accept"},
		{"attributes empty", `"verification"`, `"attributes":{},"verification"`, "refuse"},
		{"attribute empty", `"verification"`, `"attributes":{"a":""},"verification"`, "refuse"},
		{"attribute without a name", `"verification"`, `"attributes":{"":"v"},"verification"`, "refuse"},
		{"attribute a number", `"verification"`, `"attributes":{"a":1},"verification"`, "refuse"},
		{"external", `"verification"`, `"external":{"digest":{"sha256":"00"},"size":1,"location":"https://x.example/","mediaType":"text/plain"},"verification"`, "accept"},
		{"external, digest and size alone", `"verification"`, `"external":{"digest":{"sha256":"00"},"size":1},"verification"`, "accept"},
		{"external without size", `"verification"`, `"external":{"digest":{"sha256":"00"}},"verification"`, "refuse"},
		{"external without digest", `"verification"`, `"external":{"size":1},"verification"`, "refuse"},
		{"external with another member", `"verification"`, `"external":{"digest":{"sha256":"00"},"size":1,"uri":"x"},"verification"`, "refuse"},
		{"verification without result", `{"result":"unverified"}`, `{}`, "refuse"},
		{"verification with another member", `{"result":"unverified"`, `{"result":"unverified","by":"x"`, "refuse"},
		{"admission policy", `"verification"`, `"admissionPolicy":"sha256:` + strings.Repeat("0", 64) + `","verification"`, "accept"},
		{"admission policy in upper case", `"verification"`, `"admissionPolicy":"sha256:` + strings.Repeat("A", 64) + `","verification"`, "refuse"},
		{"idempotency key", `"verification"`, `"idempotencyKey":"k","verification"`, "accept"},
		{"empty idempotency key", `"verification"`, `"idempotencyKey":"","verification"`, "refuse"},
		{"signers empty", `"signers":[{"identity":"ci@acme.example","issuer":"https://issuer.example"},{"keyId":"k1"}]`, `"signers":[]`, "refuse"},
		{"signer empty", `{"keyId":"k1"}`, `{}`, "refuse"},
		{"signer a string", `{"keyId":"k1"}`, `"k1"`, "refuse"},
		{"signer with unknown member", `{"keyId":"k1"}`, `{"keyID":"k1"}`, "refuse"},
		{"digest value empty", `{"gitCommit":"abc",`, `{"gitCommit":"",`, "refuse"},
		{"digest duplicate", `{"gitCommit":"abc",`, `{"gitCommit":"abc","gitCommit":"abc",`, "refuse"},
		{"digest a number", `{"gitCommit":"abc",`, `{"gitCommit":1,`, "refuse"},
		{"digest algorithm __proto__", `{"gitCommit":"abc",`, `{"__proto__":"abc",`, "accept"},
		{"subject without digest", `"digest":{"gitCommit":"abc",`, `"digests":{"gitCommit":"abc",`, "refuse"},
		{"size 0", `"size":46`, `"size":0`, "accept"},
		{"empty media type", `"mediaType":"application/json"`, `"mediaType":""`, "refuse"},
		{"empty submitter", `"submitter":"token:globex"`, `"submitter":""`, "refuse"},
		{"empty digest algorithm", `{"gitCommit":"abc",`, `{"":"abc",`, "refuse"},
		{"no digests", `"digest":{`, `"digest":{},"digesT":{`, "refuse"},
		{"empty subject name", `"name":"`, `"name":"","namE":"`, "refuse"},
		{"size a string", `"size":46`, `"size":"46"`, "refuse"},
		{"size with fraction", `"size":46`, `"size":46.0`, "refuse"},
		{"size with exponent", `"size":46`, `"size":46e0`, "refuse"},
		{"size with leading zero", `"size":46`, `"size":046`, "refuse"},
		{"size with plus", `"size":46`, `"size":+46`, "refuse"},
		{"size negative", `"size":46`, `"size":-46`, "refuse"},
		{"size minus zero", `"size":46`, `"size":-0`, "refuse"},
		{"size true", `"size":46`, `"size":true`, "refuse"},
		{"size NaN", `"size":46`, `"size":NaN`, "refuse"},
		{"size 2^53-1", `"size":46`, `"size":9007199254740991`, "accept"},
		{"size 2^53", `"size":46`, `"size":9007199254740992`, "refuse"},
		{"size 2^64", `"size":46`, `"size":18446744073709551616`, "refuse"},
		{"commitment not padded", `=","size"`, `","size"`, "refuse"},
		{"commitment too short", `"commitment":"`, `"commitment":"AAAA","commitmenT":"`, "refuse"},
	} {
		edit("header", x.name, x.old, x.new, x.verdict)
	}
	h := w.receipts[1]
	c := base64.StdEncoding.EncodeToString(commitmentOf(t, h))
	for _, x := range []struct{ name, value string }{
		{"commitment with stray bits", c[:42] + strayBits(c[42]) + "="},
		{"commitment with a line break", c[:20] + `\n` + c[20:]},
		{"commitment with a space", c[:20] + ` ` + c[20:]},
		{"commitment in the URL alphabet", "-_" + c[2:]},
		{"commitment of 31 bytes", base64.StdEncoding.EncodeToString(make([]byte, 31))},
		{"commitment of 33 bytes", base64.StdEncoding.EncodeToString(make([]byte, 33))},
		{"commitment empty", ""},
		{"commitment in hexadecimal", h.LinkHash.String()},
	} {
		edit("header", x.name, c, x.value, "refuse")
	}
	tag := h.Tag.Base64()
	for _, x := range []struct{ name, old, new, verdict string }{
		{"tag with stray bits", tag, tag[:42] + strayBits(tag[42]) + "=", "refuse"},
		{"tag not padded", tag, tag[:43], "refuse"},
		{"tag with a line break", tag, tag[:8] + `\r\n` + tag[8:], "refuse"},
		{"tag of 31 bytes", tag, base64.StdEncoding.EncodeToString(make([]byte, 31)), "refuse"},
		{"time with fraction", `"time":1760000001000`, `"time":1760000001000.0`, "refuse"},
		{"time with exponent", `"time":1760000001000`, `"time":1760000001E3`, "refuse"},
		{"time 2^53", `"time":1760000001000`, `"time":9007199254740992`, "refuse"},
		{"time negative", `"time":1760000001000`, `"time":-1`, "refuse"},
		{"link an array", `"link":{`, `"link":[],"lin":{`, "refuse"},
		{"link with unknown member", `"link":{`, `"link":{"index":0,`, "refuse"},
		{"linkHash beside link", `"link":{`, `"linkHash":"` + tag + `","link":{`, "refuse"},
		{"headerHash beside header", `"link":{`, `"headerHash":"` + tag + `","link":{`, "refuse"},
		{"payload null", `"payload":{`, `"payload":null,"payloaD":{`, "refuse"},
		{"payload content null", `"payload":{`, `"payload":{"content":null,`, "refuse"},
		{"header content an object", `"content":"{`, `"content":{},"contenT":"{`, "refuse"},
		{"lone surrogate in the header content", `"content":"{`, `"content":"\ud800{`, "refuse"},
		{"header content with any text", `"content":"{`, `"content":"not looked into {`, "accept"},
		{"proof missing", `"proof":`, `"prooF":`, "refuse"},
		{"mediaType of another version", `receipt.v1`, `receipt.v2`, "refuse"},
	} {
		edit("receipt", x.name, x.old, x.new, x.verdict)
	}
	for _, c := range cases {
		in, _ := base64.StdEncoding.DecodeString(c.Input)
		var err error
		if c.Target == "header" {
			_, err = ParseHeader(in)
		} else {
			_, err = Parse(in)
		}
		if (err == nil) != (c.Verdict == "accept") {
			t.Errorf("%s, %s: should %s, got %v", c.Target, c.Name, c.Verdict, err)
		}
	}
	golden(t, "strict-json.json", cases)
}

func commitmentOf(t *testing.T, r *Receipt) []byte {
	h, err := ParseHeader(r.Header.Content)
	if err != nil {
		t.Fatal(err)
	}
	return h.Payload.Commitment[:]
}

// strayBits returns the character with the lowest of its unused bits set, when it is the last of a group with two unused bits.
func strayBits(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	return string(alphabet[strings.IndexByte(alphabet, c)|1])
}

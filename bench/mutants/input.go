package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// A maker makes one input. Faults are so rare that most inputs have one or two,
// and some have none.
type maker struct {
	*rand.Rand
	w *world
}

// mutant returns the i-th input of a seed.
func (w *world) mutant(seed uint64, i int) mutant {
	m := &maker{rand.New(rand.NewPCG(seed, uint64(i))), w}
	in := m.mutant(i)
	in.number(i)
	return in
}

// one returns true once in n calls on average.
func (m *maker) one(n int) bool { return m.IntN(n) == 0 }

func pick[T any](m *maker, all ...T) T { return all[m.IntN(len(all))] }

func (m *maker) hash() (h entry.Hash) {
	for i := range h {
		h[i] = byte(m.Uint32())
	}
	return h
}

// A recorded entry has what the log records, and the parts of its receipt.
type recorded struct {
	tenant   int
	seq      uint64
	prev     entry.Hash
	time     uint64
	tag      entry.Hash
	salts    [3]entry.Salt
	header   map[string]any
	content  []byte // of the header
	payload  []byte
	external []byte // nil: the payload is the evidence

	size, index uint64
	log         *party
	pq          bool
	form        receipt.Form
}

func (m *maker) make() *input {
	e := m.entry()
	in := &input{Receipt: m.receipt(e)}
	if m.one(8) {
		in.Receipt = m.bytes(in.Receipt)
	}
	m.policies(in, e)
	m.inputs(in, e)
	if m.one(2) {
		m.expect(in, e)
	}
	return in
}

func (m *maker) entry() *recorded {
	e := &recorded{tenant: m.IntN(2), time: 1_760_000_000_000 + m.Uint64N(1<<30), log: m.w.logs[0], pq: m.one(8),
		form: pick(m, receipt.Full, receipt.Full, receipt.Detached, receipt.Shared, receipt.PayloadErased, receipt.HeaderErased)}
	if m.one(20) {
		e.log = m.w.logs[2]
	}
	e.size = 1 + m.Uint64N(20)
	e.index = m.Uint64N(e.size)
	e.seq = m.Uint64N(e.index + 1)
	if e.seq > 0 {
		e.prev = m.hash()
	}
	if m.one(25) {
		e.seq = pick(m, e.index+1, e.size, 1_000_000, 1<<53-1)
		e.prev = m.hash()
	}
	if m.one(40) {
		e.prev = pick(m, entry.Hash{}, m.hash())
	}
	if m.one(60) {
		e.time = pick(m, uint64(0), 1<<53-1)
	}
	e.tag = m.w.streams[e.tenant].Tag(e.seq)
	if m.one(25) {
		e.tag = pick(m, m.hash(), m.w.streams[1-e.tenant].Tag(e.seq), m.w.streams[e.tenant].Tag(e.seq+1))
	}
	for i := range e.salts {
		e.salts[i] = entry.Salt(m.hash())
	}
	e.payload = append([]byte{}, pick(m, "", "hello", `{"evidence":1}`, strings.Repeat("x", 300))...)
	if m.one(4) {
		e.external = append([]byte{}, pick(m, "", "kept elsewhere", strings.Repeat("y", 500))...)
	}
	m.header(e)
	return e
}

// header makes the header, with faults before it is hashed.
func (m *maker) header(e *recorded) {
	commitment := entry.Commitment(e.salts[2], e.payload)
	size := len(e.payload)
	if m.one(40) {
		commitment = m.hash()
	}
	if m.one(40) {
		size++
	}
	h := map[string]any{
		"origin": e.log.name, "tenant": m.w.tenants[e.tenant], "kind": pick(m, kindname.Attestation, kindname.Attestation, kindname.Finding, "new-kind"), "mediaType": "application/json", "submitter": "token:ci",
		"verification": map[string]any{"result": pick(m, entry.Verified, entry.Verified, entry.Unverified, entry.Failed)},
		"payload":      map[string]any{"commitment": commitment.Base64(), "size": size},
	}
	if m.one(40) {
		h["origin"] = pick(m, "other.example", "", "log.example ")
	}
	if !m.one(4) {
		h["subjects"] = []any{map[string]any{"name": "app", "digest": map[string]any{"sha256": subjectDigest(), "gitCommit": subjectDigest()[:40]}},
			map[string]any{"digest": map[string]any{pick(m, "SHA512", "dirHash", "h1"): pick(m, "AbC=", strings.ToUpper(subjectDigest()))}}}
	}
	if m.one(2) {
		h["predicateType"] = "https://slsa.dev/provenance/v1"
	}
	if !m.one(3) {
		h["signers"] = []any{map[string]any{"identity": "ci@acme.example", "issuer": "https://issuer.example"}, map[string]any{"keyId": "k1"}}
	}
	if m.one(2) {
		h["controls"] = []any{"AC-2", "SI-7"}
	}
	if m.one(2) {
		h["admission"] = map[string]any{"result": pick(m, entry.Admitted, entry.Admitted, entry.Recorded)}
	}
	if m.one(4) {
		h["attributes"] = map[string]any{"region.1": "eu", "\u202ename": "\u00e4\u2028"}
	}
	if e.external != nil {
		sum := sha256.Sum256(e.external)
		h["external"] = map[string]any{"digest": map[string]any{pick(m, "sha256", "SHA256", "sha512"): pick(m, hex.EncodeToString(sum[:]), strings.ToUpper(hex.EncodeToString(sum[:])))}, "size": len(e.external)}
	}
	if m.one(10) {
		m.document(h, 2)
	}
	e.header, e.content = h, encode(h)
	if m.one(15) {
		e.content = m.text(e.content)
	}
}

func subjectDigest() string { return digest[entry.Hash]("subject").String() }

// encode returns JSON with the fewest possible escapes.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // impossible: maps, slices, strings and numbers only
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// receipt makes the receipt, with faults before and after it is signed.
func (m *maker) receipt(e *recorded) []byte {
	link := entry.LinkHash(e.salts[0], m.w.streams[e.tenant].StreamID(), e.seq, e.prev)
	headerHash := entry.HeaderHash(e.salts[1], e.content)
	origin := e.log.name
	if m.one(30) {
		origin = "other.example"
	}
	leaf := entry.LeafData(e.tag, entry.EntryHash(entry.HashOrigin(origin), link, e.time, headerHash))
	if m.one(50) {
		leaf[0] = 1
	}
	r := map[string]any{"mediaType": receipt.MediaType, "form": string(e.form), "tag": e.tag.Base64(), "time": e.time, "proof": m.proof(e, entry.LeafHash(leaf[:]))}
	if e.form == receipt.Shared {
		r["linkHash"] = link.Base64()
	} else {
		r["link"] = map[string]any{"salt": entry.Hash(e.salts[0]).Base64(), "streamId": m.w.streams[e.tenant].StreamID().Base64(), "seq": e.seq, "prev": e.prev.Base64()}
	}
	if e.form == receipt.HeaderErased {
		r["headerHash"] = headerHash.Base64()
	} else {
		r["header"] = map[string]any{"salt": entry.Hash(e.salts[1]).Base64(), "content": string(e.content)}
	}
	if e.form == receipt.Full || e.form == receipt.Detached || e.form == receipt.Shared {
		p := map[string]any{"salt": entry.Hash(e.salts[2]).Base64()}
		if e.form == receipt.Full || e.form == receipt.Shared && m.one(2) {
			p["content"] = base64.StdEncoding.EncodeToString(e.payload)
		}
		r["payload"] = p
	}
	if m.one(30) {
		r["mediaType"] = pick(m, strings.Replace(receipt.MediaType, "v2", "v1", 1), "", "x")
	}
	if m.one(10) {
		m.document(r, 1+m.IntN(2))
	}
	data := encode(r)
	if m.one(10) {
		data = m.text(data)
	}
	return data
}

// proof makes the tlog-proof of the leaf.
func (m *maker) proof(e *recorded, leaf entry.Hash) string {
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(at))
		for i, x := range at {
			out[i] = stored[x]
		}
		return out, nil
	})
	for i := range e.size {
		h := tlog.Hash(m.hash())
		if i == e.index {
			h = tlog.Hash(leaf)
		}
		hashes, err := tlog.StoredHashesForRecordHash(int64(i), h, read)
		if err != nil {
			panic(err) // impossible: the reader has all hashes
		}
		stored = append(stored, hashes...)
	}
	root, err := tlog.TreeHash(int64(e.size), read)
	if err != nil {
		panic(err)
	}
	path, err := tlog.ProveRecord(int64(e.size), int64(e.index), read)
	if err != nil {
		panic(err)
	}
	p := receipt.Proof{Index: e.index, Checkpoint: []byte(m.checkpoint(e, entry.Hash(root)))}
	for _, h := range path {
		p.Path = append(p.Path, entry.Hash(h))
	}
	switch {
	case m.one(40):
		p.Index = pick(m, e.size, e.index+1, e.index^1, 1<<53-1)
	case m.one(40):
		p.Path = append(p.Path, m.hash())
	case m.one(40) && len(p.Path) > 0:
		p.Path = p.Path[1:]
	case m.one(40) && len(p.Path) > 0:
		p.Path[m.IntN(len(p.Path))] = m.hash()
	case m.one(400):
		for len(p.Path) < 63+m.IntN(2) {
			p.Path = append(p.Path, m.hash())
		}
	}
	text := string(p.AppendText(nil))
	if m.one(20) {
		text = string(m.lines([]byte(text)))
	}
	return text
}

// checkpoint makes the signed checkpoint.
func (m *maker) checkpoint(e *recorded, root entry.Hash) string {
	origin, size := e.log.name, fmt.Sprint(e.size)
	if m.one(40) {
		origin = pick(m, "other.example", "log.example ", "")
	}
	if m.one(60) {
		size = pick(m, "0"+size, "0", "9007199254740991", "9007199254740992", size+" ")
	}
	text := origin + "\n" + size + "\n" + root.Base64() + "\n"
	if m.one(60) {
		text += "extension\n"
	}
	at := uint64(1_760_000_100)
	if m.one(40) {
		at = pick(m, uint64(0), 1<<63-1, 1<<63)
	}
	var lines []string
	families := []bool{false}
	if e.pq {
		families = append(families, true)
	}
	for _, pq := range families {
		if !m.one(30) {
			lines = append(lines, e.log.sign(pq, text, at))
		}
		for _, w := range m.w.witnesses {
			if !m.one(4) {
				lines = append(lines, w.sign(pq, text, at))
			}
		}
	}
	if m.one(30) {
		lines = append(lines, m.w.logs[1].sign(false, text, at))
	}
	if m.one(15) && len(lines) > 0 {
		i := m.IntN(len(lines))
		lines[i] = m.signature(lines[i])
	}
	if m.one(15) && len(lines) > 0 {
		lines = append(lines, pick(m, lines[0], m.signature(lines[0]), "— unknown.example AAAAAAAA\n", "— un known AAAAAAAA\n", "— a\u00a0b AAAAAAAA\n", "— a\u2029 AAAAAAAA\n", "— a+b AAAAAAAA\n", "— x AAAAAA==\n"))
	}
	if m.one(200) {
		for len(lines) < 100+m.IntN(2) {
			lines = append(lines, fmt.Sprintf("— u%d.example AAAAAAAA\n", len(lines)))
		}
	}
	if m.one(500) { // just below and above the largest checkpoint
		room := receipt.MaxCheckpointSize - len(text) - 1 - len(strings.Join(lines, "")) - len("— big \n")
		lines = append(lines, "— big "+strings.Repeat("AAAA", (room+m.IntN(9)-4)/4)+"\n")
	}
	m.Shuffle(len(lines), func(i, j int) {
		if m.one(3) {
			lines[i], lines[j] = lines[j], lines[i]
		}
	})
	return text + "\n" + strings.Join(lines, "")
}

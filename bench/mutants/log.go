package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/bundle"
)

// A logged entry is one of a made log.
type logged struct {
	tenant        int
	kind          string
	predicateType string
	mediaType     string
	payload       []byte
	subject       string // value of its SHA-256; "": none
	attributes    map[string]any
	state         bundle.State
	headerErased  bool

	seq    uint64
	prev   entry.Hash
	time   uint64
	tag    entry.Hash
	salts  [3]entry.Salt
	header []byte
	leaf   [entry.LeafSize]byte
}

// A made log has the entries of two tenants. The bundle is that of the first.
type madeLog struct {
	entries []*logged
	hashes  []entry.Hash // of the leaves
	stored  []tlog.Hash
	note    string // the signed checkpoint
	last    entry.Hash
	count   uint64 // of the first tenant
}

const startTime = 1_760_000_000_000

// log makes a log of the entries, with faults before they are hashed.
func (m *maker) log(entries []*logged) *madeLog {
	l := &madeLog{entries: entries}
	var seqs [2]uint64
	var prevs [2]entry.Hash
	origin := entry.HashOrigin(m.w.logs[0].name)
	for i, e := range entries {
		e.seq, e.prev, e.time = seqs[e.tenant], prevs[e.tenant], startTime+uint64(i)
		e.tag = m.w.streams[e.tenant].Tag(e.seq)
		for j := range e.salts {
			e.salts[j] = entry.Salt(m.hash())
		}
		m.loggedFaults(e)
		e.header = m.headerOf(e)
		link := entry.LinkHash(e.salts[0], m.w.streams[e.tenant].StreamID(), e.seq, e.prev)
		e.leaf = entry.LeafData(e.tag, entry.EntryHash(origin, link, e.time, entry.HeaderHash(e.salts[1], e.header)))
		if m.one(400) {
			e.leaf[0] = 1
		}
		l.hashes = append(l.hashes, entry.LeafHash(e.leaf[:]))
		seqs[e.tenant]++
		prevs[e.tenant] = l.hashes[i]
	}
	l.last, l.count = prevs[0], seqs[0]
	root := l.root()
	if m.one(100) {
		root = m.hash()
	}
	l.note = m.checkpoint(&recorded{log: m.w.logs[0], size: uint64(len(entries))}, root)
	return l
}

// loggedFaults changes what is hashed.
func (m *maker) loggedFaults(e *logged) {
	if m.one(300) {
		e.tag = pick(m, m.hash(), m.w.streams[1-e.tenant].Tag(e.seq), m.w.streams[e.tenant].Tag(e.seq+1), m.w.streams[0].Tag(100))
	}
	if m.one(300) {
		e.time = pick(m, uint64(0), e.time+1, startTime)
	}
	if m.one(300) {
		e.seq += pick(m, uint64(1), 7)
	}
	if m.one(300) {
		e.prev = m.hash()
	}
}

// headerOf makes the header of an entry.
func (m *maker) headerOf(e *logged) []byte {
	commitment := entry.Commitment(e.salts[2], e.payload)
	size := len(e.payload)
	if m.one(300) {
		size++
	}
	h := map[string]any{"origin": m.w.logs[0].name, "tenant": m.w.tenants[e.tenant], "kind": e.kind, "mediaType": e.mediaType, "submitter": "token:ci",
		"verification": map[string]any{"result": entry.Unverified}, "payload": map[string]any{"commitment": commitment.Base64(), "size": size}}
	if e.predicateType != "" {
		h["predicateType"] = e.predicateType
	}
	if e.subject != "" {
		h["subjects"] = []any{map[string]any{"digest": map[string]any{pick(m, "sha256", "SHA256"): pick(m, e.subject, strings.ToUpper(e.subject))}}}
	}
	if len(e.attributes) > 0 {
		h["attributes"] = e.attributes
	}
	if m.one(300) {
		h[pick(m, "origin", "tenant")] = pick(m, "globex", "other.example")
	}
	if m.one(300) {
		m.document(h, 1)
	}
	text := encode(h)
	if m.one(400) {
		text = m.text(text)
	}
	return bytes.ToValidUTF8(text, []byte("?")) // records contain it as a string
}

func (l *madeLog) read(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, x := range at {
		out[i] = l.stored[x]
	}
	return out, nil
}

// root returns the root of the tree.
func (l *madeLog) root() entry.Hash {
	for i, h := range l.hashes {
		more, err := tlog.StoredHashesForRecordHash(int64(i), tlog.Hash(h), tlog.HashReaderFunc(l.read))
		if err != nil {
			panic(err) // impossible: the reader has all hashes
		}
		l.stored = append(l.stored, more...)
	}
	root, err := tlog.TreeHash(int64(len(l.hashes)), tlog.HashReaderFunc(l.read))
	if err != nil {
		panic(err)
	}
	return entry.Hash(root)
}

// receipt makes the receipt of an entry in a form.
func (m *maker) loggedReceipt(l *madeLog, index int, form receipt.Form) []byte {
	e := l.entries[index]
	path, err := tlog.ProveRecord(int64(len(l.hashes)), int64(index), tlog.HashReaderFunc(l.read))
	if err != nil {
		panic(err)
	}
	p := receipt.Proof{Index: uint64(index), Checkpoint: []byte(l.note)}
	for _, h := range path {
		p.Path = append(p.Path, entry.Hash(h))
	}
	switch {
	case m.one(300):
		p.Index ^= 1
	case m.one(300) && len(p.Path) > 0:
		p.Path[m.IntN(len(p.Path))] = m.hash()
	case m.one(300):
		p.Checkpoint = []byte(strings.Replace(l.note, "\n\n", "\n\n— unknown.example AAAAAAAA\n", 1))
	}
	r := map[string]any{"mediaType": receipt.MediaType, "form": string(form), "tag": e.tag.Base64(), "time": e.time, "proof": string(p.AppendText(nil)),
		"link":    map[string]any{"salt": entry.Hash(e.salts[0]).Base64(), "streamId": m.w.streams[e.tenant].StreamID().Base64(), "seq": e.seq, "prev": e.prev.Base64()},
		"header":  map[string]any{"salt": entry.Hash(e.salts[1]).Base64(), "content": string(e.header)},
		"payload": map[string]any{"salt": entry.Hash(e.salts[2]).Base64()}}
	if m.one(150) {
		m.document(r, 1)
	}
	text := encode(r)
	if m.one(200) {
		text = m.text(text)
	}
	return text
}

// record returns the line of an entry in a bundle.
func (m *maker) record(index int, e *logged) []byte {
	r := map[string]any{"index": index, "time": e.time, "linkSalt": entry.Hash(e.salts[0]).Base64(), "payload": string(e.state)}
	if e.headerErased {
		r["headerHash"] = entry.HeaderHash(e.salts[1], e.header).Base64()
	} else {
		r["headerSalt"], r["header"] = entry.Hash(e.salts[1]).Base64(), string(e.header)
	}
	if e.state == bundle.Included {
		r["payloadSalt"] = entry.Hash(e.salts[2]).Base64()
	}
	if m.one(200) {
		m.document(r, 1)
	}
	text := encode(r)
	if m.one(300) {
		text = m.text(text)
	}
	return append(text, '\n')
}

// A selection is what a made bundle is about.
type selection struct {
	digest string  // of the artifact; "": none is selected
	since  *uint64 // nil: none
	// incident is one of triage, mostly without the others. "": none.
	incident string
}

// bundle makes the evidence bundle of the first tenant.
func (m *maker) bundle(l *madeLog, s selection) []byte {
	all := map[string][]byte{bundle.PolicyName: []byte("log x\n"), bundle.IndexName: []byte("<!doctype html>\n"), bundle.CheckpointName: []byte(l.note)}
	if m.one(3) {
		all[bundle.AssessmentName("results.json")] = []byte("{}\n")
	}
	m.tiles(l, all)
	m.entries(l, all)
	if m.one(40) {
		m.changeMembers(all)
	}
	return m.archive(m.manifest(l, s, all), all)
}

// tiles adds the tiles of the tree.
func (m *maker) tiles(l *madeLog, all map[string][]byte) {
	size := uint64(len(l.hashes))
	bundle.Tiles(size, func(t bundle.Tile) bool {
		var content []byte
		for i := range t.Width {
			at := t.Index*256 + uint64(i)
			if t.Level < 0 {
				content = append(append(content, 0, entry.LeafSize), l.entries[at].leaf[:]...)
				continue
			}
			width := uint64(1) << (8 * t.Level)
			h := rootOf(l.hashes[at*width : min((at+1)*width, size)])
			content = append(content, h[:]...)
		}
		if m.one(300) {
			content = m.sameSize(content)
		}
		all[t.Name()] = content
		return true
	})
}

// sameSize changes a byte.
func (m *maker) sameSize(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) > 0 {
		b[m.IntN(len(b))] ^= 1 << m.IntN(8)
	}
	return b
}

// entries adds the records, payloads and receipts.
func (m *maker) entries(l *madeLog, all map[string][]byte) {
	var lines [][]byte
	first := -1
	for i, e := range l.entries {
		if e.tenant != 0 {
			continue
		}
		if first < 0 {
			first = i
		}
		lines = append(lines, m.record(i, e))
		if e.state != bundle.Included {
			continue
		}
		payload := e.payload
		if m.one(300) {
			payload = m.bytes(payload)
		}
		all[bundle.PayloadName(uint64(i), e.mediaType)] = payload
		all[bundle.ReceiptName(uint64(i))] = m.loggedReceipt(l, i, pickForm(m))
	}
	if m.one(100) && len(lines) > 1 {
		i := m.IntN(len(lines))
		switch m.IntN(3) {
		case 0:
			lines = slices.Delete(lines, i, i+1)
		case 1:
			lines = slices.Insert(lines, i, lines[i])
		case 2:
			j := m.IntN(len(lines))
			lines[i], lines[j] = lines[j], lines[i]
		}
	}
	if first < 0 {
		return
	}
	text := bytes.Join(lines, nil)
	if m.one(200) {
		text = pick(m, bytes.TrimSuffix(text, []byte("\n")), append(text, '\n'), nil, bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")))
	}
	all[bundle.EntriesName(uint64(first))] = text
}

func pickForm(m *maker) receipt.Form {
	if m.one(200) {
		return pick(m, receipt.Full, receipt.Shared, receipt.PayloadErased)
	}
	return receipt.Detached
}

// changeMembers removes, renames or adds a member.
func (m *maker) changeMembers(all map[string][]byte) {
	names := slices.Sorted(maps.Keys(all))
	name := names[m.IntN(len(names))]
	switch m.IntN(4) {
	case 0:
		delete(all, name)
	case 1:
		all[pick(m, "log/tile/0/001", "evidence/0000000000000000.payload", "evidence/0000000000000099.receipt.json", "assessment/a/b", "assessment/x", "entries/0000000000000001.jsonl", "other", "zzz", "log/tile/x", "manifest.json")] = []byte("{}")
	case 2:
		all[pick(m, "log/policy", "log/tile/0/000", "index.html", "evidence/0000000000000001.payload.json")] = all[name]
		delete(all, name)
	case 3:
		all[name] = m.bytes(all[name])
	}
}

// manifest makes the manifest.
func (m *maker) manifest(l *madeLog, s selection, all map[string][]byte) []byte {
	time := uint64(0)
	for _, e := range l.entries {
		if e.tenant == 0 {
			time = e.time
		}
	}
	selected := map[string]any{}
	d := map[string]any{"mediaType": bundle.ManifestMediaType, "origin": m.w.logs[0].name, "tenant": m.w.tenants[0], "size": len(l.hashes), "root": l.root2().Base64(), "time": time,
		"stream": map[string]any{"id": m.w.streams[0].StreamID().Base64(), "entries": l.count, "last": l.last.Base64()}, "selection": selected}
	if s.digest != "" {
		selected["subjects"] = []any{"sha256:" + s.digest}
		artifact := map[string]any{"digest": map[string]any{"sha256": s.digest}}
		if m.one(4) {
			artifact = map[string]any{"name": "app", "digest": map[string]any{"sha512": s.digest + s.digest}, "parts": []any{map[string]any{"digest": map[string]any{"SHA256": strings.ToUpper(s.digest)}}}}
		}
		d["artifacts"] = []any{artifact}
	} else if s.incident == "" {
		selected["release"] = "v1"
	}
	if s.incident != "" {
		selected["incident"] = s.incident
	}
	if s.since != nil {
		selected["since"], d["since"] = *s.since, *s.since
	}
	var members []any
	for _, name := range slices.Sorted(maps.Keys(all)) {
		sum := sha256.Sum256(all[name])
		one := map[string]any{"name": name, "role": role(name), "size": len(all[name]), "sha256": entry.Hash(sum).String()}
		if m.one(600) {
			m.document(one, 1)
		}
		members = append(members, one)
	}
	if m.one(200) {
		members = members[1:]
	}
	d["members"] = members
	if m.one(30) {
		m.document(d, 1)
	}
	text := encode(d)
	if m.one(60) {
		text = m.text(text)
	}
	return text
}

// root2 returns the root once its hashes are stored.
func (l *madeLog) root2() entry.Hash { return rootOf(l.hashes) }

// role returns the role of a member.
func role(name string) string {
	for _, r := range [][2]string{{bundle.CheckpointName, "checkpoint"}, {bundle.PolicyName, "policy"}, {"log/tile/", "tile"}, {"entries/", "entries"}, {"index.html", "report"}, {"assessment/", "report"}} {
		if strings.HasPrefix(name, r[0]) {
			return r[1]
		}
	}
	if strings.HasSuffix(name, ".receipt.json") {
		return "receipt"
	}
	return "payload"
}

// archive writes the archive.
func (m *maker) archive(manifest []byte, all map[string][]byte) []byte {
	var out bytes.Buffer
	w := bundle.NewWriter(&out)
	add := func(name string, content []byte) {
		if err := w.Next(name, int64(len(content))); err != nil {
			return // a name that cannot follow: the manifest lists it
		}
		if _, err := w.Write(content); err != nil {
			panic(err) // impossible: the content has the size
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		add(name, all[name])
	}
	add(bundle.ManifestName, manifest)
	if err := w.Close(); err != nil {
		panic(err)
	}
	b := out.Bytes()
	switch {
	case m.one(40):
		return m.bytes(b)
	case m.one(40): // within a header
		i := m.IntN(len(b)/512) * 512
		b[i+pick(m, 0, 99, 100, 107, 124, 135, 136, 148, 154, 155, 156, 157, 257, 263, 265, 329, 345, 511)] = pick(m, byte(0), '0', '7', '8', ' ', 'a', 'A', '/', 0xff)
	case m.one(60):
		return b[:m.IntN(len(b)/512+1)*512]
	case m.one(60):
		return append(b, make([]byte, pick(m, 1, 512, 1024, 9216))...)
	}
	return b
}

// rootOf returns the root of a tree.
func rootOf(hashes []entry.Hash) entry.Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	k := 1
	for 2*k < len(hashes) {
		k *= 2
	}
	left, right := rootOf(hashes[:k]), rootOf(hashes[k:])
	return entry.NodeHash(&left, &right)
}

// evidence is an input of the kind evidence-bundle.
type evidence struct {
	ID        int             `json:"id"`
	Kind      string          `json:"kind"`
	Bundle    []byte          `json:"bundle"`
	Policies  [][]byte        `json:"policies"`
	StreamKey *[]byte         `json:"streamKey,omitempty"`
	Expect    *evidenceExpect `json:"expect,omitempty"`
}

type evidenceExpect struct {
	Identity *string `json:"identity,omitempty"`
	Tenant   *string `json:"tenant,omitempty"`
}

// evidence makes an input of the kind evidence-bundle.
func (m *maker) evidence() *evidence {
	s := selection{digest: subjectDigest()}
	if m.one(4) {
		s.digest = ""
	}
	if m.one(3) {
		s.since = new(startTime + m.Uint64N(8))
	}
	if m.one(5) {
		s.incident = incidentOne
		if !m.one(8) {
			s.digest, s.since = "", nil
		}
	}
	l := m.log(m.logEntries(s))
	in := &evidence{Kind: kindEvidence, Bundle: m.bundle(l, s)}
	in.Policies = m.somePolicies(m.w.logs[0], false)
	in.StreamKey = m.streamKeyFile(0)
	switch {
	case m.one(6):
		in.Expect = &evidenceExpect{Tenant: new(m.w.tenants[0]), Identity: new(identityOf(in.Bundle))}
	case m.one(30):
		in.Expect = &evidenceExpect{Tenant: new(pick(m, m.w.tenants[1], "", "ACME"))}
	case m.one(30):
		in.Expect = &evidenceExpect{Identity: new(pick(m, "sha256:"+subjectDigest(), "sha256:"+strings.ToUpper(subjectDigest()), "", subjectDigest()))}
	}
	return in
}

// identityOf returns the identity of a bundle, or that of no manifest.
func identityOf(file []byte) string {
	b, err := bundle.Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return bundle.Identity(nil)
	}
	return b.Identity
}

const incidentOne = "T/0123456789ab-1"

// logEntries makes entries of both tenants.
func (m *maker) logEntries(s selection) []*logged {
	n := 1 + m.IntN(7)
	if m.one(60) {
		n = 250 + m.IntN(20) // around a full tile
	}
	var all []*logged
	for i := range n {
		e := &logged{tenant: m.IntN(2), mediaType: pick(m, "application/json", "text/plain", "application/x+json; v=1", "application/json ;q", "\u00a0application/json", "application/json\t", "application/JSON"), payload: []byte(pick(m, "", "{}", "hello")),
			kind:  pick(m, kindname.Attestation, kindname.Attestation, kindname.Attestation, kindname.KeyEvent, kindname.Config, kindname.Inventory, kindname.Finding, "new-kind"),
			state: pick(m, bundle.Included, bundle.Included, bundle.Omitted)}
		if n > 100 {
			e.tenant = min(1, m.IntN(60))
			e.state = bundle.Omitted
		}
		if !m.one(3) {
			e.subject = pick(m, subjectDigest(), digest[entry.Hash]("other").String())
		}
		if s.digest != "" && e.subject == "" && m.one(2) {
			e.kind = kindname.Attestation
		}
		if s.incident != "" && m.one(2) {
			e.kind, e.attributes = pick(m, kindname.TriageAction, kindname.TriageAction, kindname.TriageAction, "new-kind"), map[string]any{pick(m, "incident", "incident", "incident", "playbook"): pick(m, incidentOne, incidentOne, "*", "T/0123456789ab-10")}
		}
		m.fit(e, s, i)
		all = append(all, e)
	}
	m.erase(all)
	return all
}

// fit includes the payload if the selection requires it, most of the time.
func (m *maker) fit(e *logged, s selection, i int) {
	if m.one(40) {
		return
	}
	recent := s.since == nil || startTime+uint64(i) >= *s.since
	switch of := e.attributes["incident"]; {
	case s.incident != "" && e.kind != kindname.KeyEvent && e.kind != kindname.Finding:
		if e.kind == kindname.TriageAction && (of == s.incident || of == "*") {
			e.state = bundle.Included
		}
	case e.kind == kindname.KeyEvent, e.kind == kindname.Finding, s.digest == "" && recent && e.kind != kindname.Config, e.subject == s.digest && s.digest != "", e.subject == "" && e.kind == kindname.Inventory && recent:
		e.state = bundle.Included
	}
}

// erase erases entries, with the entries that record it.
func (m *maker) erase(all []*logged) {
	for i, e := range all {
		if !m.one(8) || e.tenant != 0 || len(all) > 100 {
			continue
		}
		for j := i + 1; j < len(all); j++ {
			if by := all[j]; by.tenant == 0 {
				scope := pick(m, "payload", "header-and-payload")
				by.kind, by.attributes = kindname.Erasure, map[string]any{"entry": fmt.Sprint(i), "scope": scope}
				e.state, e.headerErased = bundle.Erased, scope != "payload"
				if m.one(8) {
					by.attributes[pick(m, "entry", "scope")] = pick(m, fmt.Sprintf("0%d", i), fmt.Sprint(j), "x", "", "payload", "header", "18446744073709551616")
				}
				break
			}
		}
		if m.one(40) {
			e.state = bundle.Erased
		}
		if m.one(40) {
			e.headerErased = !e.headerErased
		}
		return
	}
}

// somePolicies makes the policies of an input.
func (m *maker) somePolicies(log *party, pq bool) [][]byte {
	n := pick(m, 1, 1, 1, 2)
	if m.one(100) {
		n = 0
	}
	all := [][]byte{}
	for range n {
		l := log
		if m.one(20) {
			l = pick(m, m.w.logs...)
		}
		text := []byte(m.w.policy(l, pq, pick(m, 0, 0, 1, 2, 4)))
		if m.one(40) {
			text = m.policyText(text)
		}
		all = append(all, text)
	}
	return all
}

// streamKeyFile makes the file of a tenant's stream key, or none.
func (m *maker) streamKeyFile(tenant int) *[]byte {
	if m.one(4) {
		return nil
	}
	if m.one(30) {
		tenant = 1 - tenant
	}
	file := m.w.streams[tenant].File()
	if m.one(60) {
		file = m.bytes(file)
	}
	return &file
}

func unmarshal(text []byte) map[string]any {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	out := map[string]any{}
	if err := d.Decode(&out); err != nil {
		panic(err) // impossible: the text is well-formed
	}
	return out
}

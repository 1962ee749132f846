package main

import (
	"encoding/base64"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/receipt"
)

// signature changes the bytes of a signature line.
func (m *maker) signature(line string) string {
	i := strings.LastIndex(line, " ") + 1
	b, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(line[i:], "\n"))
	if err != nil || len(b) < 6 {
		return line
	}
	switch m.IntN(4) {
	case 0:
		b[m.IntN(len(b))] ^= 1 << m.IntN(8)
	case 1:
		b = b[:len(b)-1]
	case 2:
		b = append(b, 0)
	case 3: // S plus the group order, or a time
		b[len(b)-1] |= 0xe0
	}
	return line[:i] + base64.StdEncoding.EncodeToString(b) + "\n"
}

// document changes members of a JSON object, n times.
func (m *maker) document(v map[string]any, n int) {
	for range n {
		o := v
		for !m.one(2) { // descend
			var below []map[string]any
			for _, k := range slices.Sorted(maps.Keys(o)) {
				if c, ok := o[k].(map[string]any); ok {
					below = append(below, c)
				}
			}
			if len(below) == 0 {
				break
			}
			o = below[m.IntN(len(below))]
		}
		names := slices.Sorted(maps.Keys(o))
		if len(names) == 0 {
			continue
		}
		name := names[m.IntN(len(names))]
		switch m.IntN(6) {
		case 0:
			delete(o, name)
		case 1:
			o[pick(m, "extra", "__proto__", strings.ToUpper(name), name+" ", "")] = m.value()
		case 2:
			o[name] = m.value()
		case 3:
			o[strings.ToUpper(name[:min(1, len(name))])+name[min(1, len(name)):]] = o[name]
		case 4:
			if s, ok := o[name].(string); ok {
				o[name] = string(m.bytes([]byte(s)))
			}
		case 5:
			o[name] = []any{o[name]}
		}
	}
}

func (m *maker) value() any {
	deep := any(1)
	for range 14 + m.IntN(3) {
		deep = []any{deep}
	}
	return pick[any](m, nil, true, false, 0, 1, -1, 1.5, uint64(1<<53-1), uint64(1<<53), "", "x", []any{}, map[string]any{}, []any{""}, map[string]any{"": "x"}, map[string]any{"a": "b"}, deep)
}

// text changes JSON text in ways that no encoder does.
func (m *maker) text(b []byte) []byte {
	s := string(b)
	at := func(sub string) int { // a random place of a substring
		n := strings.Count(s, sub)
		if n == 0 {
			return -1
		}
		i := -1
		for range 1 + m.IntN(n) {
			i += 1 + strings.Index(s[i+1:], sub)
		}
		return i
	}
	insert := func(i int, text string) string {
		if i < 0 {
			return s
		}
		return s[:i] + text + s[i:]
	}
	switch m.IntN(16) {
	case 0: // a member twice
		if i := strings.Index(s, `"`); i >= 0 {
			if end := strings.Index(s[i:], ":"); end > 0 {
				return []byte(insert(i, s[i:i+end]+`:0,`))
			}
		}
	case 1:
		return []byte(insert(at(","), pick(m, " ", "\t\r\n", "\u00a0", "\f", "/**/", ",")))
	case 2:
		return []byte(insert(at(":")+1, pick(m, "0", "-", "+", "1", " ", "1.", "0.0,\"x\":")))
	case 3: // numbers in other notation
		for _, d := range "123456789" {
			if i := strings.LastIndex(s, ":"+string(d)); i >= 0 && m.one(3) {
				return []byte(s[:i+2] + pick(m, "e1", ".0", "E0", "00000000000000000000", "e400") + s[i+2:])
			}
		}
	case 4: // an escape
		if i := at("a"); i >= 0 {
			return []byte(s[:i] + `\u0061` + s[i+1:])
		}
	case 5:
		return []byte(insert(at(`":"`)+3, pick(m, `\ud800`, `\udc00`, `\ud83d\ude00`, `\u0000`, `\x`, "\x00", "\x1f", "\x7f", "\xff", "\xc0\xaf", "\xed\xa0\x80", "\u2028", `\/`, `\u12`)))
	case 6:
		return []byte(pick(m, "\ufeff", " ", "\n", "[", "\u00a0", "\x00") + s)
	case 7:
		return []byte(s + pick(m, " ", "\n", "{}", "]", "\x00", ",", "\u2028"))
	case 8:
		return []byte(strings.Replace(s, `{"`, `{"extra":`+pick(m, "1.5", "1e2", "-0", "null", "true", `"\ud800"`, "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]", "[[[[[[[[[[[[[[]]]]]]]]]]]]]]", `{"a":1,"a":2}`, "9007199254740992", "01", "NaN")+`,"`, 1))
	case 9: // base64
		if i := at(`="`); i >= 0 {
			return []byte(s[:i-1] + pick(m, "", "B", "=", `\n`, "-", " ") + s[i:])
		}
	case 10:
		return []byte(strings.Replace(s, "v2+json", pick(m, "v1+json", "v3+json", "v2+JSON"), 1))
	case 11:
		return []byte(strings.ReplaceAll(s, ",", pick(m, ", ", ",\n")))
	case 12:
		return b[:m.IntN(len(b))]
	}
	return m.bytes(b)
}

// lines changes a text of lines.
func (m *maker) lines(b []byte) []byte {
	lines := strings.SplitAfter(string(b), "\n")
	i := m.IntN(len(lines))
	switch m.IntN(7) {
	case 0:
		lines = slices.Delete(lines, i, i+1)
	case 1:
		lines = slices.Insert(lines, i, lines[i])
	case 2:
		lines = slices.Insert(lines, i, pick(m, "\n", "extra AAAA\n", "index 0\n", "\r\n", "AAAA\n", "# x\n"))
	case 3:
		lines[i] = strings.TrimSuffix(lines[i], "\n") + pick(m, "", " \n", "\r\n", "\t\n", "=\n", "\u0085\n", "\x7f\n")
	case 4:
		j := m.IntN(len(lines))
		lines[i], lines[j] = lines[j], lines[i]
	case 5:
		lines[i] = strings.Replace(lines[i], " ", pick(m, "  ", "\t", "\u00a0", "", " +", " 0"), 1)
	default:
		return m.bytes(b)
	}
	return []byte(strings.Join(lines, ""))
}

// bytes changes a few bytes of anything.
func (m *maker) bytes(b []byte) []byte {
	b = append([]byte{}, b...) // never nil, which JSON would write as null
	for range 1 + m.IntN(2) {
		if len(b) == 0 {
			return []byte(pick(m, "", "x"))
		}
		i := m.IntN(len(b))
		switch m.IntN(4) {
		case 0:
			b[i] ^= 1 << m.IntN(8)
		case 1:
			b = slices.Delete(b, i, i+1)
		case 2:
			b = slices.Insert(b, i, pick(m, byte('0'), ' ', '"', '\\', 'A', '=', 0, 0xff, '\n'))
		case 3:
			j := i + m.IntN(len(b)-i)
			b = append(b[:i:i], b[j:]...)
		}
	}
	return b
}

// policies gives the input its policies.
func (m *maker) policies(in *input, e *recorded) {
	n := pick(m, 1, 1, 1, 2, 3)
	if m.one(60) {
		n = 0
	}
	in.Policies = [][]byte{}
	for range n {
		log := e.log
		if m.one(12) {
			log = pick(m, m.w.logs...)
		}
		text := []byte(m.w.policy(log, e.pq && m.one(2), pick(m, 0, 0, 1, 2, 3, 4, 5)))
		if m.one(12) {
			text = m.policyText(text)
		}
		in.Policies = append(in.Policies, text)
	}
}

func (m *maker) policyText(text []byte) []byte {
	s := string(text)
	replace := func(old, new string) []byte { return []byte(strings.Replace(s, old, new, 1)) }
	switch m.IntN(9) {
	case 0:
		return replace("group g 2", "group g "+pick(m, "0", "01", "+2", "4", "3", "1", "2.0", "ALL", "any", "all", "-1", "18446744073709551618"))
	case 1:
		return replace("\n", pick(m, "\r\n", "\n\n", "\n# \xff\xfe\n", "\n#\x00\n", "\n\v\n", "\nunknown line\n", " \n", "\n\ufeff"))
	case 2:
		return []byte(strings.ReplaceAll(s, "w0", pick(m, "none", "\xff", "w1", "#w", "log", "any", "w\u00a00", "2", "W0")))
	case 3:
		return []byte(s + pick(m, "quorum none\n", "quorum none", "log x\n", "# end", "\x00", "group z any w0\n", "group z any g\n", "group z all z w0\n"))
	case 4:
		return []byte(pick(m, "\ufeff", " ", "#\n", "\n", "\t") + s)
	case 5:
		return []byte(strings.TrimSuffix(s, "\n"))
	case 6: // a key of the other family
		w := m.w.witnesses[0]
		return []byte(strings.NewReplacer(w.edKey, w.pqKey, w.pqKey, w.edKey).Replace(s))
	case 7:
		w := m.w.witnesses
		return []byte(strings.NewReplacer(w[0].edKey, w[1].edKey, w[0].pqKey, w[1].pqKey).Replace(s))
	}
	return m.lines(text)
}

// inputs gives the input the files beside the receipt.
func (m *maker) inputs(in *input, e *recorded) {
	bound := func(data []byte) *[]byte {
		data = append([]byte{}, data...) // never nil, as above
		if m.one(12) {
			data = m.bytes(data)
		}
		return &data
	}
	erased := e.form == receipt.PayloadErased || e.form == receipt.HeaderErased
	if e.form == receipt.Detached && !m.one(8) || !erased && m.one(4) || m.one(30) {
		in.Payload = bound(e.payload)
	}
	in.HeaderOnly = erased && !m.one(10) || m.one(4)
	if e.external != nil && m.one(2) || m.one(30) {
		in.External = bound(e.external)
	}
	if m.one(2) {
		stream := e.tenant
		if m.one(10) {
			stream = 1 - stream
		}
		file := m.w.streams[stream].File()
		switch {
		case m.one(12):
			file = []byte(strings.TrimSuffix(string(file), "\n"))
		case m.one(20):
			file = []byte(pick(m, strings.ToUpper(string(file)), string(file)+"\n", strings.TrimSpace(string(file))+"\r\n", " "+string(file), ""))
		case m.one(20):
			file = m.bytes(file)
		}
		in.StreamKey = &file
	}
}

// expect gives the input expectations. Malformed ones are rare, since they hide
// every other fault.
func (m *maker) expect(in *input, e *recorded) {
	x := &expect{}
	in.Expect = x
	bad := func(good *string, malformed ...string) *string {
		if m.one(25) {
			return new(pick(m, malformed...))
		}
		return good
	}
	id := m.w.streams[e.tenant].StreamID()
	for range 1 + m.IntN(3) {
		switch m.IntN(10) {
		case 0:
			x.Tenant = bad(new(pick(m, m.w.tenants[e.tenant], m.w.tenants[e.tenant], m.w.tenants[e.tenant], "initech", "ACME")), "")
		case 1:
			x.Kind = bad(new(pick(m, kindname.Attestation, kindname.Attestation, kindname.Finding)), "")
		case 2:
			d := subjectDigest()
			x.Subject = bad(new(pick(m, "sha256:"+d, "SHA256:"+strings.ToUpper(d), "gitCommit:"+d[:40], "GITCOMMIT:"+strings.ToUpper(d[:40]), "sha512:"+d+d, "dirhash:AbC=", "h1:abc=", "h1:AbC=", "sha256:"+hex.EncodeToString(make([]byte, 32)), "sm3:"+d)),
				"sha256:"+d[1:], d, "", "x:\u00e4", "x: y", strings.Repeat("a", 65)+":00")
		case 3:
			x.PredicateType = bad(new(pick(m, "https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v0.2")), "")
		case 4:
			x.Control = bad(new(pick(m, "AC-2", "SI-7", "SI-8", "ac-2")), "")
		case 5:
			x.Signer = bad(new(pick(m, "ci@acme.example", "ci@acme.example", "k1", "CI@acme.example")), "")
		case 6:
			x.Issuer = bad(new(pick(m, "https://issuer.example", "https://issuer.example", "https://issuer.example/")), "")
		case 7:
			x.RequireVerified = true
		case 8:
			x.Admitted = true
		case 9:
			x.Stream = bad(new(pick(m, id.String(), id.String(), strings.ToUpper(id.String()), m.hash().String())), id.String()[1:], id.String()+"0", "", "0x"+id.String()[2:])
		}
	}
}

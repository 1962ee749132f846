package receipt

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/entry"
)

var update = flag.Bool("update", false, "write docs/spec/vectors anew")

const vectorDir = "../../docs/spec/vectors"

// golden compares the generator's output with the checked-in file.
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
	Origin      string `json:"origin"`
	StreamKey   string `json:"streamKey"`
	LinkSalt    string `json:"linkSalt"`
	HeaderSalt  string `json:"headerSalt"`
	PayloadSalt string `json:"payloadSalt"`
	Seq         string `json:"seq"`
	Time        string `json:"time"`
	Prev        string `json:"prev"`
	HeaderUTF8  string `json:"headerUtf8"`
	Payload     string `json:"payload"`
	OriginHash  string `json:"originHash"`
	StreamID    string `json:"streamID"`
	Tag         string `json:"tag"`
	Link        string `json:"link"`
	HeaderHash  string `json:"headerHash"`
	Commitment  string `json:"commitment"`
	EntryHash   string `json:"entryHash"`
	LeafData    string `json:"leafData"`
	LeafHash    string `json:"leafHash"`
}

func makeEntryCase(name, origin string, key entry.StreamKey, seq, tm uint64, prev entry.Hash, header, payload string) entryCase {
	sk := entry.Skeleton{Tag: key.Tag(seq), LinkSalt: det[entry.Salt](name + " link"), StreamID: key.StreamID(), Seq: seq, Prev: prev, Time: tm,
		HeaderHash: entry.HeaderHash(det[entry.Salt](name+" header"), []byte(header))}
	log := entry.HashOrigin(origin)
	data, ps := sk.LeafData(log), det[entry.Salt](name+" payload")
	return entryCase{
		Name: name, Origin: origin, OriginHash: entry.Hash(log).String(), StreamKey: hex.EncodeToString(key[:]), LinkSalt: hex.EncodeToString(sk.LinkSalt[:]),
		HeaderSalt: entry.Hash(det[entry.Salt](name + " header")).String(), PayloadSalt: entry.Hash(ps).String(),
		Seq: strconv.FormatUint(seq, 10), Time: strconv.FormatUint(tm, 10), Prev: prev.String(), HeaderUTF8: header, Payload: hex.EncodeToString([]byte(payload)),
		StreamID: sk.StreamID.String(), Tag: sk.Tag.String(), Link: sk.Link().String(), HeaderHash: sk.HeaderHash.String(),
		Commitment: entry.Commitment(ps, []byte(payload)).String(), EntryHash: entry.EntryHash(log, sk.Link(), tm, sk.HeaderHash).String(),
		LeafData: hex.EncodeToString(data[:]), LeafHash: sk.LeafHash(log).String(),
	}
}

func TestEntryVectors(t *testing.T) {
	var cases []entryCase
	cases = append(cases, makeEntryCase("plain", "ledger.example/demo", det[entry.StreamKey]("key a"), 0, 1760000000000, entry.Hash{}, `{"not":"parsed here"}`, "hello"))
	cases = append(cases, makeEntryCase("largest integers", "o", det[entry.StreamKey]("key b"), 1<<64-1, 1<<64-1, det[entry.Hash]("prev"), "x", ""))
	cases = append(cases, makeEntryCase("unicode header and origin", "Urkunde \u00e4.example", entry.StreamKey{}, 7, 1, det[entry.Hash]("prev 2"), "{\"name\":\"Urkunde \u00e4\U0001F4DC\"}", "\x00\x01\xff"))
	cases = append(cases, makeEntryCase("plain, another log", "ledger.example/demo2", det[entry.StreamKey]("key a"), 0, 1760000000000, entry.Hash{}, `{"not":"parsed here"}`, "hello"))
	var prev entry.Hash
	for i := range uint64(3) {
		c := makeEntryCase(fmt.Sprintf("chain-%d", i), "ledger.example/demo", det[entry.StreamKey]("key chain"), i, 1760000000000+i/2, prev, fmt.Sprintf(`{"n":%d}`, i), fmt.Sprint("payload ", i))
		b, _ := hex.DecodeString(c.LeafHash)
		prev = entry.Hash(b)
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
		origin := sum([]byte("muniment/origin/v1\n"), []byte(c.Origin))
		entry := sum([]byte("muniment/entry/v2\n"), origin, link, num(c.Time), hh)
		leaf := append(append([]byte{2}, m.Sum(nil)...), entry...)
		for what, pair := range map[string][2]string{
			"originHash": {hex.EncodeToString(origin), c.OriginHash}, "streamID": {hex.EncodeToString(streamID), c.StreamID}, "link": {hex.EncodeToString(link), c.Link}, "leafData": {hex.EncodeToString(leaf), c.LeafData},
			"leafHash":   {hex.EncodeToString(sum([]byte{0}, leaf)), c.LeafHash},
			"commitment": {hex.EncodeToString(sum([]byte("muniment/payload/v1\n"), un(c.PayloadSalt), un(c.Payload))), c.Commitment},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s: %s is %s, want %s", c.Name, what, pair[1], pair[0])
			}
		}
	}
}

type strictCase struct {
	Name    string `json:"name"`
	Target  string `json:"target"`
	Input   string `json:"inputBase64"`
	Verdict string `json:"verdict"`
	Reason  Code   `json:"reason,omitempty"` // of a receipt
}

func TestStrictJSONVectors(t *testing.T) {
	w := newWorld(t)
	header, rec := string(w.receipts[1].Header.Content), string(bytes.TrimSpace(w.receipt(1, 3, Full, false)))
	var cases []strictCase
	add := func(target, name, in, verdict string) {
		cases = append(cases, strictCase{Name: name, Target: target, Input: base64.StdEncoding.EncodeToString([]byte(in)), Verdict: verdict})
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
		{"attribute with a number at any depth", `"verification"`, `"attributes":{"a":{"b":[1.5]}},"verification"`, "refuse"},
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
		{"mediaType of another version", `receipt.v2`, `receipt.v1`, "refuse"},
		{"mediaType empty", MediaType, ``, "refuse"},
		{"mediaType a number", `"` + MediaType + `"`, `2`, "refuse"},
		{"unknown member, a number with a fraction", `"time"`, `"extra":1.5,"time"`, "refuse"},
		{"form empty", `"form":"full"`, `"form":""`, "refuse"},
		{"proof empty", `"proof":"`, `"proof":"","prooF":"`, "refuse"},
	} {
		edit("receipt", x.name, x.old, x.new, x.verdict)
	}
	for i := range cases {
		c := &cases[i]
		in, _ := base64.StdEncoding.DecodeString(c.Input)
		var err error
		if c.Target == "header" {
			_, err = entry.ParseHeader(in)
		} else if _, err = Parse(in); err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("%s: the error is %#v", c.Name, err)
			}
			c.Reason = e.Code
			if want := strings.HasPrefix(c.Name, "mediaType of") || c.Name == "mediaType empty" || c.Name == "duplicate"; want != (e.Code == ReceiptVersion) {
				t.Errorf("%s: the code is %s", c.Name, e.Code)
			}
		}
		if (err == nil) != (c.Verdict == "accept") {
			t.Errorf("%s, %s: should %s, got %v", c.Target, c.Name, c.Verdict, err)
		}
	}
	golden(t, "strict-json.json", cases)
}

func commitmentOf(t *testing.T, r *Receipt) []byte {
	h, err := entry.ParseHeader(r.Header.Content)
	if err != nil {
		t.Fatal(err)
	}
	return h.Payload.Commitment[:]
}

// strayBits returns the character with the lowest of its unused bits set, when
// it is the last of a group with two unused bits.
func strayBits(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	return string(alphabet[strings.IndexByte(alphabet, c)|1])
}

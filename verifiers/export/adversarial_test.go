package export

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	sslib "github.com/secure-systems-lab/go-securesystemslib/dsse"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/entry/strictjson"
)

// curves are the labels of ECDSA keys.
var curves = map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()}

// curveKey returns the key of a label in curves, and its PEM.
func curveKey(t testing.TB, label string) (*ecdsa.PrivateKey, string) {
	t.Helper()
	curve, seed := curves[label], det[entry.Hash]("key "+label)
	size := (curve.Params().BitSize + 7) / 8
	key, err := ecdsa.ParseRawPrivateKey(curve, append(make([]byte, size-len(seed)), seed[:]...))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// alsoSigned adds a signature of the message to the envelope.
func alsoSigned(made func(message []byte) []byte) func([]byte) []byte {
	return func(f []byte) []byte {
		var file struct {
			Envelope struct {
				Payload []byte `json:"payload"`
			} `json:"dsseEnvelope"`
		}
		if err := json.Unmarshal(f, &file); err != nil {
			panic(err)
		}
		sig := base64.StdEncoding.EncodeToString(made(sslib.PAE(payloadType, file.Envelope.Payload)))
		return signatures(func(all []any) []any { return append(all, map[string]any{"sig": sig}) })(f)
	}
}

// byCurve signs with an ECDSA key of a label in curves.
func byCurve(t testing.TB, label string, h crypto.Hash) func([]byte) []byte {
	key, _ := curveKey(t, label)
	return alsoSigned(func(message []byte) []byte {
		sum := h.New()
		sum.Write(message)
		sig, err := key.Sign(nil, sum.Sum(nil), h) // without a source of randomness: RFC 6979
		if err != nil {
			t.Fatal(err)
		}
		return sig
	})
}

// raw signs with the key p256 in the form r‖s.
func raw(t testing.TB) func([]byte) []byte {
	key, _ := curveKey(t, "p256")
	return alsoSigned(func(message []byte) []byte {
		sum := crypto.SHA256.New()
		sum.Write(message)
		der, err := key.Sign(nil, sum.Sum(nil), crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		r, rest := der[4:4+der[3]], der[4+der[3]:]
		s := rest[2 : 2+rest[1]]
		return append(leftPad(r), leftPad(s)...)
	})
}

// leftPad returns an integer of 32 bytes.
func leftPad(b []byte) []byte {
	b = bytes.TrimLeft(b, "\x00")
	return append(make([]byte, 32-len(b)), b...)
}

func prehashed(message []byte) []byte {
	sum := sha512.Sum512(message)
	sig, err := signingKey("exporter").Sign(nil, sum[:], &ed25519.Options{Hash: crypto.SHA512})
	if err != nil {
		panic(err)
	}
	return sig
}

func keys(names ...string) func(*vector) { return func(v *vector) { v.Keys = names } }

// adversarialBuilds are cases in which the specification is easily misread.
func adversarialBuilds(t testing.TB) []build {
	const last = strictjson.MaxInteger
	rows := func(n ...uint64) func(testing.TB, *Manifest) {
		return func(_ testing.TB, m *Manifest) {
			for i := range n {
				m.Files[i].Rows = &n[i]
			}
		}
	}
	first := func(members string) func([]byte) []byte { return replaced(`{"mediaType"`, `{`+members+`,"mediaType"`) }
	return []build{
		// Step 1: members that are ignored, and strings that can be empty.
		{name: "numbers of all forms outside of the envelope", file: first(`"x":[-1,1.5e400,9007199254740992,-0]`)},
		{name: "a number with a leading zero", reason: "manifest-malformed", file: first(`"x":01`)},
		{name: "NaN outside of the envelope", reason: "manifest-malformed", file: first(`"x":NaN`)},
		{name: "__proto__ outside of the envelope", file: first(`"__proto__":{"dsseEnvelope":null}`)},
		{name: "__proto__ twice", reason: "manifest-malformed", file: first(`"__proto__":1,"__proto__":2`)},
		{name: "nested 16 deep", file: first(`"x":` + strings.Repeat("[", 15) + strings.Repeat("]", 15))},
		{name: "an escaped name of a member", file: replaced(`"dsseEnvelope"`, `"dsse\u0045nvelope"`)},
		{name: "an empty payload type", reason: "payload-type", file: inEnvelope("payloadType", func(string) string { return "" })},
		{name: "a payload type that is null", reason: "manifest-malformed", file: replaced(`"payloadType":"application/vnd.in-toto+json"`, `"payloadType":null`)},
		{name: "an empty key ID", file: signatures(withKeyID(""))},
		{name: "a key ID that is null", reason: "manifest-malformed", file: signatures(withKeyID(nil))},
		{name: "a key ID that is a number", reason: "manifest-malformed", file: signatures(withKeyID(1))},
		{name: "an empty signature beside a good one", reason: "manifest-malformed", file: signatures(func(s []any) []any { return append(s, map[string]any{"sig": ""}) })},
		{name: "a signature that is a string", reason: "manifest-malformed", file: signatures(func(s []any) []any { return append(s, "AAAA") })},
		{name: "base64 with a line break", reason: "manifest-malformed", file: inEnvelope("payload", func(s string) string { return s[:76] + "\n" + s[76:] })},
		{name: "base64 with unused bits", reason: "manifest-malformed", file: inEnvelope("payload", unusedBits)},
		{name: "an envelope with a media type", reason: "manifest-malformed", file: func(f []byte) []byte {
			return replaced(`{`, `{"mediaType":null,`)(f[bytes.Index(f, []byte(`"dsseEnvelope":`))+15 : len(f)-1])
		}},
		{name: "an envelope beside the bundle's", reason: "payload-type", payload: "application/json", file: first(`"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"sig":"AAAA"}]`)},
		{name: "a wrong payload type and a wrong signature", reason: "payload-type", payload: "text/plain", signers: []string{"other"}},

		// Step 2: each form of a signature that a verifier could accept.
		{name: "a key given twice", inputs: keys("exporter", "exporter")},
		{name: "Ed25519ph", reason: "signature-unverified", signers: []string{"other"}, file: alsoSigned(prehashed)},
		{name: "P-256 with SHA-256", file: byCurve(t, "p256", crypto.SHA256), inputs: keys("p256", "exporter")},
		{name: "P-256 with SHA-384", reason: "signature-unverified", file: byCurve(t, "p256", crypto.SHA384), inputs: keys("p256")},
		{name: "P-256 in the form r and s", reason: "signature-unverified", file: raw(t), inputs: keys("p256")},
		{name: "P-384 with SHA-384", file: byCurve(t, "p384", crypto.SHA384), inputs: keys("exporter", "p384")},
		{name: "P-384 with SHA-256", file: byCurve(t, "p384", crypto.SHA256), inputs: keys("exporter", "p384")},
		{name: "P-384 with SHA-512", reason: "signature-unverified", file: byCurve(t, "p384", crypto.SHA512), inputs: keys("p384")},
		{name: "P-521 with SHA-512", file: byCurve(t, "p521", crypto.SHA512), inputs: keys("p521", "exporter")},
		{name: "P-521 with SHA-256", file: byCurve(t, "p521", crypto.SHA256), inputs: keys("p521", "exporter")},
		{name: "P-521 with SHA-384", reason: "signature-unverified", file: byCurve(t, "p521", crypto.SHA384), inputs: keys("p521")},

		// Step 3: which fault decides.
		{name: "a subject that is a string", reason: "statement-malformed", statement: replaced(`"subject":[{`, `"subject":["x",{`)},
		{name: "a subject without a digest", reason: "statement-malformed", statement: replaced(`"subject":[{`, `"subject":[{"name":"x"},{`)},
		{name: "a subject with a digest in upper case", reason: "statement-malformed", statement: replaced(`e3b0c442`, `E3B0C442`)},
		{name: "a subject with an unsafe name", reason: "subjects-differ", statement: replaced(`"subject":[{"name":"assets/`, `"subject":[{"name":"../assets/`)},
		{name: "a subject with an empty name", reason: "subjects-differ", statement: replaced(`"subject":[{"name":"assets/part-0000.csv"`, `"subject":[{"name":""`)},
		{name: "no subjects", reason: "statement-malformed", statement: func(s []byte) []byte {
			i := bytes.Index(s, []byte(`"subject":[`)) + 11
			j := i + bytes.IndexByte(s[i:], ']')
			return append(append([]byte{}, s[:i]...), s[j:]...)
		}},
		{name: "a file with an empty name", reason: "name-unsafe", manifest: fileName("")},
		{name: "another version and a malformed member", reason: "statement-version", statement: func(s []byte) []byte {
			return replaced("Statement/v1", "Statement/v2")(replaced(`"tenant":"acme"`, `"tenant":1`)(s))
		}},
		{name: "another version and a member twice", reason: "statement-malformed", statement: func(s []byte) []byte {
			return replaced("Statement/v1", "Statement/v2")(replaced(`"tenant":"acme"`, `"tenant":"acme","tenant":"acme"`)(s))
		}},
		{name: "a version that is a number and another predicate", reason: "predicate-type", statement: func(s []byte) []byte {
			return replaced(`"https://in-toto.io/Statement/v1"`, `1`)(replaced("manifest/v2", "manifest/v3")(s))
		}},
		{name: "a malformed number and an unsafe name", reason: "number-malformed", manifest: fileName("../x"), statement: replaced(`"epsilon":"2.7"`, `"epsilon":"NaN"`)},
		{name: "a delta of 0 and an unsafe name", reason: "number-range", manifest: and2(fileName("../x"), privacyOf(func(p *Privacy) { p.Parameters.Delta = optional("0") }))},
		{name: "an unsafe name and a duplicate", reason: "name-unsafe", manifest: func(_ testing.TB, m *Manifest) { m.Files[1].Name, m.Files[2].Name = "a/", "a/" }},
		{name: "a malformed number with an unsupported flavor", reason: "number-malformed", statement: func(s []byte) []byte {
			return replaced("Zero-concentrated DP", "Renyi DP")(replaced(`"rho":"0.12"`, `"rho":"1e400"`)(s))
		}},
		{name: "a spent budget of both flavors", reason: "privacy-parameters", manifest: privacyOf(func(p *Privacy) { p.SpentEpsilon = optional("1") })},
		{name: "names that differ only in a letter beyond ASCII", reason: "name-unsafe", manifest: fileName("assets/part-0000.csv\u0130")},
		{name: "rows up to the greatest integer", manifest: rows(last-1, 1)},
		{name: "rows beyond the greatest integer", manifest: rows(last, 1)},
		{name: "rows of no file", manifest: func(_ testing.TB, m *Manifest) { m.Files[0].Rows = nil }},
		{name: "a size beyond the greatest integer", reason: "statement-malformed", statement: replaced(`"size":0`, fmt.Sprintf(`"size":%d`, uint64(last+1)))},
		{name: "the greatest size", reason: "file-size", inputs: folder("good"), statement: replaced(`"size":0`, fmt.Sprintf(`"size":%d`, uint64(last)))},

		// Steps 5 to 7: which rule and which place.
		{name: "not allowed by the tenant, and forbidden", reason: "storage-not-allowed", inputs: residency(`{"storage-forbidden":[{"country":"DE"}],"storage-allowed":[{"country":"FR"}]}`)},
		{name: "forbidden by the manifest, and not allowed by the tenant", reason: "storage-not-allowed", manifest: func(_ testing.TB, m *Manifest) {
			m.Use = &Use{StorageForbidden: []Geography{{Country: "DE"}}}
		}, inputs: residency(`{"storage-allowed":[{"country":"FR"}]}`)},
		{name: "the first location decides", reason: "storage-forbidden", inputs: residency(`{"storage-forbidden":[{"country":"DE"}],"processing-included":[{"country":"US"}]}`)},
		{name: "the state of a cloud region that is not claimed", reason: "processing-not-included", inputs: residency(`{"processing-included":[{"country":"DE","state":"DE-BY"}]}`)},
		{name: "an exceeded budget of another name", reason: "budget-exceeded", manifest: privacyOf(func(p *Privacy) { p.SpentRho = optional("0.3") }), inputs: epsilon(`{"budget":"x","epsilon":"9","delta":"0.5"}`)},
		{name: "a malformed expression after an unknown licence", reason: "license-malformed", manifest: func(_ testing.TB, m *Manifest) {
			m.Files[0].License, m.Files[2].License = []string{"Acme-1.0"}, []string{"MIT OR"}
		}},
		{name: "an unknown licence after one that is not allowed", reason: "license-unknown", manifest: func(_ testing.TB, m *Manifest) {
			m.Files[0].License, m.Files[2].License = []string{"MIT"}, []string{"Acme-1.0"}
		}, inputs: allowing()},
		{name: "an allow-list with an empty text", reason: "requirement-malformed", inputs: allowing("")},
		{name: "an allow-list that is null", reason: "requirement-malformed", inputs: func(v *vector) { v.Licenses = json.RawMessage("null") }},
		{name: "required places without a limit", reason: "requirement-malformed", inputs: residency("{}")},
		{name: "a required budget that is empty", reason: "requirement-malformed", inputs: epsilon(`{"budget":"","epsilon":"1","delta":"0.1"}`)},
		{name: "a requirement with an unknown member", reason: "requirement-malformed", inputs: epsilon(`{"__proto__":{},"epsilon":"1","delta":"0.1"}`)},

		// Steps 9 and 10.
		{name: "an amount with an exponent", reason: "spend-unreadable", inputs: whole, log: func(_ testing.TB, items []*item) []*item { items[2].attributes["rho"] = "5e-2"; return items }},
		{name: "a spend of another flavor without an amount", reason: "spend-differs", inputs: whole, log: func(_ testing.TB, items []*item) []*item {
			items[2].attributes["flavor"], items[2].attributes["rho"] = PureDP, "NaN"
			return items
		}},
		{name: "a hidden spend after another that differs", reason: "spend-unreadable", inputs: whole, log: func(_ testing.TB, items []*item) []*item {
			items[2].attributes["flavor"] = PureDP
			items[3].kind = "attestation"
			return items
		}},
		{name: "a later spend of another flavor", inputs: whole, log: func(_ testing.TB, items []*item) []*item { items[7].attributes["flavor"] = PureDP; return items }},
		{name: "a later spend of another kind", inputs: whole, log: func(_ testing.TB, items []*item) []*item { items[7].kind = "attestation"; return items }},
		{name: "an amount in another spelling", reason: "entry-differs", inputs: whole, log: func(_ testing.TB, items []*item) []*item { items[ownEntry].attributes["rho"] = "0.120"; return items }},
		{name: "a header without the spend", reason: "entry-differs", inputs: whole, log: func(_ testing.TB, items []*item) []*item { items[ownEntry].attributes = nil; return items }},
	}
}

func withKeyID(id any) func([]any) []any {
	return func(all []any) []any {
		all[0].(map[string]any)["keyid"] = id
		return all
	}
}

func and2(all ...func(testing.TB, *Manifest)) func(testing.TB, *Manifest) {
	return func(t testing.TB, m *Manifest) {
		for _, one := range all {
			one(t, m)
		}
	}
}

// unusedBits sets a bit of base64 that encodes nothing.
func unusedBits(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	if !strings.HasSuffix(s, "=") {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			panic(err)
		}
		s = base64.StdEncoding.EncodeToString(append(b, ' '))
	}
	i := len(strings.TrimRight(s, "=")) - 1
	return s[:i] + string(alphabet[strings.IndexByte(alphabet, s[i])|1]) + s[i+1:]
}

package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/bundle"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/export"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/shape"
)

// exported is an input of the kind export.
type exported struct {
	ID           int               `json:"id"`
	Kind         string            `json:"kind"`
	Manifest     []byte            `json:"manifest"`
	Keys         [][]byte          `json:"keys"`
	Policies     [][]byte          `json:"policies"`
	Files        map[string][]byte `json:"files,omitempty"`
	Receipt      *[]byte           `json:"receipt,omitempty"`
	Stream       *[]byte           `json:"stream,omitempty"`
	StreamKey    *[]byte           `json:"streamKey,omitempty"`
	Requirements *[]byte           `json:"requirements,omitempty"`
	Expect       *exportExpect     `json:"expect,omitempty"`
}

type exportExpect struct {
	Tenant *string `json:"tenant,omitempty"`
	Export *string `json:"export,omitempty"`
}

// A signatory signs manifests.
type signatory struct {
	private crypto.Signer
	hash    crypto.Hash // 0: of the message itself
	pem     []byte
	id      string
}

func newSignatory(private crypto.Signer, hash crypto.Hash) (*signatory, error) {
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return nil, err
	}
	k, err := dsse.NewKey("", private.Public())
	if err != nil {
		return nil, err
	}
	return &signatory{private, hash, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), k.ID}, nil
}

// newSignatories returns signers with keys that depend on nothing else.
func newSignatories() ([]*signatory, error) {
	var all []*signatory
	for i := range 2 {
		seed := digest[entry.Hash](fmt.Sprint("signatory ", i))
		s, err := newSignatory(ed25519.NewKeyFromSeed(seed[:]), 0)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	for _, c := range []struct {
		curve elliptic.Curve
		hash  crypto.Hash
	}{{elliptic.P256(), crypto.SHA256}, {elliptic.P384(), crypto.SHA384}} {
		d := digest[entry.Hash]("signatory " + c.curve.Params().Name)
		d[0] = 1 // less than the order
		scalar := make([]byte, c.curve.Params().BitSize/8)
		copy(scalar[len(scalar)-len(d):], d[:])
		key, err := ecdsa.ParseRawPrivateKey(c.curve, scalar)
		if err != nil {
			return nil, err
		}
		s, err := newSignatory(key, c.hash)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// sign returns a signature that depends on the key and the message only.
func (s *signatory) sign(message []byte) []byte {
	sum := message
	switch s.hash {
	case crypto.SHA256:
		h := sha256.Sum256(message)
		sum = h[:]
	case crypto.SHA384:
		h := sha512.Sum384(message)
		sum = h[:]
	}
	sig, err := s.private.Sign(nil, sum, s.hash) // without randomness: RFC 6979
	if err != nil {
		panic(err)
	}
	return sig
}

// An exportMaker makes an export.
type exportMaker struct {
	*maker
	files   map[string][]byte
	by      []*signatory // the signers
	id      string
	privacy map[string]any // nil: none
	flavor  string
	amount  string
	entries []*logged // the log; the manifest is own
	own     int
	cited   []any // evidence entries
}

const signatories = 4

// export makes an input of the kind export.
func (m *maker) export() *exported {
	x := &exportMaker{maker: m, id: "e-1", files: map[string][]byte{"a.csv": []byte("id\n1\n"), "b/c.json": []byte("{}"), "empty": {}}}
	x.by = []*signatory{m.w.signers[m.IntN(signatories)]}
	if m.one(4) {
		x.by = append(x.by, m.w.signers[m.IntN(signatories)])
	}
	statement := x.statement()
	in := &exported{Kind: kindExport, Manifest: x.sign(statement), Keys: [][]byte{}}
	x.inputs(in)
	return in
}

func (x *exportMaker) signer() map[string]any {
	if x.one(60) {
		return pick[map[string]any](x.maker, map[string]any{"identity": "ci@acme.example", "issuer": "https://issuer.example"}, map[string]any{"keyId": x.w.signers[x.IntN(signatories)].id})
	}
	return map[string]any{"keyId": x.by[x.IntN(len(x.by))].id}
}

// statement makes the statement, with faults.
func (x *exportMaker) statement() []byte {
	var files, subjects []any
	for i, name := range []string{"a.csv", "b/c.json", "empty"} {
		content := x.files[name]
		if x.one(80) {
			name = pick(x.maker, "../x", "/x", "a\\b", "C:x", "x.", " x", "A.CSV", "é", "", strings.Repeat("n", 1025), "a//b", "a/./b", "nul\x00", "a*", strings.Repeat("x", 1024))
		}
		sum := entry.Hash(sha256.Sum256(content)).String()
		f := map[string]any{"name": name, "digest": map[string]any{"sha256": sum}, "size": len(content), "mediaType": pick(x.maker, "text/csv", "application/json"), "license": x.licenses()}
		if x.one(2) {
			f["rows"] = pick[any](x.maker, 0, 2, uint64(1<<53-1))
		}
		if i == 0 && x.one(2) {
			f["fieldSets"] = []any{map[string]any{"fields": []any{"id"}, "license": x.licenses()}}
		}
		files = append(files, f)
		subjects = append(subjects, map[string]any{"name": name, "digest": map[string]any{"sha256": sum}})
	}
	if x.one(60) {
		subjects = pick(x.maker, subjects[1:], []any{subjects[1], subjects[0], subjects[2]}, []any{}, append(slices.Clone(subjects), subjects[0]))
	}
	p := map[string]any{"tenant": x.w.tenants[0], "exportId": x.id, "created": x.time(), "files": files, "licenses": map[string]any{"spdxListVersion": pick(x.maker, export.SPDXListVersion(), "3.0")}}
	if x.one(2) {
		p["use"] = x.use()
	}
	if !x.one(3) {
		p["privacy"] = x.makePrivacy()
	}
	x.makeLog()
	p["residency"] = map[string]any{"claims": x.claims()}
	s := map[string]any{"_type": "https://in-toto.io/Statement/v1", "predicateType": export.PredicateType, "subject": subjects, "predicate": p}
	if x.one(80) {
		s[pick(x.maker, "_type", "predicateType")] = pick[any](x.maker, "https://in-toto.io/Statement/v0.1", "", nil, 1)
	}
	if x.one(8) {
		x.document(s, 1)
	}
	text := encode(s)
	if x.one(20) {
		text = x.text(text)
	}
	return text
}

func (x *exportMaker) time() string {
	if x.one(60) {
		return pick(x.maker, "2026-02-30T00:00:00Z", "2024-02-29T23:59:59Z", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00.0Z", "2026-01-01t00:00:00z", "9999-12-31T23:59:59Z", "2026-01-01T00:00:00+00:00", "2100-02-29T00:00:00Z", "2026-01-01T00:00:00Z\n")
	}
	return "2026-11-29T06:00:00Z"
}

// licenses makes SPDX expressions.
func (x *exportMaker) licenses() []any {
	var all []any
	for range pick(x.maker, 1, 1, 2) {
		all = append(all, x.expression(2))
	}
	return all
}

func (x *exportMaker) expression(depth int) string {
	atom := func() string {
		s := pick(x.maker, "MIT", "Apache-2.0", "MIT", "Apache-2.0", "CC0-1.0", "GPL-2.0-only", "LicenseRef-own", "Apache-2.0 WITH LLVM-exception")
		if x.one(60) {
			s = pick(x.maker, "GPL-2.0+", "mit", "GPL-2.0-or-later", "DocumentRef-a:LicenseRef-b", "LicenseRef-", "LicenseRef-x+", "Unknown-1.0", "MIT WITH MIT", "NOASSERTION", "Apache-2.0  WITH  LLVM-exception", "eCos-2.0", "GPL-2.0-with-GCC-exception", "MIT WITH", "AND", "Apache-2.0 with LLVM-exception", "MIT\tOR MIT", "MIT\u00a0", "wxWindows", "MIT++", "MIT +")
		}
		return s
	}
	if depth == 0 || !x.one(3) {
		return atom()
	}
	space := pick(x.maker, " ", " ", " ", "  ")
	s := x.expression(depth-1) + space + pick(x.maker, "AND", "OR", "OR") + space + x.expression(depth-1)
	switch {
	case x.one(3):
		s = "(" + s + ")"
	case x.one(60):
		s = pick(x.maker, s+")", "("+s, s+" ", " "+s, strings.ToLower(s), "( "+s+" )", "()", strings.Repeat("(", 16)+s+strings.Repeat(")", 16), strings.Repeat("(", 17)+s+strings.Repeat(")", 17))
	}
	return s
}

func (x *exportMaker) geographies() []any {
	var all []any
	for range 1 + x.IntN(2) {
		g := map[string]any{"country": pick(x.maker, "DE", "DE", "FR", "IE", "US")}
		if x.one(3) {
			g["state"] = g["country"].(string) + map[string]string{"DE": "-HE", "FR": "-75C", "IE": "-D", "US": "-CA"}[g["country"].(string)]
		}
		if x.one(80) {
			g[pick(x.maker, "country", "state")] = pick[any](x.maker, "XX", "DE-BE", "US-HE", "de", "", "GB", "DEU", strings.Repeat("x", 65), "HE", "DE-", "ZZ-01", 1)
		}
		all = append(all, g)
	}
	return all
}

func (x *exportMaker) use() map[string]any {
	u := map[string]any{}
	for range 1 + x.IntN(2) {
		switch name := pick(x.maker, "storage-allowed", "storage-forbidden", "processing-included", "processing-excluded"); name {
		case "storage-forbidden", "processing-excluded":
			u[name] = []any{map[string]any{"country": pick(x.maker, "CN", "RU", "US")}}
			if x.one(12) {
				u[name] = x.geographies()
			}
		default:
			u[name] = append(x.geographies(), map[string]any{"country": "FR"}, map[string]any{"country": "DE"})
		}
	}
	return u
}

func (x *exportMaker) claims() []any {
	var all []any
	for _, activity := range []string{export.Storage, export.Processing} {
		if x.one(12) {
			continue
		}
		var locations []any
		for range 1 + x.IntN(2) {
			l := pick(x.maker, map[string]any{"country": "DE"}, map[string]any{"country": "FR"}, map[string]any{"country": "DE", "state": "DE-HE"}, map[string]any{"country": "DE", "cloudRegion": "aws:eu-central-1"}, map[string]any{"country": "FR", "cloudRegion": "aws:eu-west-3"})
			if x.one(60) {
				l[pick(x.maker, "country", "state", "cloudRegion")] = pick[any](x.maker, "IE", "US", "XX", "DE-BE", "aws:eu-west-1", "aws:nowhere", "gcp:europe-west3", "", "DE-ZZ", 1)
			}
			locations = append(locations, l)
		}
		c := map[string]any{"activity": activity, "locations": locations, "claimedBy": x.signer()}
		if len(x.cited) > 0 && x.one(2) {
			c["evidence"] = x.cited
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return []any{map[string]any{"activity": "storage", "locations": []any{map[string]any{"country": "DE"}}, "claimedBy": x.signer()}}
	}
	return all
}

// number makes a decimal around a value, with faults.
func (x *exportMaker) number(good ...string) string {
	if x.one(120) {
		return pick(x.maker, "", "0", "-1", "+1", "1e400", "NaN", "Infinity", "01", "1.", ".5", "1.0000000000000000000000000000001", "1.000000000000000000000000000001", "1234567890123456789", "0.0", "1/2", "1,5", "１", " 1", "1 ", "0x1", "1/0", "999999999999999999.999999999999999999999999999999")
	}
	return pick(x.maker, good...)
}

// makePrivacy makes the privacy loss. Most of the time it adds up.
func (x *exportMaker) makePrivacy() map[string]any {
	x.flavor = pick(x.maker, export.PureDP, export.ZCDP)
	var mechanisms []any
	for range 1 + x.IntN(2) {
		name := export.Laplace
		if x.flavor == export.ZCDP || x.one(60) {
			name = pick(x.maker, export.Laplace, export.Gaussian)
		}
		mechanisms = append(mechanisms, map[string]any{"name": name, "sensitivity": x.number("1", "1/3", "0.5"), "scale": x.number("10", "30/7", "4"), "count": pick[any](x.maker, 1, 2, 3, 1, 1, 20)})
	}
	parameters, budget, spent := map[string]any{}, map[string]any{"name": "b-2026"}, map[string]any{}
	if x.flavor == export.PureDP {
		x.amount = x.number("0.5", "2.25", "20")
		parameters["epsilon"] = x.amount
		spent["epsilon"] = x.number("20", "2.25", "30", "22.5")
		budget["epsilon"] = x.number("30", "30", "22")
	} else {
		x.amount = x.number("0.12", "0.5", "3")
		parameters["rho"], parameters["delta"] = x.amount, x.number("0.000001", "0.000001", "0.5")
		parameters["epsilon"] = x.epsilon(parameters["delta"].(string), x.amount)
		spent["rho"], budget["delta"] = x.number("3", "0.5", "3.6", "4"), parameters["delta"]
		budget["epsilon"] = x.epsilon(budget["delta"].(string), spent["rho"].(string))
	}
	budget["spent"] = spent
	if x.one(60) {
		pick(x.maker, parameters, budget, spent)[pick(x.maker, "delta", "rho", "epsilon")] = x.number("0.1", "1", "0.000001", "1.5")
	}
	flavor := x.flavor
	if x.one(80) {
		flavor = pick(x.maker, "Approximate DP", "pure DP", "zCDP", "")
	}
	x.privacy = map[string]any{"dp_flavor": map[string]any{"name": flavor}, "privacy_loss": map[string]any{"privacy_unit": "User-level", "neighboring_relation": pick(x.maker, "unbounded", "bounded"), "privacy_parameters": parameters},
		"mechanisms": mechanisms, "sensitivity": map[string]any{"claimedBy": x.signer()}, "sampler": map[string]any{"name": "OpenDP 0.16.0", "claimedBy": x.signer()}, "budget": budget}
	return x.privacy
}

// epsilon returns the smallest ε of ρ, or one near it.
func (x *exportMaker) epsilon(delta, rho string) string {
	d, err := export.ParseDecimal(delta)
	r, err2 := export.ParseDecimal(rho)
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(9), nil)
	if err != nil || err2 != nil || !strings.HasPrefix(delta, "0.") || strings.Trim(delta, "0.") == "" || len(rho) > 12 {
		return "10"
	}
	n, ok := new(big.Int).SetString(scaled(export.SmallestEpsilon(d, r, 9).String(), 9), 10)
	if !ok {
		return "10"
	}
	n.Add(n, big.NewInt(int64(pick(x.maker, 0, 0, 0, 0, 1, 1000, -1))))
	whole, rest := new(big.Int).QuoRem(n, unit, new(big.Int))
	return fmt.Sprintf("%s.%09d", whole, rest)
}

// scaled returns the digits of a decimal without its point.
func scaled(s string, digits int) string {
	whole, fraction, _ := strings.Cut(s, ".")
	return whole + fraction + strings.Repeat("0", digits-len(fraction))
}

// makeLog makes the entries before and after the manifest.
func (x *exportMaker) makeLog() {
	other := func(kind string) *logged {
		return &logged{kind: kind, mediaType: "application/json", payload: []byte("{}"), state: bundle.Omitted}
	}
	for range 1 + x.IntN(4) {
		e := other(kindname.Attestation)
		switch x.IntN(5) {
		case 0:
			e.tenant = 1
		case 1, 2:
			if x.privacy != nil {
				e = other(kindname.ExportManifest)
				e.predicateType, e.attributes = export.PredicateType, x.attributes(x.number("0.01", "1.25", "0.25"))
			}
		case 3:
			e = other(kindname.ExportManifest)
			e.attributes = map[string]any{"name": "old", "budget": "b-2026", "epsilon": "100"}
		}
		if x.one(60) {
			e.kind, e.predicateType = kindname.Attestation, export.PredicateType
		}
		if x.one(60) {
			e.headerErased, e.state = true, bundle.Erased
		}
		x.entries = append(x.entries, e)
	}
	x.own = x.IntN(len(x.entries) + 1)
	own := other(kindname.ExportManifest)
	own.predicateType = export.PredicateType
	if x.privacy != nil {
		own.attributes = x.attributes(x.amount)
	}
	if x.one(40) {
		own.kind = kindname.Attestation
	}
	if x.one(40) {
		own.predicateType = ""
	}
	x.entries = slices.Insert(x.entries, x.own, own)
}

// attributes returns those of a spend of the amount.
func (x *exportMaker) attributes(amount string) map[string]any {
	loss := x.privacy["privacy_loss"].(map[string]any)
	parameters := loss["privacy_parameters"].(map[string]any)
	a := map[string]any{"name": x.id, "budget": "b-2026", "flavor": x.flavor, "privacyUnit": loss["privacy_unit"], "neighboringRelation": loss["neighboring_relation"]}
	for _, name := range []string{"epsilon", "delta", "rho"} {
		if v, ok := parameters[name]; ok {
			a[name] = v
		}
	}
	a[map[string]string{export.PureDP: "epsilon", export.ZCDP: "rho"}[x.flavor]] = amount
	for name, v := range a {
		if v == "" {
			delete(a, name) // attributes are not empty
		}
	}
	if x.one(40) {
		a[pick(x.maker, "budget", "flavor", "privacyUnit", "neighboringRelation", "epsilon", "delta", "rho")] = pick(x.maker, "other", export.PureDP, "0.5", "1e3", "bounded")
	}
	return a
}

// sign makes the file of the manifest.
func (x *exportMaker) sign(statement []byte) []byte {
	payloadType := intoto.MediaType
	if x.one(80) {
		payloadType = pick(x.maker, "application/json", strings.ToUpper(intoto.MediaType), "", "text/plain")
	}
	message := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(statement), statement)
	var signatures []any
	for _, s := range x.by {
		sig := s.sign(message)
		if x.one(60) {
			sig = x.bytes(sig)
		}
		one := map[string]any{"sig": base64.StdEncoding.EncodeToString(sig)}
		if x.one(2) {
			one["keyid"] = pick(x.maker, s.id, "", "other")
		}
		signatures = append(signatures, one)
	}
	if x.one(60) {
		signatures = append([]any{map[string]any{"sig": pick[any](x.maker, "AAAA", "", "A===", "AAA=AAAA", nil, "AB==")}}, signatures...)
	}
	if x.one(200) {
		for len(signatures) < 64+x.IntN(2) {
			signatures = append(signatures, map[string]any{"sig": "AAAA"})
		}
	}
	if x.one(100) {
		statement = x.bytes(statement)
	}
	envelope := map[string]any{"payloadType": payloadType, "payload": base64.StdEncoding.EncodeToString(statement), "signatures": signatures}
	if x.one(60) {
		x.document(envelope, 1)
	}
	file := envelope
	if !x.one(3) {
		file = map[string]any{"mediaType": shape.BundleMediaType + ".v0.3+json", "verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": ""}}, "dsseEnvelope": envelope}
		if x.one(40) {
			x.document(file, 1)
		}
	}
	text := encode(file)
	if x.one(40) {
		text = x.text(text)
	}
	return text
}

// inputs gives the input its other files.
func (x *exportMaker) inputs(in *exported) {
	for _, s := range x.by {
		if !x.one(20) {
			in.Keys = append(in.Keys, s.pem)
		}
	}
	if x.one(4) || len(in.Keys) == 0 && !x.one(20) {
		in.Keys = append(in.Keys, x.w.signers[x.IntN(signatories)].pem)
	}
	if x.one(30) {
		in.Keys = append(in.Keys, x.publicKey())
	}
	if x.one(2) {
		in.Files = x.folder()
	}
	in.Policies = [][]byte{}
	if !x.one(3) {
		x.recorded(in)
	}
	if x.one(3) {
		in.Requirements = new(x.requirements())
	}
	if x.one(4) {
		in.Expect = &exportExpect{Tenant: new(x.w.tenants[0]), Export: new(x.id)}
	}
	switch {
	case x.one(30):
		in.Expect = &exportExpect{Tenant: new(pick(x.maker, x.w.tenants[1], "", "ACME"))}
	case x.one(30):
		in.Expect = &exportExpect{Export: new(pick(x.maker, "e-2", "E-1", ""))}
	}
}

// folder makes the folder of the export.
func (x *exportMaker) folder() map[string][]byte {
	files := map[string][]byte{}
	for name, content := range x.files {
		files[name] = append([]byte{}, content...)
	}
	if !x.one(8) {
		return files
	}
	switch x.IntN(4) {
	case 0:
		delete(files, pick(x.maker, "a.csv", "b/c.json", "empty"))
	case 1:
		files[pick(x.maker, "d", "b/d", "A.csv", "empty.txt")] = []byte{}
	case 2:
		files["a.csv"] = x.bytes(files["a.csv"])
	case 3:
		files["empty"] = []byte("x")
	}
	return files
}

// recorded gives the input the receipt of the manifest, and perhaps the stream.
func (x *exportMaker) recorded(in *exported) {
	x.entries[x.own].payload = in.Manifest
	l := x.log(x.entries)
	text := x.loggedReceipt(l, x.own, pickForm(x.maker))
	in.Receipt = &text
	in.Policies = x.somePolicies(x.w.logs[0], false)
	if x.one(3) {
		return
	}
	s := selection{digest: subjectDigest()}
	in.StreamKey = x.streamKeyFile(0)
	if in.StreamKey == nil && !x.one(8) {
		in.StreamKey = new(x.w.streams[0].File())
	}
	in.Stream = new(x.bundle(l, s))
	if x.one(60) {
		in.Receipt = nil
	}
}

// requirements makes the text of requirements.
func (x *exportMaker) requirements() []byte {
	r := map[string]any{}
	if x.one(2) {
		r["licenses"] = []any{"MIT", "Apache-2.0", "CC0-1.0", "LicenseRef-own", "GPL-2.0-only"}
		if x.one(2) {
			r["licenses"] = append(r["licenses"].([]any), "Apache-2.0 WITH LLVM-exception")
		}
		if x.one(30) {
			r["licenses"] = append(r["licenses"].([]any), pick[any](x.maker, "MIT OR MIT", "(MIT)", "mit", "", nil, 1, "MIT ", "Apache-2.0  WITH LLVM-exception", "LicenseRef-", "GPL-2.0+"))
		}
	}
	if x.one(3) {
		r["residency"] = x.use()
	}
	if x.one(3) {
		e := map[string]any{"epsilon": x.number("30", "30", "5", "100"), "delta": x.number("0.000001", "0.5", "0.000001")}
		if x.one(2) {
			e["budget"] = pick(x.maker, "b-2026", "b-2026", "b-2026", "other", "", "not a name")
		}
		r["epsilon"] = e
	}
	if x.one(30) {
		x.document(r, 1)
	}
	text := encode(r)
	if x.one(40) {
		text = x.text(text)
	}
	return text
}

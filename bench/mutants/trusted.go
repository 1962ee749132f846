package main

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"

	"muniment.dev/muniment/internal/pemfile"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/sigstore"
)

// trusted is an input of the kind trust-policy, public-key or trusted-root: a
// file of the caller.
type trusted struct {
	ID   int    `json:"id"`
	Kind string `json:"kind"`
	File []byte `json:"file"`
}

// trusted makes an input of one of the three kinds.
func (m *maker) trusted() *trusted {
	switch m.IntN(3) {
	case 0:
		return &trusted{Kind: kindPolicy, File: m.trustPolicy()}
	case 1:
		return &trusted{Kind: kindKey, File: m.publicKey()}
	default:
		return &trusted{Kind: kindRoot, File: m.trustedRoot()}
	}
}

// trustPolicy makes a policy with a fault or two.
func (m *maker) trustPolicy() []byte {
	text := []byte(m.w.policy(pick(m, m.w.logs...), m.one(3), m.IntN(6)))
	for range m.IntN(3) {
		if m.one(3) {
			text = []byte(strings.Replace(string(text), m.w.witnesses[0].edKey, m.verifierKey(), 1))
		} else {
			text = m.policyText(text)
		}
	}
	return text
}

// verifierKey makes a witness's key in the format of signed-note, whose hash is
// right most of the time.
func (m *maker) verifierKey() string {
	name := pick(m, "w0.example", "w1.example", "log.example", "", "a\u00a0b", "a\u2028", "\xff", "w\u00fcrde", "a/b", strings.Repeat("n", 256))
	size := pick(m, 32, 32, 32, 31, 33, 1312, 0)
	public := slices.Repeat([]byte{pick(m, byte(0), 1, 0xff, 0x20)}, size)
	key, _ := verifierKey(name, pick(m, byte(algCosignatureV1), algCosignatureV1, algEd25519, algMLDSA44, 0, 2, 0xff), public)
	switch m.IntN(8) {
	case 0:
		key = strings.ToUpper(key[:len(key)-len(key)/2]) + key[len(key)-len(key)/2:]
	case 1:
		key = strings.TrimRight(key, "=")
	case 2:
		key = strings.Replace(key, "+", pick(m, "", "++", "+0", " +"), 1)
	case 3:
		key += pick(m, "=", "A", "AAAA", "\x0b", "\u00a0")
	}
	return key
}

// publicKey makes the file of a public key: one of the vectors, or with changed
// bytes of its DER or text.
func (m *maker) publicKey() []byte {
	v := m.w.sigstore
	text := m.w.keys[m.IntN(len(m.w.keys))]
	if m.one(2) {
		text = []byte(v.Keys[pick(m, slices.Sorted(maps.Keys(v.Keys))...)])
	}
	if der, err := pemfile.SubjectPublicKeyInfo(text); err == nil && m.one(2) {
		if m.one(2) && len(der) > 8 { // the structure, not the key
			head := m.bytes(der[:min(40, len(der))])
			der = append(head, der[min(40, len(der)):]...)
		} else {
			der = m.bytes(der)
		}
		text = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	if m.one(3) {
		text = m.lines(text)
	}
	return append([]byte{}, text...)
}

// trustedRoot makes a trusted root with a fault or two.
func (m *maker) trustedRoot() []byte {
	v := m.w.sigstore
	text := []byte(v.TrustedRoots[pick(m, slices.Sorted(maps.Keys(v.TrustedRoots))...)])
	if m.one(8) {
		text = sigstore.PublicGoodJSON()
	}
	if !isObject(text) {
		return text
	}
	d := unmarshal(text)
	for range 1 + m.IntN(2) {
		switch m.IntN(6) {
		case 0:
			m.document(d, 1)
		case 1:
			m.rootTime(d)
		case 2:
			m.rootLog(d)
		case 3:
			m.rootList(d)
		default:
			m.leaf(d)
		}
	}
	text = encode(d)
	if m.one(8) {
		text = m.text(text)
	}
	return text
}

// object returns an element of one of the lists of a root, nil if there is
// none.
func (m *maker) object(root map[string]any, lists ...string) map[string]any {
	list, _ := root[pick(m, lists...)].([]any)
	if len(list) == 0 {
		return nil
	}
	o, _ := list[m.IntN(len(list))].(map[string]any)
	return o
}

func (m *maker) rootTime(root map[string]any) {
	o := m.object(root, "tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities")
	if key, ok := o["publicKey"].(map[string]any); ok {
		o = key
	}
	if o == nil {
		return
	}
	time := pick[any](m, "2026-01-02T03:04:05Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.9Z", "1970-01-01T00:00:00.0009Z", "2026-02-29T00:00:00Z", "2024-02-29T00:00:00Z", "2026-01-02T24:00:00Z", "2026-01-02T23:59:60Z", "2026-06-30T23:59:60Z", "2026-01-02T03:04:05.Z", "2026-01-02T03:04:05.1234567890Z", "2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05z", "2026-01-02t03:04:05Z", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05,5Z", "\u0662026-01-02T03:04:05Z", " 2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z\n", "2026-1-2T03:04:05Z", "-2026-01-02T03:04:05Z", "12026-01-02T03:04:05Z", "2026-00-02T03:04:05Z", "2026-01-00T03:04:05Z", "", 1767322800, nil)
	o["validFor"] = pick[any](m, map[string]any{"start": time}, map[string]any{"start": "2025-01-01T00:00:00Z", "end": time}, map[string]any{"start": time, "end": "2020-01-01T00:00:00Z"}, map[string]any{"start": time, "x": nil}, map[string]any{}, nil, time)
}

func (m *maker) rootLog(root map[string]any) {
	o := m.object(root, "tlogs", "ctlogs")
	key, ok := o["publicKey"].(map[string]any)
	if !ok {
		return
	}
	switch m.IntN(5) {
	case 0:
		o["baseUrl"] = pick[any](m, m.url(), m.url(), nil, 1, "", "x")
	case 1:
		o["hashAlgorithm"] = pick[any](m, "SHA2_256", "SHA2_384", "SHA2_512", "HASH_ALGORITHM_UNSPECIFIED", "sha2_256", 1, "1", 12, nil, "")
	case 2:
		key["keyDetails"] = pick[any](m, "PKIX_ECDSA_P256_SHA_256", "PKIX_ECDSA_P384_SHA_384", "PKIX_ECDSA_P521_SHA_512", "PKIX_ED25519", "PKIX_ED25519_PH", "PKIX_RSA_PKCS1V15_2048_SHA256", "PKIX_RSA_PKCS1V15_3072_SHA256", "PKIX_RSA_PKCS1V15_4096_SHA256", "PKCS1_RSA_PKCS1V5", "PKIX_RSA_PKCS1V5", "PKIX_RSA_PSS_2048_SHA256", "PKIX_ECDSA_P256_HMAC_SHA_256", "ML_DSA_65", 5, "5", nil, "pkix_ed25519", "toString")
	case 3:
		if der, err := pemfile.SubjectPublicKeyInfo(m.publicKey()); err == nil {
			key["keyDetails"] = pick(m, "PKIX_ECDSA_P256_SHA_256", "PKIX_ECDSA_P384_SHA_384", "PKIX_ED25519", "PKIX_RSA_PKCS1V15_2048_SHA256", "PKIX_RSA_PKCS1V15_4096_SHA256")
			if len(der) > 60 && m.one(2) {
				key["keyDetails"], der = "PKCS1_RSA_PKCS1V5", der[24:]
			}
			key["rawBytes"] = base64.StdEncoding.EncodeToString(der)
		}
	case 4:
		id := pick[any](m, "AAAA", "", nil, "AA", "AB==", base64.StdEncoding.EncodeToString(make([]byte, 32)), base64.StdEncoding.EncodeToString(make([]byte, 31)), 1)
		o[pick(m, "logId", "checkpointKeyId")] = pick[any](m, map[string]any{"keyId": id}, map[string]any{}, nil, id, map[string]any{"keyId": id, "x": 1})
	}
}

// rootList changes the lists of a root, or a chain of certificates.
func (m *maker) rootList(root map[string]any) {
	name := pick(m, "tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities")
	list, _ := root[name].([]any)
	switch {
	case m.one(3) && len(list) > 0:
		root[name] = append(slices.Clone(list), list[0])
	case m.one(3):
		root[name] = pick[any](m, []any{}, nil, map[string]any{}, []any{nil}, []any{[]any{}})
	default:
		chain, _ := m.object(root, "certificateAuthorities", "timestampAuthorities")["certChain"].(map[string]any)
		all, _ := chain["certificates"].([]any)
		if len(all) == 0 {
			return
		}
		c := all[m.IntN(len(all))]
		chain["certificates"] = pick(m, []any{c}, append(slices.Clone(all), c), slices.Repeat([]any{c}, 16), slices.Repeat([]any{c}, 17), []any{})
	}
}

func (in *trusted) verdict() string {
	switch in.Kind {
	case kindPolicy:
		p, err := receipt.ParseTrustPolicy("0", in.File)
		if err != nil {
			return judged(string(receipt.PolicyMalformed), false)
		}
		return verifiedAs(map[string]any{"origin": p.Origin(), "witnessed": p.RequiresWitness(), "keys": p.Keys()})
	case kindKey:
		k, err := sigstore.ParsePublicKey("", in.File)
		if err != nil {
			return judged("key-malformed", false)
		}
		return verifiedAs(map[string]any{"keyId": k.ID})
	}
	if err := sigstore.CheckTrustedRoot(in.File); err != nil {
		return judged("trusted-root-malformed", false)
	}
	root, err := sigstore.ParseTrustedRoot(in.File)
	if err != nil {
		panic(err) // impossible: it was checked
	}
	return verifiedAs(describe(root.Describe()))
}

// describe returns the parts of a trusted root that decide about bundles.
func describe(d sigstore.Description) map[string]any {
	milliseconds := func(v sigstore.Validity) string {
		text := [2]string{"-", "-"}
		if v.Start != nil {
			text[0] = fmt.Sprint(v.Start.UnixMilli())
		}
		if v.End != nil {
			text[1] = fmt.Sprint(v.End.UnixMilli())
		}
		return text[0] + " " + text[1]
	}
	logs := func(list []sigstore.Log) []string {
		all := []string{}
		for _, l := range list {
			all = append(all, l.KeyID+" "+milliseconds(l.Validity))
		}
		slices.Sort(all)
		return all
	}
	authorities := func(list []sigstore.Authority) []string {
		all := []string{}
		for _, a := range list {
			all = append(all, fmt.Sprint(a.Chain, " ", milliseconds(a.Validity)))
		}
		return all
	}
	return map[string]any{"logs": logs(d.TransparencyLogs), "certificateLogs": logs(d.CertificateLogs), "certificateAuthorities": authorities(d.CertificateAuthorities), "timestampAuthorities": authorities(d.TimestampAuthorities)}
}

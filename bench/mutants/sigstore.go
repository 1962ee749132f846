package main

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// signed is an input of the kind sigstore-bundle.
type signed struct {
	ID             int            `json:"id"`
	Kind           string         `json:"kind"`
	Bundle         []byte         `json:"bundle"`
	Roots          [][]byte       `json:"roots"`
	Identities     []certIdentity `json:"identities"`
	Keys           [][]byte       `json:"keys"`
	Artifact       *[]byte        `json:"artifact,omitempty"`
	ArtifactDigest string         `json:"artifactDigest,omitempty"` // hexadecimal
}

type certIdentity struct {
	Name   string `json:"name"`
	Issuer string `json:"issuer"`
}

// sigstoreVectors are the vectors that mutants of Sigstore bundles are made
// from. Certificates and log entries cannot be made here.
type sigstoreVectors struct {
	TrustedRoots map[string]json.RawMessage
	Keys         map[string]string
	Artifacts    map[string][]byte
	Cases        []*sigstoreCase
}

type sigstoreCase struct {
	Name           string
	BundleBase64   []byte
	TrustedRoots   []string
	Identities     []certIdentity
	Keys           []string
	Artifact       string
	ArtifactDigest string
	Verdict        string
}

// isObject reports whether a text is a JSON object that can be changed: some
// vectors are not.
func isObject(text []byte) bool {
	var o map[string]any
	return len(text) < 1<<16 && json.Unmarshal(text, &o) == nil && o != nil
}

// sigstore makes an input of the kind sigstore-bundle.
func (m *maker) sigstore() *signed {
	v := m.w.sigstore
	c := v.Cases[m.IntN(len(v.Cases))]
	for c.Verdict != "verified" && !m.one(8) {
		c = v.Cases[m.IntN(len(v.Cases))]
	}
	in := &signed{Kind: kindSigstore, Bundle: c.BundleBase64, Roots: [][]byte{}, Identities: append([]certIdentity{}, c.Identities...), Keys: [][]byte{}, ArtifactDigest: c.ArtifactDigest}
	if c.Artifact != "" {
		in.Artifact = new(append([]byte{}, v.Artifacts[c.Artifact]...))
	}
	for _, name := range c.TrustedRoots {
		in.Roots = append(in.Roots, m.root(v, name))
	}
	for _, name := range c.Keys {
		in.Keys = append(in.Keys, []byte(v.Keys[name]))
	}
	if !m.one(6) {
		in.Bundle = m.changedBundle(v, c)
	}
	m.sigstoreInputs(v, in)
	return in
}

// changedBundle changes members of a bundle, or its text.
func (m *maker) changedBundle(v *sigstoreVectors, c *sigstoreCase) []byte {
	d := unmarshal(c.BundleBase64)
	switch {
	case m.one(6): // parts of another bundle
		other := unmarshal(v.Cases[m.IntN(len(v.Cases))].BundleBase64)
		for _, name := range []string{"verificationMaterial", "messageSignature", "dsseEnvelope", "mediaType"} {
			if part, ok := other[name]; ok && m.one(2) {
				d[name] = part
			}
		}
		mine, ok := d["verificationMaterial"].(map[string]any)
		theirs, ok2 := other["verificationMaterial"].(map[string]any)
		if ok && ok2 {
			for _, name := range slices.Sorted(maps.Keys(theirs)) {
				if m.one(3) {
					mine[name] = theirs[name]
				}
			}
		}
	case m.one(8):
		m.document(d, 1)
	default:
		m.leaf(d)
	}
	text := encode(d)
	if m.one(12) {
		text = m.text(text)
	}
	return text
}

// leaf changes a string, number, boolean or array somewhere in a document.
func (m *maker) leaf(document map[string]any) {
	var changes []func()
	var visit func(v any, set func(any))
	visit = func(v any, set func(any)) {
		switch v := v.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				visit(v[name], func(changed any) { v[name] = changed })
			}
		case []any:
			changes = append(changes, func() { set(pick[any](m, []any{}, append(slices.Clone(v), v...), nil)) })
			for i := range v {
				visit(v[i], func(changed any) { v[i] = changed })
			}
		default:
			changes = append(changes, func() { set(m.changedLeaf(v)) })
		}
	}
	visit(document, nil)
	if len(changes) > 0 {
		changes[m.IntN(len(changes))]()
	}
}

func (m *maker) changedLeaf(v any) any {
	s, ok := v.(string)
	if !ok || m.one(12) {
		return m.value()
	}
	if b, err := base64.StdEncoding.DecodeString(s); err == nil && len(b) > 2 && !m.one(6) {
		return base64.StdEncoding.EncodeToString(m.bytes(b))
	}
	return string([]rune(strings.ToValidUTF8(string(m.bytes([]byte(s))), "?")))
}

// root returns a trusted root, with a fault sometimes.
func (m *maker) root(v *sigstoreVectors, name string) []byte {
	if m.one(15) {
		name = pick(m, slices.Sorted(maps.Keys(v.TrustedRoots))...)
	}
	text := []byte(v.TrustedRoots[name])
	if m.one(12) {
		if isObject(text) {
			d := unmarshal(text)
			if m.one(4) {
				m.document(d, 1)
			} else {
				m.leaf(d)
			}
			text = encode(d)
		}
		if m.one(6) {
			text = m.text(text)
		}
	}
	return text
}

// sigstoreInputs changes the other inputs.
func (m *maker) sigstoreInputs(v *sigstoreVectors, in *signed) {
	names := slices.Sorted(maps.Keys(v.Keys))
	switch {
	case m.one(20):
		in.Identities = append(in.Identities, certIdentity{pick(m, "ci@acme.example", "", "CI@acme.example", "ci@acme.example "), pick(m, "https://issuer.example", "https://other.example", "")})
	case m.one(20) && len(in.Identities) > 0:
		in.Identities[0].Issuer = pick(m, "https://other.example", "https://issuer.example/", "")
	case m.one(20):
		in.Identities = []certIdentity{}
	case m.one(20):
		in.Keys = append([][]byte{[]byte(v.Keys[pick(m, names...)])}, in.Keys...)
	case m.one(20) && len(in.Keys) > 0:
		in.Keys[0] = m.bytes(in.Keys[0])
	case m.one(20):
		in.Roots = append(in.Roots, m.root(v, "other"))
	case m.one(40):
		in.Roots = [][]byte{}
	}
	switch {
	case m.one(12) && in.Artifact != nil:
		in.Artifact = new(m.bytes(*in.Artifact))
	case m.one(12):
		in.Artifact, in.ArtifactDigest = nil, ""
	case m.one(20) && in.Artifact != nil:
		in.Artifact, in.ArtifactDigest = nil, subjectDigest()
	}
}

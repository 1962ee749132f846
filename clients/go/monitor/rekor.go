package monitor

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// A leaf of a Rekor v2 log is the canonical JSON of one of its entry types
// (https://github.com/sigstore/rekor-tiles). The monitor reads the signers
// and the signed artifacts.
type rekorLeaf struct {
	Kind string `json:"kind"`
	Spec struct {
		HashedRekord *struct {
			Data struct {
				Algorithm string `json:"algorithm"`
				Digest    []byte `json:"digest"`
			} `json:"data"`
			Signature struct {
				Verifier rekorVerifier `json:"verifier"`
			} `json:"signature"`
		} `json:"hashedRekordV002"`
		DSSE *struct {
			PayloadHash struct {
				Algorithm string `json:"algorithm"`
				Digest    []byte `json:"digest"`
			} `json:"payloadHash"`
			Signatures []struct {
				Verifier rekorVerifier `json:"verifier"`
			} `json:"signatures"`
		} `json:"dsseV002"`
	} `json:"spec"`
}

type rekorVerifier struct {
	Certificate *struct {
		RawBytes []byte `json:"rawBytes"`
	} `json:"x509Certificate"`
	PublicKey *struct {
		RawBytes []byte `json:"rawBytes"`
	} `json:"publicKey"`
}

// rekorEntry reads a leaf. A log can accept arbitrary data, so a leaf that
// cannot be read is an entry without identities.
func rekorEntry(index uint64, data []byte) Entry {
	e := Entry{Index: index, What: "a leaf in another format"}
	var leaf rekorLeaf
	if json.Unmarshal(data, &leaf) != nil {
		return e
	}
	digest := func(algorithm string, d []byte) {
		name := strings.ToLower(strings.ReplaceAll(algorithm, "_", ""))
		name = strings.Replace(name, "sha2", "sha", 1) // SHA2_256 is sha256 elsewhere
		if strings.HasPrefix(algorithm, "SHA3") {
			name = strings.ToLower(strings.ReplaceAll(algorithm, "_", "-"))
		}
		e.Subjects = append(e.Subjects, name+":"+hex.EncodeToString(d))
	}
	switch {
	case leaf.Spec.HashedRekord != nil:
		digest(leaf.Spec.HashedRekord.Data.Algorithm, leaf.Spec.HashedRekord.Data.Digest)
		e.Identities = leaf.Spec.HashedRekord.Signature.Verifier.identities()
	case leaf.Spec.DSSE != nil:
		digest(leaf.Spec.DSSE.PayloadHash.Algorithm, leaf.Spec.DSSE.PayloadHash.Digest)
		for _, s := range leaf.Spec.DSSE.Signatures[:min(64, len(leaf.Spec.DSSE.Signatures))] {
			e.Identities = append(e.Identities, s.Verifier.identities()...)
		}
	default:
		return e
	}
	e.What = fmt.Sprintf("%q by %q, about %q", leaf.Kind, e.Identities, e.Subjects)
	return e
}

var oidOtherName = asn1.ObjectIdentifier{2, 5, 29, 17}

// identities returns the names of a certificate, or sha256: and the hash of a
// public key.
func (v *rekorVerifier) identities() []string {
	if v.Certificate == nil {
		if v.PublicKey == nil {
			return nil
		}
		h := sha256.Sum256(v.PublicKey.RawBytes)
		return []string{"sha256:" + hex.EncodeToString(h[:]), "SHA256:" + base64.RawStdEncoding.EncodeToString(h[:])}
	}
	cert, err := x509.ParseCertificate(v.Certificate.RawBytes)
	if err != nil {
		return nil
	}
	out := slices.Concat(cert.EmailAddresses, cert.DNSNames)
	for _, u := range cert.URIs {
		out = append(out, u.String())
	}
	for _, ext := range cert.Extensions { // Fulcio encodes user names as otherName
		if ext.Id.Equal(oidOtherName) {
			out = append(out, otherNames(ext.Value)...)
		}
	}
	return out
}

func otherNames(san []byte) (out []string) {
	var seq asn1.RawValue
	if _, err := asn1.Unmarshal(san, &seq); err != nil {
		return nil
	}
	for rest := seq.Bytes; len(rest) > 0; {
		var name asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &name); err != nil {
			return out
		}
		if name.Class != asn1.ClassContextSpecific || name.Tag != 0 {
			continue
		}
		var id asn1.ObjectIdentifier
		var value struct {
			Text string `asn1:"utf8"`
		}
		after, err := asn1.Unmarshal(name.Bytes, &id)
		if err != nil {
			continue
		}
		var wrapped asn1.RawValue
		if _, err := asn1.Unmarshal(after, &wrapped); err != nil {
			continue
		}
		if _, err := asn1.UnmarshalWithParams(wrapped.Bytes, &value.Text, "utf8"); err == nil {
			out = append(out, value.Text)
		}
	}
	return out
}

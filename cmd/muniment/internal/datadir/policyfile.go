package datadir

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/pemfile"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/sigstore"
)

// ParsePolicy parses a trust policy. The error for a secret that was given in
// its place names the kind of secret, and contains no part of it.
func ParsePolicy(path string, text []byte) (*receipt.TrustPolicy, error) {
	if kind := SecretKind(text); kind != "" {
		return nil, fmt.Errorf("policy %s: it is %s: give the file with the log's public keys", path, kind)
	}
	p, err := receipt.ParseTrustPolicy(path, text)
	if err != nil && bytes.Contains(text, []byte("\nrules:")) {
		return nil, fmt.Errorf("policy %s: it is an admission policy: specify a trust policy, which contains the log's public keys", path)
	}
	if err != nil && quotes(err.Error(), path, text) {
		return nil, fmt.Errorf("policy %s: not a policy: see https://c2sp.org/tlog-policy", path)
	}
	return p, err
}

// SecretKind returns the kind of secret that the text is, such as "a token", or
// "".
func SecretKind(text []byte) string {
	word := bytes.TrimSpace(text)
	switch {
	case bytes.Contains(text, []byte("PRIVATE+KEY+")), bytes.Contains(text, []byte("PRIVATE KEY-----")), bytes.Contains(text, []byte("AGE-SECRET-KEY-")):
		return "a private key"
	case bytes.HasPrefix(word, []byte(muniment.TokenPrefix)):
		return "a token"
	case bytes.HasPrefix(word, []byte(OperatorPrefix)):
		return "an operator's token"
	}
	if raw, err := hex.DecodeString(string(word)); err == nil && len(raw) == entry.HashSize {
		return "a stream key"
	}
	return ""
}

// quotes reports whether a message contains a word of the text that is long
// enough to be a secret.
func quotes(message, path string, text []byte) bool {
	message = strings.ReplaceAll(message, path, "")
	for word := range strings.FieldsSeq(string(text)) {
		if len(word) >= 20 && strings.Contains(message, word) {
			return true
		}
	}
	return false
}

// ReadCertificates reads a file of PEM certificates.
func ReadCertificates(path string) (*x509.CertPool, error) {
	data, err := bounded.ReadFile(path, bounded.Config)
	if err != nil {
		return nil, err
	}
	pool, err := pemfile.Pool(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return pool, nil
}

// LoadPolicies reads the policy files of the flag --policy.
func LoadPolicies(paths []string) ([]*receipt.TrustPolicy, error) {
	var out []*receipt.TrustPolicy
	for _, path := range paths {
		data, err := bounded.ReadFile(path, bounded.Config)
		if err != nil {
			return nil, fmt.Errorf("--policy: %w", err)
		}
		p, err := ParsePolicy(path, data)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// OptionalPolicy reads the files of the flags --policy and --stream-key. An
// empty path gives nil.
func OptionalPolicy(policy, streamKey string) (*receipt.TrustPolicy, *entry.StreamKey, error) {
	var p *receipt.TrustPolicy
	var k *entry.StreamKey
	if policy != "" {
		all, err := LoadPolicies([]string{policy})
		if err != nil {
			return nil, nil, err
		}
		p = all[0]
	}
	if streamKey != "" {
		var err error
		if k, err = ReadStreamKey(streamKey); err != nil {
			return nil, nil, fmt.Errorf("--stream-key: %w", err)
		}
	}
	return p, k, nil
}

// ReadPolicyFile reads a trust policy.
func ReadPolicyFile(path string) (*receipt.TrustPolicy, error) {
	text, err := bounded.ReadFile(path, bounded.Config)
	if err != nil {
		return nil, err
	}
	return ParsePolicy(path, text)
}

// ReadPublicKey reads the public key of a signer, as every verifier does
// (docs/spec/sigstore-verification.md, section 4). Its name is the path.
func ReadPublicKey(path string) (*dsse.Key, error) {
	text, err := bounded.ReadFile(path, sigstore.MaxKeySize)
	if err != nil {
		return nil, err
	}
	key, err := sigstore.ParsePublicKey(path, text)
	if err != nil {
		return nil, fmt.Errorf("public key %s: %w", path, err)
	}
	return key, nil
}

// ReadTrustedRoot reads a Sigstore trusted root.
func ReadTrustedRoot(path string) (*sigstore.TrustedRoot, error) {
	data, err := bounded.ReadFile(path, sigstore.MaxTrustedRootSize)
	if err != nil {
		return nil, err
	}
	return sigstore.ParseTrustedRoot(data)
}

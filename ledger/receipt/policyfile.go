package receipt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"filippo.io/torchwood"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/internal/charset"
	"muniment.dev/muniment/ledger/entry/strictjson"
)

// MaxTrustPolicySize is the largest policy, in bytes.
const MaxTrustPolicySize = 1 << 20

// ParseTrustPolicy reads a policy as specified in docs/spec/receipt.md, section
// 3. The name is for messages and reports. The error is an *Error with the code
// PolicyMalformed. It states the line and the rule, and never contains text of
// the file, which could be a private key by mistake.
func ParseTrustPolicy(name string, text []byte) (*TrustPolicy, error) {
	p, err := parsePolicy(text)
	if err == nil {
		p.Name, p.text = name, string(text)
		return p, nil
	}
	if bytes.Contains(text, []byte("PRIVATE KEY")) || bytes.Contains(text, []byte("PRIVATE+KEY")) {
		return nil, fail(PolicyMalformed, "policy %s: this is a private key, not a policy", name)
	}
	if cause := charset.Explain(text); cause != "" {
		return nil, fail(PolicyMalformed, "policy %s: %s", name, cause)
	}
	return nil, fail(PolicyMalformed, "policy %s: %w", name, err)
}

func parsePolicy(text []byte) (*TrustPolicy, error) {
	if len(text) > MaxTrustPolicySize {
		return nil, fmt.Errorf("%d bytes, more than %d", len(text), MaxTrustPolicySize)
	}
	r := policyReader{components: map[string]*component{}, member: map[string]bool{}, public: map[string]bool{}, ids: map[keyID]bool{}}
	for i, line := range strings.Split(string(text), "\n") {
		if err := r.line(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return r.finish()
}

// A policyReader collects the lines of one policy.
type policyReader struct {
	policy     TrustPolicy
	hasLog     bool
	hasQuorum  bool
	components map[string]*component // witnesses and groups by name
	member     map[string]bool       // names of members of groups
	public     map[string]bool       // the bytes of all keys
	ids        map[keyID]bool        // the names and hashes of all keys
}

// keywords maps each keyword to the number of items that may follow it, and to
// the method that adds its line.
var keywords = map[string]struct {
	least, most int
	add         func(r *policyReader, items []string) error
}{
	"log":     {1, 2, (*policyReader).addLog},
	"witness": {2, 3, (*policyReader).addWitness},
	"group":   {3, math.MaxInt, (*policyReader).addGroup},
	"quorum":  {1, 1, (*policyReader).setQuorum},
}

func (r *policyReader) line(line string) error {
	for _, c := range []byte(line) {
		switch {
		case c == '\r':
			return errors.New("a carriage return: save the file with plain line feeds")
		case c < ' ' && c != '\t' || c == 0x7f:
			return errors.New("a control character")
		}
	}
	items := strings.FieldsFunc(line, func(c rune) bool { return c == ' ' || c == '\t' })
	if len(items) == 0 || items[0][0] == '#' {
		return nil
	}
	k, ok := keywords[items[0]]
	switch n := len(items) - 1; {
	case !ok:
		return errors.New("unknown keyword: see https://c2sp.org/tlog-policy")
	case n < k.least || n > k.most:
		return fmt.Errorf("%s: wrong number of items: see https://c2sp.org/tlog-policy", items[0])
	}
	return k.add(r, items[1:])
}

func (r *policyReader) addLog(items []string) error {
	if r.hasLog {
		return errors.New("a second log: use one policy file for each log key")
	}
	k, err := r.key(items[0])
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if k.algorithm == algCosignatureV1 {
		return errors.New("log: this is the key of a witness")
	}
	r.hasLog, r.policy.log = true, k
	return nil
}

func (r *policyReader) addWitness(items []string) error {
	if err := r.free(items[0]); err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	k, err := r.key(items[1])
	if err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	if k.algorithm == algEd25519 {
		return errors.New("witness: this is the key of a log")
	}
	p := &r.policy
	r.components[items[0]] = &component{witness: len(p.keys)}
	p.keys = append(p.keys, k)
	p.witnesses = append(p.witnesses, Witness{Name: items[0], URL: strings.Join(items[2:], ""), Key: k.Verifier})
	return nil
}

func (r *policyReader) addGroup(items []string) error {
	if err := r.free(items[0]); err != nil {
		return fmt.Errorf("group: %w", err)
	}
	g := &component{witness: -1}
	for i, name := range items[2:] {
		m, ok := r.components[name]
		if !ok {
			return fmt.Errorf("group: member %d is not defined on an earlier line", i+1)
		}
		if r.member[name] {
			return fmt.Errorf("group: member %d is already in a group", i+1)
		}
		r.member[name] = true
		g.members = append(g.members, m)
	}
	switch threshold := items[1]; threshold {
	case "any":
		g.threshold = 1
	case "all":
		g.threshold = len(g.members)
	default:
		n, err := strictjson.ParseInteger(threshold)
		if err != nil || n < 1 || n > uint64(len(g.members)) {
			return fmt.Errorf("group: the threshold must be any, all or a number from 1 to %d", len(g.members))
		}
		g.threshold = int(n)
	}
	r.components[items[0]] = g
	return nil
}

func (r *policyReader) setQuorum(items []string) error {
	if r.hasQuorum {
		return errors.New("a second quorum")
	}
	r.hasQuorum = true
	if items[0] == "none" {
		return nil
	}
	var ok bool
	if r.policy.quorum, ok = r.components[items[0]]; !ok {
		return errors.New("quorum: not defined on an earlier line")
	}
	return nil
}

// free returns an error if the name is reserved or already defined.
func (r *policyReader) free(name string) error {
	if name == "none" {
		return errors.New("the name \"none\" is reserved")
	}
	if r.components[name] != nil {
		return errors.New("the name is defined on an earlier line")
	}
	return nil
}

// key reads a key and returns an error if an earlier line has the same one.
func (r *policyReader) key(vkey string) (policyKey, error) {
	k, err := parsePolicyKey(vkey)
	if err != nil {
		return k, err
	}
	if r.public[k.public] {
		return k, errors.New("an earlier line has the same key")
	}
	if r.ids[k.id] {
		return k, errors.New("an earlier line has a key with the same name and hash")
	}
	r.public[k.public], r.ids[k.id] = true, true
	return k, nil
}

func (r *policyReader) finish() (*TrustPolicy, error) {
	if !r.hasLog {
		return nil, errors.New("no log line")
	}
	if !r.hasQuorum {
		return nil, errors.New("no quorum line: write \"quorum none\" if no witness is required")
	}
	p := &r.policy
	for i := range p.keys {
		if (p.keys[i].algorithm == algMLDSA44) != p.PostQuantum() {
			return nil, fmt.Errorf("witness %d: its key and the log's are of different families: put ML-DSA-44 keys in a separate policy file", i+1)
		}
	}
	return p, nil
}

// Signature types of C2SP signed-note (https://c2sp.org/signed-note).
const (
	algEd25519       = 1
	algCosignatureV1 = 4
	algMLDSA44       = 6
)

// keySizes contains the sizes of public keys and signatures, in bytes.
var keySizes = map[byte]struct{ public, signature int }{
	algEd25519:       {32, 64},
	algCosignatureV1: {32, 8 + 64},
	algMLDSA44:       {1312, 8 + 2420},
}

// A policyKey is a key of a log or witness with its parts.
type policyKey struct {
	note.Verifier
	id        keyID
	algorithm byte
	public    string // the key's bytes
}

func (k *policyKey) signatureSize() int { return keySizes[k.algorithm].signature }

// parsePolicyKey reads a verifier key strictly. The error contains no part of
// the key.
func parsePolicyKey(vkey string) (policyKey, error) {
	name, rest, _ := strings.Cut(vkey, "+")
	hash, encoded, _ := strings.Cut(rest, "+")
	key, err := strictjson.ParseBase64(encoded)
	if err != nil || len(key) < 2 || !isKeyName(name) {
		return policyKey{}, errors.New("the key must have the form NAME+HASH+KEY")
	}
	k := policyKey{algorithm: key[0], public: string(key[1:])}
	size, ok := keySizes[k.algorithm]
	switch {
	case !ok:
		return policyKey{}, errors.New("not an Ed25519, Ed25519 cosignature or ML-DSA-44 key")
	case len(k.public) != size.public:
		return policyKey{}, fmt.Errorf("the key has %d bytes and must have %d", len(k.public), size.public)
	case k.algorithm == algMLDSA44 && len(name) > 255:
		// The signed message contains the length in one byte.
		return policyKey{}, errors.New("the name of the key is longer than 255 bytes")
	}
	switch k.algorithm {
	case algEd25519:
		k.Verifier, err = note.NewVerifier(vkey)
	case algCosignatureV1:
		var v note.Verifier
		v, err = torchwood.NewCosignatureVerifier(vkey)
		k.Verifier = cosigner{v}
	case algMLDSA44:
		var v note.Verifier
		v, err = fnote.NewMLDSAVerifier(vkey)
		k.Verifier = cosigner{v}
	}
	if err != nil {
		return policyKey{}, errors.New("the hash does not match the name and key")
	}
	k.id = keyID{name, k.KeyHash()}
	if hash != strconv.FormatUint(uint64(k.id.hash)|1<<32, 16)[1:] {
		return policyKey{}, errors.New("the hash does not match the name and key, or is not 8 lowercase hexadecimal digits")
	}
	return k, nil
}

// A cosigner verifies cosignatures, whose time must not exceed 2^63-1 (C2SP
// tlog-cosignature). The libraries do not check the time.
type cosigner struct{ note.Verifier }

// Verify implements note.Verifier.
func (c cosigner) Verify(msg, sig []byte) bool {
	return len(sig) > 8 && binary.BigEndian.Uint64(sig) <= math.MaxInt64 && c.Verifier.Verify(msg, sig)
}

package receipt

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"filippo.io/torchwood"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// A Policy says which log and which witnesses must have signed a checkpoint: a C2SP tlog-policy (https://c2sp.org/tlog-policy) with one log. Its
// keys are Ed25519 keys, or all of them are ML-DSA-44 keys: then it is post-quantum.
type Policy struct {
	Name string // what messages call it, such as the file's name

	log       policyKey
	witnesses []Witness
	policy    torchwood.Policy
	witnessed bool
}

// A Witness is one that a policy lists.
type Witness struct {
	Name string        // within the policy
	URL  string        // submission prefix of C2SP tlog-witness; may be empty
	Key  note.Verifier // of its cosignatures
}

// ParsePolicy reads a policy as docs/spec/receipt.md, section 3, restricts it. The error names the line.
func ParsePolicy(name string, text []byte) (*Policy, error) {
	r := policyReader{components: map[string]torchwood.Policy{}, member: map[string]bool{}}
	for i, line := range strings.Split(string(text), "\n") {
		if err := r.line(line); err != nil {
			return nil, fmt.Errorf("policy %s: line %d: %w", name, i+1, err)
		}
	}
	p, err := r.policy(name)
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", name, err)
	}
	return p, nil
}

// FormatPolicy returns a policy that trusts one log and asks for no witness.
func FormatPolicy(logKey string) string {
	return "log " + logKey + "\nquorum none\n"
}

// Origin is the log's name: the first line of its checkpoints and the name of its key.
func (p *Policy) Origin() string { return p.log.Name() }

// LogKey verifies the log's own signatures.
func (p *Policy) LogKey() note.Verifier { return p.log.Verifier }

// Witnesses are those that the policy lists, in its order, whether its quorum depends on them or not.
func (p *Policy) Witnesses() []Witness { return slices.Clone(p.witnesses) }

// RequiresWitness says whether the policy's quorum asks for a witness.
func (p *Policy) RequiresWitness() bool { return p.witnessed }

// PostQuantum says whether the policy's keys are ML-DSA-44 keys.
func (p *Policy) PostQuantum() bool { return p.log.algorithm == algMLDSA44 }

// Torchwood returns the policy for use with filippo.io/torchwood.
func (p *Policy) Torchwood() torchwood.Policy { return p.policy }

// VerifyCheckpoint checks the signatures of a signed checkpoint against the policy. It returns the checkpoint and the names of the
// keys of the policy that signed it, each as name+hash.
func (p *Policy) VerifyCheckpoint(signed []byte) (Checkpoint, []string, error) {
	c, err := parseCheckpoint(string(signed))
	if err != nil {
		return Checkpoint{}, nil, fmt.Errorf("checkpoint: %w", err)
	}
	_, n, err := torchwood.VerifyCheckpoint(signed, p.policy)
	if err != nil {
		return Checkpoint{}, nil, fmt.Errorf("checkpoint of %q, size %d: %w", c.Origin, c.Size, err)
	}
	keys := make([]string, len(n.Sigs))
	for i, s := range n.Sigs {
		keys[i] = fmt.Sprintf("%s+%08x", s.Name, s.Hash)
	}
	return c, keys, nil
}

// A policyReader collects the lines of one policy.
type policyReader struct {
	log        *policyKey
	witnesses  []Witness
	keys       []policyKey                 // of the witnesses
	components map[string]torchwood.Policy // witnesses and groups by name
	member     map[string]bool             // names that are in a group
	quorum     torchwood.Policy            // nil: none
	hasQuorum  bool
}

func (r *policyReader) line(line string) error {
	for _, c := range []byte(line) {
		switch {
		case c == '\r':
			return errors.New("a carriage return; save the file with plain line ends")
		case c < ' ' && c != '\t' || c == 0x7f:
			return errors.New("a control character")
		}
	}
	items := strings.FieldsFunc(line, func(c rune) bool { return c == ' ' || c == '\t' })
	if len(items) == 0 || strings.HasPrefix(items[0], "#") {
		return nil
	}
	switch n := len(items) - 1; {
	case items[0] == "log" && (n == 1 || n == 2):
		return r.addLog(items[1])
	case items[0] == "witness" && (n == 2 || n == 3):
		return r.addWitness(items[1], items[2], strings.Join(items[3:], ""))
	case items[0] == "group" && n >= 3:
		return r.addGroup(items[1], items[2], items[3:])
	case items[0] == "quorum" && n == 1:
		return r.setQuorum(items[1])
	}
	return fmt.Errorf("%q: an unknown keyword, or too few or too many items; see https://c2sp.org/tlog-policy", items[0])
}

func (r *policyReader) addLog(vkey string) error {
	if r.log != nil {
		return errors.New("a second log; write one policy file for each log key and give all of them")
	}
	k, err := parsePolicyKey(vkey)
	if err != nil {
		return fmt.Errorf("log key: %w", err)
	}
	if k.algorithm == algCosignatureV1 {
		return errors.New("log key: a witness's key")
	}
	r.log = &k
	return nil
}

func (r *policyReader) addWitness(name, vkey, url string) error {
	if err := r.define(name); err != nil {
		return err
	}
	k, err := parsePolicyKey(vkey)
	if err != nil {
		return fmt.Errorf("witness %s: key: %w", name, err)
	}
	if k.algorithm == algEd25519 {
		return fmt.Errorf("witness %s: key: a log's key", name)
	}
	for i := range r.keys {
		if r.keys[i].public == k.public {
			return fmt.Errorf("witness %s: the key is that of witness %s, too", name, r.witnesses[i].Name)
		}
	}
	r.keys = append(r.keys, k)
	r.witnesses = append(r.witnesses, Witness{Name: name, URL: url, Key: k.Verifier})
	r.components[name] = torchwood.SingleVerifierPolicy(k)
	return nil
}

func (r *policyReader) addGroup(name, threshold string, members []string) error {
	if err := r.define(name); err != nil {
		return err
	}
	var policies []torchwood.Policy
	for _, m := range members {
		p, ok := r.components[m]
		if !ok {
			return fmt.Errorf("group %s: %q is not defined on an earlier line", name, m)
		}
		if r.member[m] {
			return fmt.Errorf("group %s: %q is in a group already", name, m)
		}
		r.member[m] = true
		policies = append(policies, p)
	}
	n := 1
	switch threshold {
	case "any":
	case "all":
		n = len(members)
	default:
		var err error
		if n, err = strconv.Atoi(threshold); err != nil || strconv.Itoa(n) != threshold || n < 1 || n > len(members) {
			return fmt.Errorf("group %s: %q is not any, all or a number from 1 to %d", name, threshold, len(members))
		}
	}
	r.components[name] = torchwood.ThresholdPolicy(n, policies...)
	return nil
}

func (r *policyReader) setQuorum(name string) error {
	if r.hasQuorum {
		return errors.New("a second quorum")
	}
	r.hasQuorum = true
	if name == "none" {
		return nil
	}
	var ok bool
	if r.quorum, ok = r.components[name]; !ok {
		return fmt.Errorf("quorum: %q is not defined on an earlier line", name)
	}
	return nil
}

func (r *policyReader) define(name string) error {
	if _, ok := r.components[name]; ok || name == "none" {
		return fmt.Errorf("the name %q is taken", name)
	}
	return nil
}

func (r *policyReader) policy(name string) (*Policy, error) {
	if r.log == nil {
		return nil, errors.New("no log line")
	}
	if !r.hasQuorum {
		return nil, errors.New("no quorum line; write \"quorum none\" if no witness is asked for")
	}
	for i, k := range r.keys {
		if (k.algorithm == algMLDSA44) != (r.log.algorithm == algMLDSA44) {
			return nil, fmt.Errorf("witness %s: its key and the log's are not both ML-DSA-44 keys; a post-quantum policy is a file of its own", r.witnesses[i].Name)
		}
		if k.Name() == r.log.Name() && k.KeyHash() == r.log.KeyHash() {
			return nil, fmt.Errorf("witness %s: its key has the name and hash of the log's", r.witnesses[i].Name)
		}
	}
	all := []torchwood.Policy{torchwood.OriginPolicy(r.log.Name()), torchwood.SingleVerifierPolicy(r.log)}
	if r.quorum != nil {
		all = append(all, r.quorum)
	}
	return &Policy{Name: name, log: *r.log, witnesses: r.witnesses, policy: torchwood.ThresholdPolicy(len(all), all...), witnessed: r.quorum != nil}, nil
}

// Signature types of C2SP signed-note (https://c2sp.org/signed-note).
const (
	algEd25519       = 1
	algCosignatureV1 = 4
	algMLDSA44       = 6
)

// A policyKey is a key of a log or witness with what it is made of.
type policyKey struct {
	note.Verifier
	algorithm byte
	public    string // the key's bytes
}

// parsePolicyKey reads a verifier key strictly.
func parsePolicyKey(vkey string) (policyKey, error) {
	name, rest, _ := strings.Cut(vkey, "+")
	hash, encoded, _ := strings.Cut(rest, "+")
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(key) < 2 {
		return policyKey{}, errors.New("malformed; it must be NAME+HASH+KEY in one piece")
	}
	k := policyKey{algorithm: key[0], public: string(key[1:])}
	switch k.algorithm {
	case algEd25519:
		k.Verifier, err = note.NewVerifier(vkey)
	case algCosignatureV1:
		var v note.Verifier
		v, err = torchwood.NewCosignatureVerifier(vkey)
		k.Verifier = cosigner{v}
	case algMLDSA44:
		if len(name) > 255 { // the signed message has one byte for its length
			return policyKey{}, errors.New("the name is longer than 255 bytes")
		}
		var v note.Verifier
		v, err = fnote.NewMLDSAVerifier(vkey)
		k.Verifier = cosigner{v}
	default:
		err = errors.New("not an Ed25519, Ed25519 cosignature or ML-DSA-44 key")
	}
	if err != nil {
		return policyKey{}, err
	}
	if want := fmt.Sprintf("%08x", k.KeyHash()); hash != want {
		return policyKey{}, fmt.Errorf("the hash is %q and should be %s", hash, want)
	}
	return k, nil
}

// A cosigner verifies cosignatures as its library does, and their time, which may not exceed 2^63-1 (C2SP tlog-cosignature).
type cosigner struct{ note.Verifier }

// Verify implements note.Verifier.
func (c cosigner) Verify(msg, sig []byte) bool {
	return len(sig) > 8 && binary.BigEndian.Uint64(sig) <= math.MaxInt64 && c.Verifier.Verify(msg, sig)
}

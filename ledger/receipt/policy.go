package receipt

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger/entry/strictjson"
)

// A TrustPolicy specifies which log and which witnesses must have signed a
// checkpoint. It is a C2SP tlog-policy (https://c2sp.org/tlog-policy) with one
// log. Its keys are either all Ed25519 keys or, in a post-quantum policy, all
// ML-DSA-44 keys.
type TrustPolicy struct {
	Name string // for messages and reports, such as the file's name

	log       policyKey
	witnesses []Witness
	keys      []policyKey // of the witnesses
	quorum    *component  // nil: none
	text      string      // that it was read from
}

// A Witness is a witness of a policy.
type Witness struct {
	Name string        // within the policy
	URL  string        // submission prefix of C2SP tlog-witness; may be empty
	Key  note.Verifier // of its cosignatures
}

// A component is a witness or a group of a policy.
type component struct {
	witness   int // index in the policy's lists; -1 for a group
	threshold int
	members   []*component
}

// FormatTrustPolicy returns a policy that trusts one log and requires no
// witness.
func FormatTrustPolicy(logKey string) string {
	return "log " + logKey + "\nquorum none\n"
}

// Text returns the text that the policy was read from.
func (p *TrustPolicy) Text() string { return p.text }

// Origin returns the log's name: the first line of its checkpoints and the name
// of its key.
func (p *TrustPolicy) Origin() string { return p.log.Name() }

// LogKey verifies the log's own signatures.
func (p *TrustPolicy) LogKey() note.Verifier { return p.log.Verifier }

// Witnesses returns the policy's witnesses in order, including those that do
// not count towards the quorum.
func (p *TrustPolicy) Witnesses() []Witness { return slices.Clone(p.witnesses) }

// RequiresWitness reports whether the policy's quorum requires a witness.
func (p *TrustPolicy) RequiresWitness() bool { return p.quorum != nil }

// PostQuantum reports whether the policy's keys are ML-DSA-44 keys.
func (p *TrustPolicy) PostQuantum() bool { return p.log.algorithm == algMLDSA44 }

// Keys returns the keys of the policy as name+hash, sorted: the log's key, and
// the keys of the witnesses that count towards the quorum.
func (p *TrustPolicy) Keys() []string {
	var all []string
	for _, k := range p.effective() {
		all = append(all, k.id.String())
	}
	slices.Sort(all)
	return all
}

// effective returns the keys of the policy, the log's first.
func (p *TrustPolicy) effective() []*policyKey {
	all := []*policyKey{&p.log}
	var add func(c *component)
	add = func(c *component) {
		if c.witness >= 0 {
			all = append(all, &p.keys[c.witness])
		}
		for _, m := range c.members {
			add(m)
		}
	}
	if p.quorum != nil {
		add(p.quorum)
	}
	return all
}

// Met reports whether signatures by the keys for which signed returns true meet
// the policy.
func (p *TrustPolicy) Met(signed func(key note.Verifier) bool) bool {
	return signed(p.log) && p.quorumMet(signed)
}

func (p *TrustPolicy) quorumMet(signed func(key note.Verifier) bool) bool {
	var met func(c *component) bool
	met = func(c *component) bool {
		if c.witness >= 0 {
			return signed(p.keys[c.witness])
		}
		n := 0
		for _, m := range c.members {
			if met(m) {
				n++
			}
		}
		return n >= c.threshold
	}
	return p.quorum == nil || met(p.quorum)
}

// VerifyCheckpoint checks the signatures of a signed checkpoint, as specified
// in docs/spec/receipt.md, section 4, step 7. It returns the checkpoint and the
// keys of the policy that signed it, as name+hash, sorted. The error is an
// *Error.
func (p *TrustPolicy) VerifyCheckpoint(signed []byte) (Checkpoint, []string, error) {
	s, err := parseSigned(string(signed))
	if err != nil {
		return Checkpoint{}, nil, fail(ProofMalformed, "checkpoint: %w", err)
	}
	keys, err := p.verify(s)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	return s.Checkpoint, keys, nil
}

// VerifyUnwitnessed checks the signature of the log, and not those of
// witnesses, on a checkpoint that may wait for them. The error is an *Error.
func (p *TrustPolicy) VerifyUnwitnessed(signed []byte) (Checkpoint, error) {
	s, err := parseSigned(string(signed))
	if err != nil {
		return Checkpoint{}, fail(ProofMalformed, "checkpoint: %w", err)
	}
	if _, err := p.signers(s); err != nil {
		return Checkpoint{}, err
	}
	return s.Checkpoint, nil
}

func (p *TrustPolicy) verify(s *signedCheckpoint) ([]string, error) {
	made, err := p.signers(s)
	if err != nil {
		return nil, err
	}
	if !p.quorumMet(func(key note.Verifier) bool { return made[keyID{key.Name(), key.KeyHash()}] }) {
		return nil, fail(CheckpointQuorum, "checkpoint of %q, size %d: its cosignatures do not meet the quorum", s.Origin, s.Size)
	}
	var keys []string
	for id := range made {
		keys = append(keys, id.String())
	}
	slices.Sort(keys)
	return keys, nil
}

// signers returns the keys of the policy that signed the checkpoint. The log's
// must be one of them.
func (p *TrustPolicy) signers(s *signedCheckpoint) (map[keyID]bool, error) {
	if s.Origin != p.Origin() {
		return nil, fail(CheckpointOrigin, "checkpoint: from the log %q, but the policy is for %q", s.Origin, p.Origin())
	}
	made := map[keyID]bool{}
	for _, k := range p.effective() {
		i := slices.IndexFunc(s.lines, func(l signatureLine) bool { return l.key == k.id })
		if i < 0 {
			continue
		}
		if !k.Verify([]byte(s.text), s.lines[i].sig) {
			return nil, fail(CheckpointSignature, "checkpoint of %q, size %d: the signature by %s does not verify", s.Origin, s.Size, k.id)
		}
		made[k.id] = true
	}
	if !made[p.log.id] {
		return nil, fail(CheckpointUnsigned, "checkpoint of %q, size %d: not signed by the log's key %s", s.Origin, s.Size, p.log.id)
	}
	return made, nil
}

// Torchwood returns the policy for use with filippo.io/torchwood.
func (p *TrustPolicy) Torchwood() torchwood.Policy {
	var convert func(c *component) torchwood.Policy
	convert = func(c *component) torchwood.Policy {
		if c.witness >= 0 {
			return torchwood.SingleVerifierPolicy(p.keys[c.witness])
		}
		var members []torchwood.Policy
		for _, m := range c.members {
			members = append(members, convert(m))
		}
		return torchwood.ThresholdPolicy(c.threshold, members...)
	}
	all := []torchwood.Policy{torchwood.OriginPolicy(p.Origin()), torchwood.SingleVerifierPolicy(p.log)}
	if p.quorum != nil {
		all = append(all, convert(p.quorum))
	}
	return torchwood.ThresholdPolicy(len(all), all...)
}

// Trim removes the signatures that the policies do not need from a signed
// checkpoint that exceeds the limits of docs/spec/receipt.md, section 2. The
// checkpoint must meet the policies. A checkpoint within the limits is returned
// unchanged.
func Trim(signed []byte, policies []*TrustPolicy) ([]byte, error) {
	text, sigs, ok := strings.Cut(string(signed), "\n\n")
	if !ok {
		return nil, errors.New("not a signed note")
	}
	lines := strings.SplitAfter(strings.TrimSuffix(sigs, "\n"), "\n")
	if len(signed) <= MaxCheckpointSize && len(lines) <= MaxSignatures {
		return signed, nil
	}
	lines[len(lines)-1] += "\n"
	have := map[keyID]string{}
	for _, line := range lines {
		l, err := parseSignature(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, err
		}
		if _, ok := have[l.key]; !ok {
			have[l.key] = l.line
		}
	}
	b := []byte(text + "\n\n")
	for _, line := range needed(have, policies) {
		b = append(b, line...)
	}
	if _, err := parseSigned(string(b)); err != nil {
		return nil, err
	}
	return b, nil
}

// needed returns the lines of a minimal set of keys that meets the policies, so
// that no line can be left out. It leaves out the longest lines first.
func needed(have map[keyID]string, policies []*TrustPolicy) []string {
	type entry struct {
		id   keyID
		line string
	}
	var all []entry
	for id, line := range have {
		all = append(all, entry{id, line})
	}
	slices.SortFunc(all, func(a, b entry) int {
		if len(a.line) != len(b.line) {
			return len(b.line) - len(a.line)
		}
		return strings.Compare(a.line, b.line)
	})
	kept := map[keyID]bool{}
	for id := range have {
		kept[id] = true
	}
	signed := func(key note.Verifier) bool { return kept[keyID{key.Name(), key.KeyHash()}] }
	var lines []string
	for _, e := range all {
		kept[e.id] = false
		if slices.ContainsFunc(policies, func(p *TrustPolicy) bool { return !p.Met(signed) }) {
			kept[e.id] = true
			lines = append(lines, e.line)
		}
	}
	slices.Reverse(lines) // short lines first, such as the log's Ed25519 signature
	return lines
}

// CheckLimits returns an error if a checkpoint that meets all policies can
// exceed the limits of docs/spec/receipt.md, section 2, even if it has only the
// necessary signatures. The keys determine the sizes of all signatures.
func CheckLimits(policies []*TrustPolicy) error {
	if len(policies) == 0 {
		return nil
	}
	text := Checkpoint{Origin: policies[0].Origin(), Size: strictjson.MaxInteger}.Text()
	total := extent{bytes: len(text) + 1}
	for _, p := range policies {
		total = total.plus(p.log.extent())
		if p.quorum != nil {
			total = total.plus(p.largest(p.quorum))
		}
	}
	if total.bytes > MaxCheckpointSize || total.lines > MaxSignatures {
		return fmt.Errorf("a checkpoint that meets the policies can need %d signatures and %d bytes, but the limits are %d and %d: use fewer witnesses, or shorter names",
			total.lines, total.bytes, MaxSignatures, MaxCheckpointSize)
	}
	return nil
}

// An extent is the size of signature lines.
type extent struct{ lines, bytes int }

func (e extent) plus(o extent) extent { return extent{e.lines + o.lines, e.bytes + o.bytes} }

func (k *policyKey) extent() extent {
	return extent{1, len("—  \n") + len(k.id.name) + base64.StdEncoding.EncodedLen(4+k.signatureSize())}
}

// largest returns an upper bound on the signatures that the component needs.
func (p *TrustPolicy) largest(c *component) extent {
	if c.witness >= 0 {
		return p.keys[c.witness].extent()
	}
	var lines, sizes []int
	for _, m := range c.members {
		e := p.largest(m)
		lines, sizes = append(lines, e.lines), append(sizes, e.bytes)
	}
	slices.Sort(lines)
	slices.Sort(sizes)
	var total extent
	for i := len(lines) - c.threshold; i < len(lines); i++ {
		total = total.plus(extent{lines[i], sizes[i]})
	}
	return total
}

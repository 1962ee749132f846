package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"filippo.io/mldsa"

	"muniment.dev/muniment/ledger/entry"
)

// A party is a log or a witness with keys of both families.
type party struct {
	name    string
	ed      ed25519.PrivateKey
	pq      *mldsa.PrivateKey
	edKey   string // verifier keys
	pqKey   string
	edAlg   byte // of the Ed25519 key
	edHash  [4]byte
	pqHash  [4]byte
	witness bool
}

const (
	algEd25519       = 0x01
	algCosignatureV1 = 0x04
	algMLDSA44       = 0x06
)

// digest returns 32 bytes that depend only on the label.
func digest[T ~[32]byte](label string) T {
	return T(sha256.Sum256([]byte("muniment mutants " + label)))
}

func newParty(name string, witness bool) (*party, error) {
	seed := digest[entry.Hash]("ed25519 " + name)
	p := &party{name: name, ed: ed25519.NewKeyFromSeed(seed[:]), edAlg: algEd25519, witness: witness}
	if witness {
		p.edAlg = algCosignatureV1
	}
	seed = digest[entry.Hash]("ml-dsa " + name)
	var err error
	if p.pq, err = mldsa.NewPrivateKey(mldsa.MLDSA44(), seed[:]); err != nil {
		return nil, err
	}
	p.edKey, p.edHash = verifierKey(name, p.edAlg, p.ed.Public().(ed25519.PublicKey))
	p.pqKey, p.pqHash = verifierKey(name, algMLDSA44, p.pq.PublicKey().Bytes())
	return p, nil
}

// verifierKey returns a key in the format of signed-note, and its hash.
func verifierKey(name string, alg byte, public []byte) (string, [4]byte) {
	key := append([]byte{alg}, public...)
	sum := sha256.Sum256(append([]byte(name+"\n"), key...))
	return fmt.Sprintf("%s+%x+%s", name, sum[:4], base64.StdEncoding.EncodeToString(key)), [4]byte(sum[:4])
}

func (p *party) key(pq bool) string {
	if pq {
		return p.pqKey
	}
	return p.edKey
}

// sign returns the party's signature line over a checkpoint's text.
func (p *party) sign(pq bool, text string, at uint64) string {
	var sig []byte
	hash := p.edHash
	switch {
	case pq:
		hash = p.pqHash
		lines := strings.Split(text, "\n")
		sig = binary.BigEndian.AppendUint64(nil, at)
		if message := subtree(p.name, at, lines); message != nil {
			s, err := p.pq.SignDeterministic(message, nil)
			if err != nil {
				panic(err) // impossible: messages have no size limit
			}
			sig = append(sig, s...)
		} else {
			sig = append(sig, make([]byte, 2420)...)
		}
	case p.witness:
		sig = binary.BigEndian.AppendUint64(nil, at)
		sig = append(sig, ed25519.Sign(p.ed, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text))...)
	default:
		sig = ed25519.Sign(p.ed, []byte(text))
	}
	return "— " + p.name + " " + base64.StdEncoding.EncodeToString(append(hash[:], sig...)) + "\n"
}

// subtree returns the message of an ML-DSA-44 cosignature, or nil if the text
// is not a checkpoint.
func subtree(name string, at uint64, lines []string) []byte {
	if len(lines) < 3 || len(lines[0]) > 255 {
		return nil
	}
	var size uint64
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if _, serr := fmt.Sscanf(lines[1], "%d", &size); err != nil || serr != nil {
		return nil
	}
	m := append([]byte("subtree/v1\n\x00"), byte(len(name)))
	m = binary.BigEndian.AppendUint64(append(m, name...), at)
	m = append(append(m, byte(len(lines[0]))), lines[0]...)
	m = binary.BigEndian.AppendUint64(m, 0)
	m = binary.BigEndian.AppendUint64(m, size)
	return append(m, root...)
}

// A world has the keys of all inputs.
type world struct {
	logs      []*party // the second and third are other logs
	witnesses []*party
	streams   []entry.StreamKey
	tenants   []string
	signers   []*signatory // of manifests
	sigstore  *sigstoreVectors
	keys      [][]byte // files of keys, good and bad
}

func newWorld() (*world, error) {
	w := &world{tenants: []string{"acme", "globex"}}
	for _, name := range []string{"log.example", "other.example", "würde.example/" + strings.Repeat("l", 250)} {
		p, err := newParty(name, false)
		if err != nil {
			return nil, err
		}
		w.logs = append(w.logs, p)
	}
	for _, name := range []string{"w0.example", "w1.example", "w2.example"} {
		p, err := newParty(name, true)
		if err != nil {
			return nil, err
		}
		w.witnesses = append(w.witnesses, p)
	}
	for _, t := range w.tenants {
		w.streams = append(w.streams, digest[entry.StreamKey]("stream "+t))
	}
	var err error
	if w.signers, err = newSignatories(); err != nil {
		return nil, err
	}
	if w.sigstore, err = readVectors[*sigstoreVectors]("sigstore.json"); err != nil {
		return nil, err
	}
	w.sigstore.Cases = slices.DeleteFunc(w.sigstore.Cases, func(c *sigstoreCase) bool { return !isObject(c.BundleBase64) })
	keys, err := readVectors[[]struct{ KeyBase64 []byte }]("keys.json")
	for _, k := range keys {
		w.keys = append(w.keys, k.KeyBase64)
	}
	return w, err
}

// readVectors reads a file of vectors, from the root of the repository or the
// folder of this package.
func readVectors[T any](name string) (v T, err error) {
	name = "docs/spec/vectors/" + name
	text, err := os.ReadFile(name)
	if os.IsNotExist(err) {
		text, err = os.ReadFile("../../" + name)
	}
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(text, &v)
}

// policy returns the text of a policy for a log.
func (w *world) policy(log *party, pq bool, shape int) string {
	text := "log " + log.key(pq) + "\n"
	for i, p := range w.witnesses {
		text += fmt.Sprintf("witness w%d %s https://%s\n", i, p.key(pq), p.name)
	}
	switch shape {
	case 0:
		return "log " + log.key(pq) + "\nquorum none\n"
	case 1:
		return text + "quorum none\n"
	case 2:
		return text + "quorum w0\n"
	case 3:
		return text + "group g 2 w0 w1 w2\nquorum g\n"
	case 4:
		return text + "group g any w0 w1\ngroup h all g w2\nquorum h\n"
	}
	return text + "# the last one counts\n\n \t group  g\tall w1 w2 \nquorum g"
}

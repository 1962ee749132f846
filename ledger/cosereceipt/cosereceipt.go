// Package cosereceipt signs and verifies COSE receipts for SCITT statements, as
// specified in docs/spec/scitt.md.
//
// It does no I/O. Package receipt implements the native format.
package cosereceipt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math"

	"github.com/fxamacker/cbor/v2"
	gocose "github.com/veraison/go-cose"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/receipt/strictcbor"
)

// ErrNotVerified is wrapped by every error of Verify.
var ErrNotVerified = errors.New("not verified")

// Header labels, and values of the verifiable data structure.
const (
	labelReceipts  = int64(394) // in a transparent statement
	labelVDS       = int64(395)
	labelVDP       = int64(396)
	vdsRFC9162     = int64(1)
	proofInclusion = int64(-1)
	labelWitnessed = "muniment-witnessed"
	labelSize      = "muniment-tree-size"
	labelOpening   = "muniment-opening"
	claimIssuer    = int64(1)
	claimSubject   = int64(2)

	maxPath    = 64
	maxReceipt = entry.MaxHeaderSize + 64<<10
)

// StatementType is the media type of statements in their entries' headers.
const StatementType = "application/cose"

// StatementKind is the kind of their entries.
const StatementKind = kindname.Attestation

// An opening is the data from which, together with the statement, the leaf is
// computed. It is encoded as an array.
type opening struct {
	_           struct{} `cbor:",toarray"`
	Tag         []byte
	Time        uint64
	LinkHash    []byte
	HeaderSalt  []byte
	Header      []byte
	PayloadSalt []byte
}

type inclusion struct {
	_     struct{} `cbor:",toarray"`
	Size  uint64
	Index uint64
	Path  [][]byte
}

// A Key signs receipts.
type Key struct {
	signer gocose.Signer
	id     []byte
	public *ecdsa.PublicKey
}

// NewKey returns a key for ES256.
func NewKey(private *ecdsa.PrivateKey) (*Key, error) {
	if private.Curve != elliptic.P256() {
		return nil, errors.New("COSE receipts are signed with ES256: the key must be on the curve P-256")
	}
	s, err := gocose.NewSigner(gocose.AlgorithmES256, private)
	if err != nil {
		return nil, err
	}
	id, err := keyID(&private.PublicKey)
	if err != nil {
		return nil, err
	}
	return &Key{s, id, &private.PublicKey}, nil
}

func keyID(k crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return sum[:], nil
}

// KeySet returns the public keys as a COSE Key Set (RFC 9052, section 7).
func KeySet(keys ...*Key) ([]byte, error) {
	set := make([]cbor.RawMessage, len(keys))
	for i, k := range keys {
		c, err := gocose.NewKeyFromPublic(k.public)
		if err != nil {
			return nil, err
		}
		c.ID, c.Algorithm = k.id, gocose.AlgorithmES256
		if set[i], err = c.MarshalCBOR(); err != nil {
			return nil, err
		}
	}
	return strictcbor.Marshal(set)
}

// ParseKeySet reads the public keys of a COSE Key Set.
func ParseKeySet(data []byte) ([]*ecdsa.PublicKey, error) {
	var set []cbor.RawMessage
	if err := strictcbor.Unmarshal(data, &set); err != nil || len(set) == 0 {
		return nil, errors.New("not a COSE Key Set: an array of at least one key in CBOR")
	}
	out := make([]*ecdsa.PublicKey, len(set))
	for i, raw := range set {
		var k gocose.Key
		if err := k.UnmarshalCBOR(raw); err != nil {
			return nil, fmt.Errorf("COSE Key Set: key %d: %w", i, err)
		}
		public, err := k.PublicKey()
		if err != nil {
			return nil, fmt.Errorf("COSE Key Set: key %d: %w", i, err)
		}
		ec, ok := public.(*ecdsa.PublicKey)
		if !ok || ec.Curve != elliptic.P256() {
			return nil, fmt.Errorf("COSE Key Set: key %d: not a key on the curve P-256", i)
		}
		out[i] = ec
	}
	return out, nil
}

// An Entry is an entry to issue a receipt for.
type Entry struct {
	Index       uint64
	Tag         entry.Hash
	Time        uint64
	LinkHash    entry.Hash
	Header      receipt.HeaderOpening
	PayloadSalt entry.Salt
}

// Sign returns a receipt for the entry in the tree with the given root, which
// must be published. The subject is the statement's sub.
func (k *Key) Sign(origin, subject string, e *Entry, size uint64, path []entry.Hash, root entry.Hash) ([]byte, error) {
	open, err := strictcbor.Marshal(&opening{Tag: e.Tag[:], Time: e.Time, LinkHash: e.LinkHash[:], HeaderSalt: e.Header.Salt[:], Header: e.Header.Content, PayloadSalt: e.PayloadSalt[:]})
	if err != nil {
		return nil, err
	}
	in := inclusion{Size: size, Index: e.Index, Path: make([][]byte, len(path))}
	for i := range path {
		in.Path[i] = path[i][:]
	}
	proof, err := strictcbor.Marshal(&in)
	if err != nil {
		return nil, err
	}
	m := gocose.NewSign1Message()
	m.Headers.Protected = gocose.ProtectedHeader{
		gocose.HeaderLabelAlgorithm: gocose.AlgorithmES256,
		gocose.HeaderLabelKeyID:     k.id,
		gocose.HeaderLabelCWTClaims: map[any]any{claimIssuer: origin, claimSubject: subject},
		labelVDS:                    vdsRFC9162,
		labelWitnessed:              false,
		labelSize:                   size,
	}
	m.Headers.Unprotected = gocose.UnprotectedHeader{
		labelVDP:     map[any]any{proofInclusion: []any{proof}},
		labelOpening: open,
	}
	m.Payload = root[:]
	if err := m.Sign(rand.Reader, nil, k.signer); err != nil {
		return nil, fmt.Errorf("sign a COSE receipt: %w", err)
	}
	m.Payload = nil // detached: verifiers compute it
	return m.MarshalCBOR()
}

// A Statement is the result of a verified receipt.
type Statement struct {
	Origin   string
	Subject  string
	Index    uint64
	Size     uint64
	Root     entry.Hash
	LeafHash entry.Hash
	Time     uint64 // Unix milliseconds; a claim of the log's operator
	Header   *entry.Header
	KeyID    []byte
}

// Verify checks that a receipt is for the registered bytes of a statement with
// the given sub, and is signed by one of the keys.
func Verify(statement []byte, subject string, data []byte, keys []*ecdsa.PublicKey) (*Statement, error) {
	s, err := verify(statement, subject, data, keys)
	if err != nil {
		return nil, fmt.Errorf("COSE receipt: %w: %w", ErrNotVerified, err)
	}
	return s, nil
}

func verify(statement []byte, subject string, data []byte, keys []*ecdsa.PublicKey) (*Statement, error) {
	if len(data) > maxReceipt {
		return nil, fmt.Errorf("%d bytes, more than %d", len(data), maxReceipt)
	}
	m, err := parse(data)
	if err != nil {
		return nil, err
	}
	s := &Statement{}
	if err := s.readProtected(m.Headers.Protected); err != nil {
		return nil, err
	}
	in, open, err := readUnprotected(m.Headers.Unprotected)
	if err != nil {
		return nil, err
	}
	if in.Size != s.Size {
		// The root does not bind the size: a path can be valid for
		// trees of
		// several sizes.
		return nil, fmt.Errorf("inclusion proof: for a tree of %d entries, but the protected header has %d", in.Size, s.Size)
	}
	s.Index, s.Time = in.Index, open.Time
	if s.Header, err = entry.ParseHeader(open.Header); err != nil {
		return nil, err
	}
	switch h := s.Header; {
	case h.Origin != s.Origin:
		return nil, fmt.Errorf("header: origin %q, but the receipt is from %q", h.Origin, s.Origin)
	case h.Kind != StatementKind || h.MediaType != StatementType:
		return nil, fmt.Errorf("header: kind %q, media type %q: not the entry of a SCITT statement", h.Kind, h.MediaType)
	case h.Payload.Size != uint64(len(statement)) || h.Payload.Commitment != entry.Commitment(entry.Salt(open.PayloadSalt), statement):
		return nil, errors.New("the receipt is for another statement (the commitment differs)")
	case s.Subject != subject:
		return nil, fmt.Errorf("sub: %q, but the statement has %q", s.Subject, subject)
	}
	leaf := entry.LeafData(entry.Hash(open.Tag), entry.EntryHash(entry.HashOrigin(s.Origin), entry.Hash(open.LinkHash), open.Time, entry.HeaderHash(entry.Salt(open.HeaderSalt), open.Header)))
	s.LeafHash = entry.LeafHash(leaf[:])
	if s.Root, err = rootOf(in, s.LeafHash); err != nil {
		return nil, err
	}
	return s, s.verifySignature(m, keys)
}

// parse reads the message. Unlike go-cose it refuses indefinite lengths,
// duplicate keys and a payload that is not detached.
func parse(data []byte) (*gocose.Sign1Message, error) {
	parts, err := strictcbor.ParseSign1(data)
	if err != nil {
		return nil, err
	}
	if string(parts.Payload) != "\xf6" {
		return nil, errors.New("payload: must be nil, since a receipt's payload is detached")
	}
	m := gocose.NewSign1Message()
	if err := m.UnmarshalCBOR(data); err != nil {
		return nil, err
	}
	return m, nil
}

func (s *Statement) readProtected(h gocose.ProtectedHeader) error {
	if alg, err := h.Algorithm(); err != nil || alg != gocose.AlgorithmES256 {
		return errors.New("protected header: alg (1): not ES256")
	}
	if _, ok := h[gocose.HeaderLabelCritical]; ok {
		return errors.New("protected header: crit (2): not allowed in a receipt")
	}
	if v, ok := h[labelVDS].(int64); !ok || v != vdsRFC9162 {
		return errors.New("protected header: vds (395): not 1, which is RFC9162_SHA256")
	}
	claims, _ := h[gocose.HeaderLabelCWTClaims].(map[any]any)
	s.Origin, _ = claims[claimIssuer].(string)
	s.Subject, _ = claims[claimSubject].(string)
	if s.Origin == "" || s.Subject == "" {
		return errors.New("protected header: CWT claims (15): iss or sub is missing")
	}
	switch n := h[labelSize].(type) {
	case int64:
		s.Size = uint64(max(n, 0))
	case uint64:
		s.Size = n
	}
	if witnessed, ok := h[labelWitnessed].(bool); !ok || witnessed {
		return fmt.Errorf("protected header: %s: not false", labelWitnessed)
	}
	s.KeyID, _ = h[gocose.HeaderLabelKeyID].([]byte)
	if len(s.KeyID) != sha256.Size {
		return errors.New("protected header: kid (4): not 32 bytes")
	}
	return nil
}

func readUnprotected(h gocose.UnprotectedHeader) (*inclusion, *opening, error) {
	vdp, _ := h[labelVDP].(map[any]any)
	proofs, _ := vdp[proofInclusion].([]any)
	if len(vdp) != 1 || len(proofs) != 1 {
		return nil, nil, errors.New("unprotected header: vdp (396): not exactly one inclusion proof")
	}
	raw, _ := proofs[0].([]byte)
	in := &inclusion{}
	if err := strictcbor.Unmarshal(raw, in); err != nil {
		return nil, nil, fmt.Errorf("inclusion proof: %w", err)
	}
	if in.Index >= in.Size || in.Size > math.MaxInt64 || len(in.Path) > maxPath {
		return nil, nil, fmt.Errorf("inclusion proof: leaf %d in a tree of %d, with a path of %d", in.Index, in.Size, len(in.Path))
	}
	raw, _ = h[labelOpening].([]byte)
	open := &opening{}
	if err := strictcbor.Unmarshal(raw, open); err != nil {
		return nil, nil, fmt.Errorf("unprotected header: %s: %w", labelOpening, err)
	}
	for _, f := range [][]byte{open.Tag, open.LinkHash, open.HeaderSalt, open.PayloadSalt} {
		if len(f) != entry.HashSize {
			return nil, nil, fmt.Errorf("unprotected header: %s: a part has %d bytes instead of %d", labelOpening, len(f), entry.HashSize)
		}
	}
	return in, open, nil
}

// rootOf computes the root from the leaf and the path by the procedure of RFC
// 9162, section 2.1.3.2.
func rootOf(in *inclusion, leaf entry.Hash) (entry.Hash, error) {
	fn, sn, r := in.Index, in.Size-1, leaf
	for _, p := range in.Path {
		if len(p) != entry.HashSize || sn == 0 {
			return entry.Hash{}, errors.New("inclusion proof: the path is too long, or contains an element that is not a hash")
		}
		h := entry.Hash(p)
		if fn&1 == 1 || fn == sn {
			r = entry.NodeHash(&h, &r)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			r = entry.NodeHash(&r, &h)
		}
		fn, sn = fn>>1, sn>>1
	}
	if sn != 0 {
		return entry.Hash{}, errors.New("inclusion proof: the path is too short")
	}
	return r, nil
}

func (s *Statement) verifySignature(m *gocose.Sign1Message, keys []*ecdsa.PublicKey) error {
	m.Payload = s.Root[:]
	for _, k := range keys {
		id, err := keyID(k)
		if err != nil || string(id) != string(s.KeyID) {
			continue
		}
		v, err := gocose.NewVerifier(gocose.AlgorithmES256, k)
		if err != nil {
			return err
		}
		if err := m.Verify(nil, v); err != nil {
			return fmt.Errorf("the signature does not verify for the root %s, which follows from statement, opening and path", s.Root.Base64())
		}
		return nil
	}
	return fmt.Errorf("signed by the key %x, which is not among the given keys", s.KeyID)
}

// Attach returns the transparent statement: the registered bytes of a statement
// with receipts in its unprotected header.
func Attach(statement []byte, receipts ...[]byte) ([]byte, error) {
	m, err := strictcbor.ParseSign1(statement)
	if err != nil {
		return nil, err
	}
	if m.Unprotected, err = strictcbor.Marshal(map[int64][][]byte{labelReceipts: receipts}); err != nil {
		return nil, err
	}
	return m.Marshal()
}

// Receipts returns the receipts in the unprotected header of a transparent
// statement, if any.
func Receipts(statement []byte) ([][]byte, error) {
	m, err := strictcbor.ParseSign1(statement)
	if err != nil {
		return nil, err
	}
	var h map[any]cbor.RawMessage
	if err := strictcbor.Unmarshal(m.Unprotected, &h); err != nil {
		return nil, fmt.Errorf("unprotected header: %w", err)
	}
	raw, ok := h[uint64(labelReceipts)]
	if !ok {
		return nil, nil
	}
	var out [][]byte
	if err := strictcbor.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("unprotected header: receipts (394): %w", err)
	}
	return out, nil
}

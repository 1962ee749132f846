package cosereceipt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"testing"

	gocose "github.com/veraison/go-cose"
	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/receipt/strictcbor"
)

const (
	origin  = "ledger.example/scitt"
	subject = "pkg:oci/app"
)

// A world is a log of so many entries, of which one is a statement's.
type world struct {
	t         *testing.T
	key       *Key
	public    []*ecdsa.PublicKey
	statement []byte
	entry     *Entry
	size      uint64
	path      []entry.Hash
	root      entry.Hash
}

func newWorld(t *testing.T, index, size uint64) *world {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, size: size, public: []*ecdsa.PublicKey{&private.PublicKey}}
	if w.key, err = NewKey(private); err != nil {
		t.Fatal(err)
	}
	w.statement = sign(t, private, "the payload")
	linkSalt, headerSalt, payloadSalt := entry.NewSalts()
	h := entry.Header{Origin: origin, Tenant: "acme", Kind: StatementKind, MediaType: StatementType, Submitter: "token:acme",
		Verification: entry.Verification{Result: entry.Unverified},
		Payload:      entry.PayloadRef{Commitment: entry.Commitment(payloadSalt, w.statement), Size: uint64(len(w.statement))}}
	content, err := h.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	key := entry.StreamKey{1}
	w.entry = &Entry{Index: index, Tag: key.Tag(0), Time: 1_800_000_000_000, LinkHash: entry.LinkHash(linkSalt, key.StreamID(), 0, entry.Hash{}),
		Header: receipt.HeaderOpening{Salt: headerSalt, Content: content}, PayloadSalt: payloadSalt}
	leaf := entry.LeafData(w.entry.Tag, entry.EntryHash(entry.HashOrigin(origin), w.entry.LinkHash, w.entry.Time, entry.HeaderHash(headerSalt, content)))
	w.prove(leaf[:])
	return w
}

// sign makes a statement with go-cose alone.
func sign(t *testing.T, key *ecdsa.PrivateKey, payload string) []byte {
	t.Helper()
	s, err := gocose.NewSigner(gocose.AlgorithmES256, key)
	if err != nil {
		t.Fatal(err)
	}
	data, err := gocose.Sign1(rand.Reader, s, gocose.Headers{Protected: gocose.ProtectedHeader{
		gocose.HeaderLabelAlgorithm: gocose.AlgorithmES256, gocose.HeaderLabelKeyID: []byte("k"),
		gocose.HeaderLabelCWTClaims: map[any]any{claimIssuer: "acme.example", claimSubject: subject},
	}}, []byte(payload), nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// prove takes root and path from another implementation of the tree.
func (w *world) prove(leaf []byte) {
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	for i := range w.size {
		data := fmt.Appendf(nil, "leaf %d", i)
		if i == w.entry.Index {
			data = leaf
		}
		hashes, err := tlog.StoredHashes(int64(i), data, read)
		if err != nil {
			w.t.Fatal(err)
		}
		stored = append(stored, hashes...)
	}
	root, err := tlog.TreeHash(int64(w.size), read)
	if err != nil {
		w.t.Fatal(err)
	}
	proof, err := tlog.ProveRecord(int64(w.size), int64(w.entry.Index), read)
	if err != nil {
		w.t.Fatal(err)
	}
	w.root = entry.Hash(root)
	for _, h := range proof {
		w.path = append(w.path, entry.Hash(h))
	}
}

func (w *world) sign() []byte {
	w.t.Helper()
	r, err := w.key.Sign(origin, subject, w.entry, w.size, w.path, w.root)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func TestReceiptsVerifyInTreesOfEverySize(t *testing.T) {
	for size := uint64(1); size <= 17; size++ {
		for index := range size {
			w := newWorld(t, index, size)
			s, err := Verify(w.statement, subject, w.sign(), w.public)
			if err != nil {
				t.Fatalf("entry %d of %d: %v", index, size, err)
			}
			if s.Root != w.root || s.Index != index || s.Size != size || s.Origin != origin || s.Header.Tenant != "acme" {
				t.Fatalf("entry %d of %d: the statement is %+v", index, size, s)
			}
		}
	}
}

// Flipping any bit of a receipt makes it fail, or leaves the
// statement unchanged.
func TestNoChangeOfAReceiptChangesItsStatement(t *testing.T) {
	w := newWorld(t, 5, 11)
	good := w.sign()
	want, err := Verify(w.statement, subject, good, w.public)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			got, err := Verify(w.statement, subject, bad, w.public)
			if err == nil && !reflect.DeepEqual(got, want) {
				t.Fatalf("byte %d, bit %d: it verifies as %+v", i, bit, got)
			}
			if err != nil {
				refused++
				if !errors.Is(err, ErrNotVerified) {
					t.Fatalf("byte %d, bit %d: %v does not wrap ErrNotVerified", i, bit, err)
				}
			}
		}
	}
	if refused < len(good)*8*99/100 {
		t.Errorf("only %d of %d changed receipts were refused", refused, len(good)*8)
	}
	for cut := range good {
		if _, err := Verify(w.statement, subject, good[:cut], w.public); err == nil {
			t.Fatalf("cut off after %d bytes: it verifies", cut)
		}
	}
	if _, err := Verify(w.statement, subject, append(bytes.Clone(good), 0), w.public); err == nil {
		t.Error("with a byte after it, it verifies")
	}
}

func TestWrongCompanyIsRefused(t *testing.T) {
	w, other := newWorld(t, 2, 4), newWorld(t, 2, 4)
	good := w.sign()
	private, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w2 := *w
	w2.root[0] ^= 1
	for what, try := range map[string]func() error{
		"another statement": func() error { _, err := Verify(other.statement, subject, good, w.public); return err },
		"another key":       func() error { _, err := Verify(w.statement, subject, good, other.public); return err },
		"no key":            func() error { _, err := Verify(w.statement, subject, good, nil); return err },
		"another subject":   func() error { _, err := Verify(w.statement, "x", good, w.public); return err },
		"another root":      func() error { _, err := Verify(w.statement, subject, w2.sign(), w.public); return err },
		"a statement for a receipt": func() error {
			_, err := Verify(w.statement, subject, sign(t, private, "x"), []*ecdsa.PublicKey{&private.PublicKey})
			return err
		},
		"nothing": func() error { _, err := Verify(w.statement, subject, nil, w.public); return err },
	} {
		if err := try(); !errors.Is(err, ErrNotVerified) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func TestKeySet(t *testing.T) {
	w := newWorld(t, 0, 1)
	set, err := KeySet(w.key)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ParseKeySet(set)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(w.statement, subject, w.sign(), keys); err != nil {
		t.Error(err)
	}
	for _, bad := range [][]byte{nil, {0x80}, {0xa0}, []byte("{}"), {0x81, 0x01}, append(bytes.Clone(set), 0)} {
		if _, err := ParseKeySet(bad); err == nil {
			t.Errorf("% x is a key set", bad)
		}
	}
	if p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader); p384 != nil {
		if _, err := NewKey(p384); err == nil {
			t.Error("a key of P-384 signs ES256")
		}
	}
}

func TestTransparentStatement(t *testing.T) {
	w := newWorld(t, 1, 3)
	good := w.sign()
	transparent, err := Attach(w.statement, good)
	if err != nil {
		t.Fatal(err)
	}
	found, err := Receipts(transparent)
	if err != nil || len(found) != 1 || !bytes.Equal(found[0], good) {
		t.Fatalf("got %d receipts, %v", len(found), err)
	}
	if none, err := Receipts(w.statement); err != nil || none != nil {
		t.Errorf("a statement without receipts: %v, %v", none, err)
	}
	var m gocose.Sign1Message
	if err := m.UnmarshalCBOR(transparent); err != nil {
		t.Errorf("go-cose does not read it: %v", err)
	}
	if _, err := Receipts([]byte{0xd2, 0x84}); err == nil {
		t.Error("a stub has receipts")
	}
	if _, err := strictcbor.ParseSign1([]byte{0xd2, 0x84, 0x40, 0xbf, 0xff, 0x40, 0x40}); err == nil {
		t.Error("an indefinite length is read")
	}
}

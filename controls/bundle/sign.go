package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"

	"muniment.dev/muniment/controls/attest"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/entry/strictjson"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
	"muniment.dev/muniment/verifiers/sigstore"
)

// ErrOtherBundle reports that a signature is not about a bundle.
var ErrOtherBundle = errors.New("the signature is not about this bundle")

// Summarize returns the summary of a bundle's file.
func Summarize(b *bundlefile.Bundle, file io.Reader) (*Summary, error) {
	h := sha256.New()
	n, err := io.Copy(h, file)
	return &Summary{Identity: b.Identity, Manifest: b.Manifest, Digest: entry.Hash(h.Sum(nil)), Bytes: uint64(n)}, err
}

// Sign returns a signature of a bundle: a Sigstore bundle with a statement
// about the file, its manifest and its artifacts, signed with the gate's key.
// file is the name of the bundle, which can be empty.
func Sign(key *attest.Signer, s *Summary, file string) ([]byte, error) {
	statement, err := Statement(s, file)
	if err != nil {
		return nil, err
	}
	return key.Bundle(statement)
}

// Statement returns the in-toto statement about a bundle, in JSON. See
// docs/spec/bundle.md, section 7.
func Statement(s *Summary, file string) ([]byte, error) {
	m := s.Manifest
	subjects := []entry.Subject{
		{Name: file, Digest: map[string]string{"sha256": s.Digest.String()}},
		{Name: bundlefile.ManifestName, Digest: map[string]string{"sha256": s.Identity[len("sha256:"):]}},
	}
	for _, a := range m.Artifacts {
		subjects = append(subjects, entry.Subject{Name: a.Name, Digest: a.Digest})
	}
	w := &strictjson.Writer{Text: []byte{'{'}}
	w.Member("identity", s.Identity)
	w.Member("origin", m.Origin)
	w.Member("tenant", m.Tenant)
	w.Integer("size", m.Size)
	w.Integer("time", m.Time)
	m.WriteSelection(w)
	w.Integer("entries", m.Stream.Entries)
	w.Close('}')
	return attest.Statement(subjects, bundlefile.PredicateType, json.RawMessage(w.Text)), w.Err
}

// CheckSigned reads a signature of a bundle, which is a Sigstore bundle, and
// compares its statement with the bundle. It does not verify the signature.
// The error wraps ErrOtherBundle if the statement is about something else.
func CheckSigned(s *Summary, signature []byte) (*sigstore.Bundle, error) {
	signed, err := sigstore.Parse(signature)
	if err != nil {
		return nil, err
	}
	expected, err := Statement(s, "")
	if err != nil {
		return nil, err
	}
	want, err := parseStatement(expected)
	if err != nil {
		return nil, err
	}
	got, err := parseStatement(signed.Payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOtherBundle, err)
	}
	if got.Type != want.Type || !reflect.DeepEqual(got.Predicate, want.Predicate) || len(got.Subject) != len(want.Subject) {
		return nil, ErrOtherBundle
	}
	for i := range want.Subject {
		if !maps.Equal(got.Subject[i].Digest, want.Subject[i].Digest) {
			return nil, ErrOtherBundle
		}
	}
	return signed, nil
}

// A statement is what signatures of a bundle must have in common.
type statement struct {
	Subject   []struct{ Digest map[string]string }
	Type      string `json:"predicateType"`
	Predicate any
}

func parseStatement(text []byte) (*statement, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	s := &statement{}
	return s, d.Decode(s)
}

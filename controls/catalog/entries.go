package catalog

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// An Entry is a document to append.
type Entry struct {
	Kind    string // control or control-set
	ID      string // of the control; "" for the set
	Payload []byte
	Digest  string // "sha256:" and the hexadecimal SHA-256 of the payload
}

// Entries returns the documents of a set: one for each control, in the order of
// the set, and then that of the set itself. Equal sets have equal documents.
func (s *Set) Entries() ([]Entry, error) {
	head := s.head()
	var all []Entry
	for i, c := range s.Controls {
		e, err := entryOf(kindname.Control, c)
		if err != nil {
			return nil, fmt.Errorf("control %s: %w", c.Id, err)
		}
		e.ID = c.Id
		head.Controls[i].Digest = e.Digest
		all = append(all, e)
	}
	e, err := entryOf(kindname.ControlSet, head)
	if err != nil {
		return nil, fmt.Errorf("control set: %w", err)
	}
	return append(all, e), nil
}

// placeholder is a reference's digest while the control has no document yet.
var placeholder = entry.SHA256(nil)

// head returns the message of the set, whose references have no digests yet.
func (s *Set) head() *munimentv1.ControlSet {
	h := &munimentv1.ControlSet{
		Version: s.Version, Stages: s.Stages, Environments: s.Environments, Signers: s.Signers,
		UnknownImageFields: s.UnknownImageFields, ImagePaths: s.ImagePaths,
	}
	if s.ValidSeconds > 0 {
		h.ValidSeconds = &s.ValidSeconds
	}
	for _, c := range s.Controls {
		h.Controls = append(h.Controls, &munimentv1.ControlReference{Id: c.Id, Digest: placeholder})
	}
	return h
}

// entryOf returns the document of a message. The JSON of protobuf has random
// spaces, which are removed.
func entryOf(kind string, m proto.Message) (Entry, error) {
	text, err := protojson.Marshal(m)
	if err != nil {
		return Entry{}, err
	}
	v := jsontext.Value(text)
	if err := v.Compact(); err != nil {
		return Entry{}, err
	}
	return Entry{Kind: kind, Payload: v, Digest: entry.SHA256(v)}, nil
}

// FromEntries returns the set with the given document. The documents of its
// controls can be in any order, and others are ignored.
func FromEntries(set []byte, controls [][]byte) (*Set, error) {
	head := &munimentv1.ControlSet{}
	if err := decode(set, head); err != nil {
		return nil, fmt.Errorf("control set: %w", err)
	}
	documents := map[string][]byte{}
	for _, payload := range controls {
		documents[entry.SHA256(payload)] = payload
	}
	s := &Set{
		Version: head.Version, Stages: head.Stages, Environments: head.Environments, Signers: head.Signers, ValidSeconds: head.GetValidSeconds(),
		UnknownImageFields: head.UnknownImageFields, ImagePaths: head.ImagePaths,
	}
	for _, r := range head.Controls {
		c := &Control{}
		payload, ok := documents[r.Digest]
		if !ok {
			return nil, fmt.Errorf("control %s: no document with the digest %s", r.Id, r.Digest)
		}
		if err := decode(payload, c); err != nil {
			return nil, fmt.Errorf("control %s: %w", r.Id, err)
		}
		if c.Id != r.Id {
			return nil, fmt.Errorf("control %s: the document is that of control %s", r.Id, c.Id)
		}
		if c.State != active {
			return nil, fmt.Errorf("control %s: it is in the set, but its state is %s", r.Id, c.State)
		}
		s.Controls = append(s.Controls, c)
	}
	var wrong Error
	for _, p := range check(s) {
		wrong.Problems = append(wrong.Problems, Problem{Field: p.field, Message: p.message})
	}
	if len(wrong.Problems) > 0 {
		return nil, &wrong
	}
	return s, nil
}

func decode(payload []byte, into proto.Message) error {
	if len(payload) > MaxSize {
		return errors.New("too large")
	}
	if err := protojson.Unmarshal(payload, into); err != nil {
		return plain.DecodeError(err)
	}
	return nil
}

package bundle

import (
	"encoding/json"

	"muniment.dev/muniment/controls/attest"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/entry/strictjson"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
)

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
// docs/spec/bundle.md, section 6.
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

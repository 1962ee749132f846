package main

import (
	"encoding/json"
	"io"
)

// The kinds of inputs, as in docs/spec/receipt.md, section 6. Inputs of
// receipts have no member for it.
const (
	kindExport   = "export"
	kindEvidence = "evidence-bundle"
	kindSigstore = "sigstore-bundle"

	// Files of the caller, and what verifications with them return.
	kindConfiguration = "configuration"
	kindPolicy        = "trust-policy"
	kindKey           = "public-key"
	kindRoot          = "trusted-root"
)

// A mutant is an input of any kind.
type mutant interface {
	number(id int)
	// verdict returns the line of output without the ID.
	verdict() string
}

// read reads a line of a file of mutants.
func read(line []byte) (mutant, int, error) {
	var head struct {
		ID   int
		Kind string
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, 0, err
	}
	var in mutant
	switch head.Kind {
	case kindExport:
		in = &exported{}
	case kindEvidence:
		in = &evidence{}
	case kindSigstore:
		in = &signed{}
	case kindConfiguration:
		in = &configured{}
	case kindPolicy, kindKey, kindRoot:
		in = &trusted{}
	default:
		in = &input{}
	}
	return in, head.ID, json.Unmarshal(line, in)
}

func write(w io.Writer, in mutant) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(in)
}

func (in *input) number(id int)    { in.ID = id }
func (in *exported) number(id int) { in.ID = id }
func (in *evidence) number(id int) { in.ID = id }
func (in *signed) number(id int)   { in.ID = id }

func (in *configured) number(id int) { in.ID = id }
func (in *trusted) number(id int)    { in.ID = id }

// mutant returns the i-th input of a seed. The kinds take turns, so that a
// short run has all of them.
func (m *maker) mutant(i int) mutant {
	switch i % 10 {
	case 1, 7:
		return m.export()
	case 2:
		return m.evidence()
	case 3:
		return m.sigstore()
	case 4, 6:
		return m.configuration()
	case 8:
		return m.trusted()
	}
	return m.make()
}

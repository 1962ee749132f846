package format

import (
	"fmt"

	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/intoto"
)

// readStatement refuses a statement with missing members. The statement is
// unsigned, so its author can still correct it.
func readStatement(payload []byte) (*evidence.Document, error) {
	s, err := intoto.Read(payload)
	switch {
	case err != nil:
		return nil, err
	case s.Incomplete:
		return nil, fmt.Errorf("in-toto statement: %s", s.Deviations.List[0])
	}
	return &evidence.Document{Statement: s}, nil
}

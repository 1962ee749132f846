package shape

import (
	"slices"

	"muniment.dev/muniment/verifiers/documents"
)

// Signed reports whether a document is a bundle, envelope or statement.
func Signed(document []byte) bool { return Of(document) != None }

// Lines returns the documents of a JSON Lines file if each is a bundle,
// envelope or statement. It returns none for other files.
func Lines(payload []byte) ([][]byte, error) {
	several, err := documents.Split(payload)
	if err != nil || len(several) == 1 || slices.ContainsFunc(several, func(d []byte) bool { return !Signed(d) }) {
		return nil, err
	}
	return several, nil
}

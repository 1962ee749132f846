package receipt

import (
	"testing"

	"muniment.dev/muniment/ledger/entry"
)

// TestAppendJSONWithProof checks that both ways of writing a receipt give the
// same bytes.
func TestAppendJSONWithProof(t *testing.T) {
	w := newWorld(t)
	for _, form := range []Form{Full, Detached, Shared, PayloadErased, HeaderErased} {
		data := w.receipt(4, 11, form, true)
		r, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ParseProof(string(r.Proof))
		if err != nil {
			t.Fatal(err)
		}
		tail := NewProofTail(p.Checkpoint)
		got, err := r.AppendJSONWithProof(nil, p.Index, entry.ByteSlices(p.Path), &tail)
		if err != nil || string(got)+"\n" != string(data) {
			t.Errorf("%s: %v\n%s\nwant\n%s", form, err, got, data)
		}
	}
}

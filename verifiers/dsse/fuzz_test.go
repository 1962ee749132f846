package dsse

import (
	"errors"
	"testing"
)

// Verify returns a verdict for any input, and accepts only what the key signed.
func FuzzVerify(f *testing.F) {
	f.Add([]byte(`{"payloadType":"t","payload":"eA==","signatures":[{"keyid":"a","sig":"eA=="}]}`))
	f.Add([]byte(`{"payloadType":"t","payload":"_-==","signatures":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, _ := ed25519Pair(t, "new")
		if r, err := Verify(data, []*Key{k}, 1); err == nil || !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrNotVerified) {
			t.Errorf("got %+v, %v", r, err)
		}
	})
}

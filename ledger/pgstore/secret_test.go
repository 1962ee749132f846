package pgstore

import (
	"bytes"
	"errors"
	"testing"

	"muniment.dev/muniment/internal/seal"
	"muniment.dev/muniment/ledger/store"
)

// TestSealedSecret opens a log whose secret is in clear text with a key, and
// then with that key, with others and with none.
func TestSealedSecret(t *testing.T) {
	keys := make([]*seal.Key, 2)
	for i := range keys {
		var err error
		if keys[i], err = seal.New(bytes.Repeat([]byte{byte(i)}, seal.KeySize)); err != nil {
			t.Fatal(err)
		}
	}
	location := newLocation(t)
	plain := openAt(t, location)
	for _, c := range []struct {
		name   string
		sealer store.Sealer
		want   error
	}{
		{"the first key", keys[0], nil}, {"the first key again", keys[0], nil}, {"another key", keys[1], store.ErrSealed}, {"no key", nil, store.ErrSealed},
	} {
		for _, open := range []func() (store.Store, error){
			func() (store.Store, error) {
				return Engine{}.Open(t.Context(), location, store.Options{Sealer: c.sealer})
			},
			func() (store.Store, error) {
				return Engine{}.OpenReadOnly(t.Context(), location, store.Options{Sealer: c.sealer})
			},
		} {
			s, err := open()
			if !errors.Is(err, c.want) {
				t.Errorf("%s: error %v, want %v", c.name, err, c.want)
			}
			if err != nil {
				continue
			}
			if got := s.(*Store).secret; got != plain.secret {
				t.Errorf("%s: the log has another secret", c.name)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		var kept []byte
		if err := plain.pool.QueryRow(t.Context(), plain.sql(`SELECT secret FROM $log`)).Scan(&kept); err != nil || bytes.Contains(kept, plain.secret[:]) || len(kept) <= len(plain.secret) {
			t.Errorf("%s: the database has the secret in clear text (error %v)", c.name, err)
		}
	}
	made := newLocation(t)
	s, err := Engine{}.Open(t.Context(), made, store.Options{Sealer: keys[0]})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := (Engine{}).Open(t.Context(), made, store.Options{Sealer: keys[1]}); !errors.Is(err, store.ErrSealed) {
		t.Errorf("a new log was opened with another key (error %v)", err)
	}
}

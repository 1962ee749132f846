package mark

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"muniment.dev/muniment/ledger/store"
)

var example = &store.Mark{
	Checkpoint: []byte("log.example\n1\nAAAA\n\n— log.example AAAA\n"),
	Journals:   []store.Journal{{Name: "000002.log", Length: 1 << 40, Hash: 1}, {Name: "MANIFEST-000001", Length: 0, Hash: 1<<64 - 1}},
}

func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if _, err := Read(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing mark: %v", err)
	}
	for _, m := range []*store.Mark{example, {}} { // the second is shorter
		if err := Write(dir+"/", m); err != nil {
			t.Fatal(err)
		}
		got, err := Read(dir)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("got %+v and the error %v, want %+v", got, err, m)
		}
	}
}

// The remainder of a longer mark is ignored. Any other difference makes the
// mark unusable.
func TestTorn(t *testing.T) {
	data := Marshal(example)
	if got, err := Parse(append(bytes.Clone(data), "left over"...)); err != nil || !reflect.DeepEqual(got, example) {
		t.Errorf("a mark over a longer one: got %+v and the error %v", got, err)
	}
	for n := range data {
		if _, err := Parse(data[:n]); !errors.Is(err, ErrTorn) {
			t.Errorf("cut to %d bytes: got the error %v", n, err)
		}
		bad := bytes.Clone(data)
		bad[n] ^= 1 << (n % 8)
		if _, err := Parse(bad); !errors.Is(err, ErrTorn) {
			t.Errorf("byte %d flipped: got the error %v", n, err)
		}
	}
}

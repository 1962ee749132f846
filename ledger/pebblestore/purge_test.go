package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/sstable/block"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/storetest"
)

// TestPurge looks for the bytes of openings in all files of the store: before
// an erasure they are there, after it and a purge they are not, and those of
// the neighbours are. All is noise, and compression is off, so that no encoding
// can hide anything.
func TestPurge(t *testing.T) {
	soak.WithoutRace(t)
	old, oldLast := compression, lastCompression
	compression, lastCompression = block.NoCompression, block.NoCompression
	t.Cleanup(func() { compression, lastCompression = old, oldLast })
	for _, c := range []struct {
		name           string
		flush, compact bool // what happens between commits and erasure
		restart        bool // the process ends between the erasure and the purge
	}{
		{name: "log"}, {name: "flushed", flush: true}, {name: "compacted", flush: true, compact: true},
		{name: "restarted", flush: true, compact: true, restart: true}, {name: "log, restarted", restart: true},
	} {
		if testing.Short() && !c.restart {
			continue // make test runs them
		}
		t.Run(c.name, func(t *testing.T) {
			ctx := context.Background()
			dir := t.TempDir()
			open := func() *Store {
				s, err := Open(dir, store.Options{BufferBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			s := open()
			src, m := storetest.NewSource(1), storetest.NewModel()
			var entries []store.Entry
			for range 30 { // several log files' worth
				b := src.Next(20)
				for i := range b.Entries { // small ones, and ones with a file of their own
					e := &b.Entries[i]
					if n := 64 + 4000*(i%3); len(e.Payload.Content) < n {
						e.Payload.Content = noise(fmt.Sprint("payload", len(entries)+i), n)
					}
					e.Header.Content = noise(fmt.Sprint("header", len(entries)+i), 300)
				}
				if err := storetest.Spool(ctx, s, b, func(i int) bool { return i%10 == 5 }); err != nil {
					t.Fatal(err)
				}
				if err := s.Commit(ctx, storetest.Unspooled(b)); err != nil {
					t.Fatal(err)
				}
				m.Commit(b)
				entries = append(entries, b.Entries...)
				if c.flush && len(entries)%100 == 0 {
					if err := s.db.Flush(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if c.compact {
				if err := s.db.Compact(ctx, []byte{0}, []byte{0xff}, false); err != nil {
					t.Fatal(err)
				}
			}

			erased := map[uint64]bool{} // and whether the header went
			var erasures []store.Erasure
			for i := uint64(3); i < uint64(len(entries)); i += 37 {
				erased[i] = i%2 == 0
				erasures = append(erasures, m.Erasure(i, erased[i]))
			}
			check := func(gone bool) {
				t.Helper()
				n := &needles{what: map[needle]string{}, want: map[string]bool{}, found: map[string]bool{}}
				for i := range entries {
					e := &entries[i]
					header, er := erased[uint64(i)]
					n.add(fmt.Sprint("payload of ", i), e.Payload.Content, !gone || !er)
					n.add(fmt.Sprint("payload salt of ", i), e.Payload.Salt[:], !gone || !er)
					n.add(fmt.Sprint("header of ", i), e.Header.Content, !gone || !header)
					n.add(fmt.Sprint("header salt of ", i), e.Header.Salt[:], !gone || !header)
				}
				for _, er := range erasures {
					for _, k := range er.Keys {
						n.add(fmt.Sprintf("key %x of %d", k, er.Index), k[:], !gone)
					}
				}
				n.search(t, dir)
			}
			check(false)
			if err := s.Erase(ctx, erasures); err != nil {
				t.Fatal(err)
			}
			m.Erase(erasures)
			if s.Unpurged() != len(erasures) {
				t.Fatalf("%d erasures are to be purged, want %d", s.Unpurged(), len(erasures))
			}
			if c.restart {
				mustClose(t, s)
				s = open()
				if s.Unpurged() != len(erasures) {
					t.Fatalf("after a restart %d erasures are to be purged, want %d", s.Unpurged(), len(erasures))
				}
			}
			if err := s.Purge(ctx); err != nil {
				t.Fatal(err)
			}
			m.Purge()
			check(true)
			if err := m.Check(ctx, s); err != nil {
				t.Fatal(err)
			}
			// The log continues, over files that Pebble would have reused.
			for range 30 {
				b := src.Next(20)
				if err := s.Commit(ctx, b); err != nil {
					t.Fatal(err)
				}
				m.Commit(b)
			}
			mustClose(t, s)
			s = open()
			defer mustClose(t, s)
			check(true)
			if err := m.Check(ctx, s); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// noise returns n bytes that only the name determines.
func noise(name string, n int) []byte {
	out := make([]byte, 0, n+16)
	for _, b := range storetest.NewSource(hash(name)).Next((n+99)/100 + 1).Entries {
		out = append(out, b.Skeleton.Tag[:]...)
		out = append(out, b.Skeleton.HeaderHash[:]...)
		out = append(out, b.Skeleton.LinkSalt[:]...)
		out = append(out, b.Header.Salt[:]...)
	}
	return out[:n:n]
}

func hash(s string) (h uint64) {
	for _, c := range []byte(s) {
		h = h*1_000_003 + uint64(c)
	}
	return h
}

// A needle is looked for at every place of every file. A value has many, since
// a file may cut it anywhere.
type needle [16]byte

type needles struct {
	what  map[needle]string
	want  map[string]bool
	found map[string]bool
}

func (n *needles) add(what string, b []byte, want bool) {
	n.want[what] = want
	for at := 0; at+len(needle{}) <= len(b); at += 48 {
		n.what[needle(b[at:])] = what
	}
}

// search reads all files below the folder, whatever their names.
func (n *needles) search(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // Pebble tidies up
		}
		files++
		for at := 0; at+len(needle{}) <= len(b); at++ {
			if what, ok := n.what[needle(b[at:])]; ok {
				if !n.want[what] {
					t.Errorf("the %s is in %s", what, filepath.Base(path))
				}
				n.found[what] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for what, want := range n.want {
		if want && !n.found[what] {
			t.Errorf("the %s is in none of %d files", what, files)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

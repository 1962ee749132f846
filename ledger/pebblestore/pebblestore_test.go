package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/storetest"
)

func memFS() *vfs.MemFS {
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 1 << 31})
	return fs
}

// TestContract runs the suite with a table in memory that is so small that
// flushes and compactions happen all the time.
func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Disk {
		fs := memFS()
		return func() (store.Store, error) { return OpenFS(fs, "data", store.Options{BufferBytes: 64 << 10}) }
	})
}

func TestContractOnDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("make test runs it; TestContract is the same in memory")
	}
	storetest.Run(t, func(t *testing.T) storetest.Disk {
		dir := filepath.Join(t.TempDir(), "new", "data")
		return func() (store.Store, error) { return Open(dir, store.Options{}) }
	})
}

func TestRawContract(t *testing.T) {
	storetest.RunRaw(t, func(t *testing.T) storetest.Disk {
		fs := memFS()
		return func() (store.Store, error) {
			return OpenFS(fs, "data", store.Options{BufferBytes: 64 << 10, Raw: true})
		}
	})
}

// A store opens only as the kind for which it was made, even while it is empty.
// The format versions differ, so that a program without support for raw logs
// refuses a raw one.
func TestKindOfStore(t *testing.T) {
	for _, raw := range []bool{false, true} {
		fs := memFS()
		s, err := OpenFS(fs, "data", store.Options{Raw: raw})
		if err != nil {
			t.Fatal(err)
		}
		version, err := s.get(formatKey)
		if want := map[bool]uint32{false: 4, true: 5}[raw]; err != nil || binary.BigEndian.Uint32(version) != want {
			t.Errorf("raw %t: version %x, %v, want %d", raw, version, err, want)
		}
		mustClose(t, s)
		if _, err := OpenFS(fs, "data", store.Options{Raw: !raw}); err == nil || !strings.Contains(err.Error(), "raw") {
			t.Errorf("raw %t opened as the other: got error %v", raw, err)
		}
		if s, err = OpenFS(fs, "data", store.Options{Raw: raw}); err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
	}
}

func mustOpen(t testing.TB, fs vfs.FS) *Store {
	t.Helper()
	s, err := OpenFS(fs, "data", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, store.Options{}); !errors.Is(err, store.ErrInUse) {
		t.Errorf("opened twice by one process: got error %v", err)
	}
	out, err := child(t, "open", dir)
	if code := exitCode(err); code != 3 || !strings.Contains(out, "in use by another process") {
		t.Errorf("opened by another process: exit code %d, output %s", code, out)
	}
	mustClose(t, s)
	if out, err := child(t, "open", dir); err != nil {
		t.Errorf("opened after it was closed: %v, output %s", err, out)
	}
}

func TestMissingPermission(t *testing.T) {
	_, err := Open("/proc/no/such/folder", store.Options{})
	if err == nil || errors.Is(err, store.ErrInUse) {
		t.Errorf("got error %v", err)
	}
}

// TestFailedSync and TestFailedWrite check that the process ends when its log
// can't be written, and does not report success.
func TestFailedSync(t *testing.T) {
	out, err := child(t, "fail-sync", t.TempDir())
	if code := exitCode(err); code != 1 || !strings.Contains(out, "fatal commit error") || strings.Contains(out, "COMMIT RETURNED") {
		t.Errorf("exit code %d, output %s", code, out)
	}
}

func TestFailedWrite(t *testing.T) {
	out, err := child(t, "fail-write", t.TempDir())
	if code := exitCode(err); code == 0 || strings.Contains(out, "COMMIT RETURNED <nil>") {
		t.Errorf("exit code %d, output %s", code, out)
	}
}

func child(t *testing.T, what, dir string) (string, error) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), "PEBBLESTORE_CHILD="+what, "PEBBLESTORE_DIR="+dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func exitCode(err error) int {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// TestChild is the body of the processes that other tests start.
func TestChild(t *testing.T) {
	what, dir := os.Getenv("PEBBLESTORE_CHILD"), os.Getenv("PEBBLESTORE_DIR")
	fail := &failing{}
	opts := store.Options{Logger: slog.New(slog.DiscardHandler)}
	var fs vfs.FS
	switch what {
	case "":
		t.Skip("run by other tests")
	case "fail-sync", "fail-write":
		fs = errorfs.Wrap(vfs.Default, fail)
	}
	s, err := OpenFS(fs, dir, opts)
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(3)
	}
	if what == "open" {
		mustClose(t, s)
		return
	}
	src := storetest.NewSource(1)
	if err := s.Commit(context.Background(), src.Next(3)); err != nil {
		t.Fatal(err)
	}
	fail.kind = map[string][]errorfs.OpKind{
		"fail-sync":  {errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo},
		"fail-write": {errorfs.OpFileWrite},
	}[what]
	err = s.Commit(context.Background(), src.Next(3))
	os.Stderr.WriteString("COMMIT RETURNED ")
	if err == nil {
		os.Stderr.WriteString("<nil>")
	}
	os.Exit(0)
}

// failing fails operations of some kinds. It is set between commits, when
// nothing else is going on in the store.
type failing struct{ kind []errorfs.OpKind }

func (f *failing) String() string { return "failing" }

func (f *failing) MaybeError(op errorfs.Op) error {
	for _, k := range f.kind {
		if op.Kind == k {
			return errors.New("broken disk")
		}
	}
	return nil
}

func TestNewerFormatIsRefused(t *testing.T) {
	fs := memFS()
	s := mustOpen(t, fs)
	if err := s.db.Set(formatKey, encodeVersion(formatVersion+1), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	if _, err := OpenFS(fs, "data", store.Options{}); err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Fatalf("got error %v", err)
	}
}

// Entries of version 1 do not bind the log's origin.
func TestOlderFormatIsRefused(t *testing.T) {
	for v := uint32(1); v < formatOldest; v++ {
		fs := memFS()
		s := mustOpen(t, fs)
		if err := s.db.Set(formatKey, encodeVersion(v), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
		if _, err := OpenFS(fs, "data", store.Options{}); err == nil || !strings.Contains(err.Error(), "version 2 only") {
			t.Fatalf("version %d: got error %v", v, err)
		}
	}
}

func TestForeignDatabaseIsRefused(t *testing.T) {
	fs := memFS()
	db, err := pebble.Open("data", &pebble.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Set([]byte("key"), nil, pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFS(fs, "data", store.Options{}); err == nil || !strings.Contains(err.Error(), "not a Muniment store") {
		t.Fatalf("got error %v", err)
	}
}

// TestBadRows breaks one row at a time. The error of a read must name the
// row.
func TestBadRows(t *testing.T) {
	ctx := context.Background()
	src := storetest.NewSource(1)
	c := src.Next(40)
	skeletons, headers, payload := indexKey(skeletonSpace, 0), indexKey(headerSpace, 32), indexKey(payloadSpace, 7)
	var tile [tileKeySize]byte
	putTileKey(tile[:], 0, 0)
	var key [keyKeySize]byte
	putKeyKey(key[:], &c.Keys[0].Key)
	var head [headKeySize]byte
	putHeadKey(head[:], &c.Heads[0].StreamID)

	for _, test := range []struct {
		name string
		key  []byte
		read func(s *Store) error // nil: Open
	}{
		{"format", formatKey, nil},
		{"secret", secretKey, nil},
		{"tree head", headKey, nil},
		{"stream head", head[:], func(s *Store) error { _, err := s.StreamHeads(ctx); return err }},
		{"skeletons", skeletons[:], func(s *Store) error { _, err := s.Skeletons(ctx, 3, 5); return err }},
		{"headers", headers[:], func(s *Store) error { _, err := s.Header(ctx, 33); return err }},
		{"payload", payload[:], func(s *Store) error { _, err := s.Payload(ctx, 7); return err }},
		{"tile", tile[:], func(s *Store) error { _, err := s.Tile(ctx, 0, 0); return err }},
		{"key", key[:], func(s *Store) error { _, err := s.Lookup(ctx, c.Keys[0].Key); return err }},
		{"projections", key[:], func(s *Store) error {
			for _, err := range s.Projections(ctx) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			fs := memFS()
			s := mustOpen(t, fs)
			if err := s.Commit(ctx, c); err != nil {
				t.Fatal(err)
			}
			if err := s.db.Set(test.key, []byte{0xff}, pebble.Sync); err != nil {
				t.Fatal(err)
			}
			mustClose(t, s)
			s, err := OpenFS(fs, "data", store.Options{})
			if test.read != nil {
				if err != nil {
					t.Fatal(err)
				}
				defer mustClose(t, s)
				err = test.read(s)
			}
			if err == nil || errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), describeKey(test.key)) {
				t.Errorf("got error %v, want one about row %s", err, describeKey(test.key))
			}
		})
	}
}

func TestTreeHeadBeyondSkeletons(t *testing.T) {
	fs := memFS()
	s := mustOpen(t, fs)
	if err := s.Commit(context.Background(), storetest.NewSource(1).Next(40)); err != nil {
		t.Fatal(err)
	}
	var v [treeHeadSize]byte
	putTreeHead(v[:], &treeHead{size: 41})
	if err := s.db.Set(headKey, v[:], pebble.Sync); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	s = mustOpen(t, fs)
	defer mustClose(t, s)
	if _, err := s.Follow(context.Background(), 0); err == nil || !strings.Contains(err.Error(), "41") {
		t.Errorf("got error %v", err)
	}
}

// TestErased writes the rows of an erasure.
func TestErased(t *testing.T) {
	ctx := context.Background()
	s := mustOpen(t, memFS())
	defer mustClose(t, s)
	c := storetest.NewSource(1).Next(3)
	for i := range c.Entries {
		c.Entries[i].Header.Content = []byte{byte(i)}
	}
	if err := s.Commit(ctx, c); err != nil {
		t.Fatal(err)
	}
	payload, headers := indexKey(payloadSpace, 2), indexKey(headerSpace, 0)
	run := []byte{3, 2, 0, 2}
	run = append(run, c.Entries[0].Header.Salt[:]...)
	run = append(run, c.Entries[2].Header.Salt[:]...)
	run = append(run, 0, 2)
	if err := errors.Join(s.db.Set(payload[:], nil, pebble.Sync), s.db.Set(headers[:], run, pebble.Sync)); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(3) {
		h, err := s.Header(ctx, i)
		if err != nil || (h == nil) != (i == 1) {
			t.Errorf("header %d: %v, %v", i, h, err)
		}
		if h != nil && (h.Salt != c.Entries[i].Header.Salt || len(h.Content) != 1 || h.Content[0] != byte(i)) {
			t.Errorf("header %d: got %v", i, h)
		}
		p, err := s.Payload(ctx, i)
		if err != nil || (p == nil) != (i == 2) {
			t.Errorf("payload %d: %v, %v", i, p, err)
		}
	}
	if _, err := s.Header(ctx, 3); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got error %v", err)
	}
}

// TestRefusedCommits checks that a commit that could not be read back is
// refused before anything is written.
func TestRefusedCommits(t *testing.T) {
	ctx := context.Background()
	s := mustOpen(t, memFS())
	defer mustClose(t, s)
	src, m := storetest.NewSource(1), storetest.NewModel()
	c := src.Next(20)
	if err := s.Commit(ctx, c); err != nil {
		t.Fatal(err)
	}
	m.Commit(c)
	for name, spoil := range map[string]func(c *store.Commit){
		"no entries":       func(c *store.Commit) { c.Entries = nil },
		"short tile":       func(c *store.Commit) { c.Tiles = []store.Tile{{Hashes: make([]entry.Hash, 255)}} },
		"earlier posting":  func(c *store.Commit) { c.Postings = []store.PostingAt{{Index: 19}} },
		"posting too late": func(c *store.Commit) { c.Postings = []store.PostingAt{{Index: 60}} },
	} {
		c := storetest.NewSource(2)
		c.Next(20)
		bad := c.Next(40)
		spoil(bad)
		if err := s.Commit(ctx, bad); err == nil {
			t.Errorf("%s: no error", name)
		}
		if err := m.Check(ctx, s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLargeCommit is larger than the table in memory, so Pebble takes it
// another way.
func TestLargeCommit(t *testing.T) {
	ctx := context.Background()
	fs := memFS()
	src, m := storetest.NewSource(1), storetest.NewModel()
	for range 3 {
		s, err := OpenFS(fs, "data", store.Options{BufferBytes: 256 << 10})
		if err != nil {
			t.Fatal(err)
		}
		c := src.Next(700)
		if err := s.Commit(ctx, c); err != nil {
			t.Fatal(err)
		}
		m.Commit(c)
		c = src.Next(1)
		if err := s.Commit(ctx, c); err != nil {
			t.Fatal(err)
		}
		m.Commit(c)
		if err := m.Check(ctx, s); err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
	}
}

// TestRowsOfPostings checks that the rows of a term are as long as they may be
// and no longer.
func TestRowsOfPostings(t *testing.T) {
	ctx := context.Background()
	s := mustOpen(t, memFS())
	defer mustClose(t, s)
	src, m := storetest.NewSource(1), storetest.NewModel()
	term := store.Term{1}
	for range 2 {
		c := src.Next(2*maxPostings + 10)
		c.Postings = nil
		for i := range c.Entries {
			c.Postings = append(c.Postings, store.PostingAt{Term: term, Index: c.From + uint64(i)})
		}
		if err := s.Commit(ctx, c); err != nil {
			t.Fatal(err)
		}
		m.Commit(c)
	}
	count := func() (n int) {
		it, err := s.iterator(ctx, postingSpace)
		if err != nil {
			t.Fatal(err)
		}
		defer it.Close()
		for ok := it.First(); ok; ok = it.Next() {
			n++
		}
		return n
	}
	if n := count(); n != 6 {
		t.Errorf("two commits: %d rows, want 6", n)
	}
	if err := m.Check(ctx, s); err != nil {
		t.Error(err)
	}
	if err := s.ReplaceProjections(ctx, s.Projections(ctx), nil); err != nil {
		t.Fatal(err)
	}
	m.ReplaceProjections(m.Projections(), nil)
	if n := count(); n != 5 {
		t.Errorf("after a replacement: %d rows, want 5", n)
	}
	if err := m.Check(ctx, s); err != nil {
		t.Error(err)
	}
}

func FuzzDecodeSkeletonRun(f *testing.F) {
	c := storetest.NewSource(1).Next(5)
	var table [maxRun]entry.Hash
	streams := distinctStreams(&table, c.Entries)
	v := make([]byte, skeletonRunSize(len(c.Entries), len(streams)))
	putSkeletonRun(v, c.Entries, streams)
	key := indexKey(skeletonSpace, 7)
	f.Add(key[:], v)
	f.Add(key[:], []byte{1, 1})
	f.Fuzz(func(t *testing.T, key, v []byte) {
		_, r, err := decodeSkeletonRun(key, v)
		if err != nil {
			return
		}
		entries := make([]store.Entry, r.len())
		for i := range entries {
			entries[i].Skeleton = r.at(i)
		}
		streams := distinctStreams(&table, entries)
		again := make([]byte, skeletonRunSize(len(entries), len(streams)))
		putSkeletonRun(again, entries, streams)
		_, r2, err := decodeSkeletonRun(key, again)
		if err != nil {
			t.Fatal(err)
		}
		for i := range entries {
			if r.at(i) != r2.at(i) {
				t.Fatalf("entry %d changed when it was written again", i)
			}
		}
	})
}

func FuzzDecodeHeader(f *testing.F) {
	c := storetest.NewSource(1).Next(5)
	v := make([]byte, headerRunSize(c.Entries))
	putHeaderRun(v, c.Entries)
	key := indexKey(headerSpace, 7)
	f.Add(key[:], v, uint64(7))
	f.Add(key[:], v, uint64(11))
	f.Add(key[:], v, uint64(12))
	f.Add(key[:], []byte{2, 0, 0}, uint64(8))
	f.Fuzz(func(t *testing.T, key, v []byte, index uint64) {
		h, ok, err := decodeHeader(key, v, index)
		if err == nil && !ok && h != nil || err != nil && h != nil {
			t.Fatalf("got %v, %t, %v", h, ok, err)
		}
	})
}

func FuzzDecodePostings(f *testing.F) {
	var key [postingKeySize]byte
	putPostingKey(key[:], &store.Term{1}, 100)
	f.Add(key[:], []byte{1, 0x80, 0x01, 3})
	f.Fuzz(func(t *testing.T, key, v []byte) {
		indexes, err := decodePostings(nil, key, v)
		if err != nil {
			return
		}
		for i := 1; i < len(indexes); i++ {
			if indexes[i] <= indexes[i-1] {
				t.Fatalf("index %d follows %d", indexes[i], indexes[i-1])
			}
		}
	})
}

func FuzzDecodeSmallRows(f *testing.F) {
	f.Add([]byte("mhead"), make([]byte, treeHeadSize))
	f.Add(make([]byte, headKeySize), make([]byte, streamHeadSize))
	f.Add([]byte("k"), binary.AppendUvarint(nil, 1<<40))
	f.Fuzz(func(t *testing.T, key, v []byte) {
		decodeTreeHead(v)
		decodeStreamHead(key, v)
		decodeTile(key, v)
		decodePayload(key, v)
		decodeIndex(key, v)
		decodeLeafRun(key, v)
		firstIndex(key)
		decodeVersion(v)
		decodeLargeRow(key, v)
		eraseHeaders(key, v, nil)
		describeKey(key)
	})
}

package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/storetest"
)

// files is the content of a disk, by path.
type files map[string][]byte

func readFiles(t testing.TB, fs vfs.FS) files {
	t.Helper()
	out := files{}
	var walk func(dir string)
	walk = func(dir string) {
		names, err := fs.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			path := fs.PathJoin(dir, name)
			if info, err := fs.Stat(path); err != nil {
				t.Fatal(err)
			} else if info.IsDir() {
				walk(path)
				continue
			}
			f, err := fs.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(f)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			out[path] = data
		}
	}
	walk("")
	return out
}

// disk returns a disk in memory with the files.
func (f files) disk(t testing.TB) *vfs.MemFS {
	t.Helper()
	fs := memFS()
	for path, data := range f {
		if err := fs.MkdirAll(fs.PathDir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, fs, path, data)
	}
	return fs
}

func put(t testing.TB, fs vfs.FS, path string, data []byte) {
	t.Helper()
	w, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = w.Write(bytes.Clone(data))
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// find returns the paths with the part in their name.
func (f files) find(part string) (paths []string) {
	for path := range f {
		if strings.Contains(path, part) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// dump returns all rows.
func dump(s *Store) (string, error) {
	it, err := s.iteratorOn(context.Background(), nil, nil)
	if err != nil {
		return "", err
	}
	defer it.Close()
	var b strings.Builder
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%x %x\n", it.Key(), v)
	}
	return b.String(), it.Error()
}

// A damageRig is a small store after a clean stop or kill -9.
type damageRig struct {
	files files
	rows  string
	model *storetest.Model
	cases int
	disk  *vfs.MemFS // with the files; nil if an open store has changed them
}

func newDamageRig(t testing.TB, killed bool) *damageRig {
	t.Helper()
	ctx := context.Background()
	fs := memFS()
	s, err := OpenFS(fs, "data", damageOptions)
	if err != nil {
		t.Fatal(err)
	}
	src, m := storetest.NewSource(5), storetest.NewModel()
	commit := func(n int) {
		t.Helper()
		c := src.Next(n)
		if err := storetest.Spool(ctx, s, c, func(i int) bool { return i == 5 }); err != nil {
			t.Fatal(err)
		}
		m.Commit(c)
		if err := s.Commit(ctx, storetest.Unspooled(c)); err != nil {
			t.Fatal(err)
		}
		if err := s.Mark(&store.Checkpoint{Size: c.From + uint64(n), Signed: fmt.Appendf(nil, "checkpoint %d\n", c.From)}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		commit(6)
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	commit(2)
	commit(1)
	if err := s.KeepCosigned(ctx, &store.Checkpoint{Size: 21, Signed: []byte("cosigned\n")}, 21); err != nil {
		t.Fatal(err)
	}
	rig := &damageRig{model: m}
	if rig.rows, err = dump(s); err != nil {
		t.Fatal(err)
	}
	if killed {
		rig.files = readFiles(t, fs)
	}
	mustClose(t, s)
	if !killed {
		rig.files = readFiles(t, fs)
	}
	rig.files["data/"+largeDir+"/"+strings.Repeat("ab", 16)] = []byte("what no row names")
	return rig
}

var damageOptions = store.Options{BufferBytes: 64 << 10, CacheBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler)}

// needs returns how many bytes of the file the publish mark vouches for. What
// follows is of an older file that Pebble writes over.
func (r *damageRig) needs(path string) int {
	m, err := mark.Parse(r.files["data.mark"])
	if err != nil {
		return 0
	}
	for _, j := range m.Journals {
		if path == "data/"+j.Name {
			return int(j.Length)
		}
	}
	return 0
}

// check opens the store with one damaged file, nil if it is removed. It must
// show the identical rows, or be refused with every file as it was.
func (r *damageRig) check(t *testing.T, what, path string, damaged []byte) (opened bool) {
	t.Helper()
	now := maps.Clone(r.files)
	if r.disk == nil {
		r.disk = r.files.disk(t)
	}
	fs := r.disk
	if damaged == nil {
		delete(now, path)
		if err := fs.Remove(path); err != nil {
			t.Fatal(err)
		}
	} else {
		now[path] = damaged
		put(t, fs, path, damaged)
	}
	r.cases++
	var writes atomic.Int64
	s, err := OpenFS(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind != errorfs.OpLock && op.Kind != errorfs.OpFileClose && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			writes.Add(1)
		}
		return nil
	})), "data", damageOptions)
	if err != nil {
		if n := writes.Load(); n > 0 {
			t.Errorf("%s: it was refused (%v) after %d writes", what, err, n)
		}
		if r.cases%64 > 0 { // comparing all takes longer than the rest
		} else if after := readFiles(t, fs); !maps.EqualFunc(now, after, bytes.Equal) {
			t.Errorf("%s: it was refused (%v), and files changed: before %q, now %q", what, err, slices.Sorted(maps.Keys(now)), slices.Sorted(maps.Keys(after)))
		}
		if !errors.Is(err, store.ErrDamaged) && !strings.Contains(err.Error(), "newer program") {
			t.Errorf("%s: refused with %v, which is not ErrDamaged", what, err)
		}
		checkReadable(t, what, err)
		put(t, fs, path, r.files[path])
		return false
	}
	r.disk = nil
	if writes.Load() == 0 {
		t.Errorf("%s: writes are not counted", what)
	}
	rows, err := dump(s)
	if err != nil || rows != r.rows {
		t.Errorf("%s: it was opened, and shows other rows, or the error %v", what, err)
	}
	mustClose(t, s)
	return true
}

// checkReadable checks that the error of damaged files is a line for people.
func checkReadable(t *testing.T, what string, err error) {
	t.Helper()
	if text := err.Error(); strings.ContainsAny(text, "\n") || strings.Contains(text, "carrier>") || strings.Contains(text, ".go:") {
		t.Errorf("%s: the error is not one readable line: %q", what, text)
	}
}

// After damage to any of the files from which the state is read, the store
// opens in the identical state, or refuses and changes nothing.
func TestDamagedFiles(t *testing.T) {
	soak.WithoutRace(t)
	for _, killed := range []bool{false, true} {
		rig := newDamageRig(t, killed)
		if !rig.check(t, "nothing", "data.mark", rig.files["data.mark"]) {
			t.Fatal("the sound store was refused")
		}
		cases, opened, cut := 0, 0, 512
		if testing.Short() {
			cut = 7 * 512
		}
		flips := soak.NewSample(t, fmt.Sprintf("flipped bytes (killed %v)", killed), 5)
		unneeded := soak.NewSample(t, fmt.Sprintf("flipped bytes that no checkpoint needs (killed %v)", killed), 29)
		check := func(what, path string, damaged []byte) {
			t.Helper()
			cases++
			if rig.check(t, fmt.Sprintf("killed %v, %s: %s", killed, path, what), path, damaged) {
				opened++
			}
		}
		for _, part := range []string{"/MANIFEST-", ".log", "/OPTIONS-", "/marker.", "data.mark"} {
			paths := rig.files.find(part)
			if len(paths) == 0 {
				t.Fatalf("there is no %s", part)
			}
			for _, path := range paths {
				data := rig.files[path]
				for i := 0; i < len(data); i++ {
					if i >= rig.needs(path) && !unneeded.Take() || i < rig.needs(path) && !flips.Take() {
						continue
					}
					bad := bytes.Clone(data)
					bad[i] ^= 1 << (i % 8)
					check(fmt.Sprintf("byte %d flipped", i), path, bad)
				}
				for n := 0; n < len(data); n += cut {
					check(fmt.Sprintf("cut to %d bytes", n), path, data[:n])
				}
				if len(data) > 0 {
					check("one byte cut", path, data[:len(data)-1])
				}
				check("removed", path, nil)
			}
		}
		t.Logf("killed %v: %d cases, of which %d opened", killed, cases, opened)
	}
}

// A store with a damaged table or blob file is refused. If it opens, each read
// returns the written data or ErrDamaged.
func TestDamagedTables(t *testing.T) {
	soak.WithoutRace(t)
	rig := newDamageRig(t, false)
	want := map[string]string{}
	read := func(s *Store, each func(what, got string, err error)) {
		ctx := context.Background()
		for i := range rig.model.Size() {
			h, err := s.Header(ctx, i)
			each(fmt.Sprint("header ", i), fmt.Sprintf("%+v", h), err)
			p, err := s.Payload(ctx, i)
			each(fmt.Sprint("payload ", i), fmt.Sprintf("%+v", p), err)
			sk, err := s.Skeletons(ctx, i, i+1)
			each(fmt.Sprint("skeleton ", i), fmt.Sprintf("%+v", sk), err)
		}
	}
	s, err := OpenFS(rig.files.disk(t), "data", damageOptions)
	if err != nil {
		t.Fatal(err)
	}
	text := func(p string) string { return p[strings.Index(p, "{")+1:] } // without the pointer
	read(s, func(what, got string, err error) {
		if err != nil {
			t.Fatal(what, err)
		}
		want[what] = text(got)
	})
	mustClose(t, s)
	cases, refused, damaged, flips := 0, 0, 0, 10
	if testing.Short() {
		flips = 1
	}
	check := func(what, path string, data []byte) {
		t.Helper()
		cases++
		now := maps.Clone(rig.files)
		if now[path] = data; data == nil {
			delete(now, path)
		}
		s, err := OpenFS(now.disk(t), "data", damageOptions)
		if err != nil {
			refused++
			if !errors.Is(err, store.ErrDamaged) {
				t.Errorf("%s %s: %v", path, what, err)
			}
			checkReadable(t, path+" "+what, err)
			return
		}
		defer s.Close() // a compaction may have failed
		read(s, func(row, got string, err error) {
			switch {
			case errors.Is(err, store.ErrDamaged):
				checkReadable(t, path+" "+what, err)
				damaged++
			case err != nil:
				t.Errorf("%s %s: %s: %v is not ErrDamaged", path, what, row, err)
			case text(got) != want[row]:
				t.Errorf("%s %s: %s is not what was written", path, what, row)
			}
		})
	}
	for _, part := range []string{".sst", ".blob"} {
		paths := rig.files.find(part)
		if len(paths) == 0 {
			t.Fatalf("there is no %s", part)
		}
		for _, path := range paths {
			data := rig.files[path]
			for i := 0; i < len(data); i += 1 + len(data)/flips {
				bad := bytes.Clone(data)
				bad[i] ^= 0x10
				check(fmt.Sprintf("byte %d flipped", i), path, bad)
			}
			check("cut", path, data[:len(data)/2])
			check("removed", path, nil)
		}
	}
	if damaged == 0 || refused == 0 {
		t.Errorf("%d refusals and %d damaged reads: the test damages nothing", refused, damaged)
	}
	t.Logf("%d cases: %d refused, %d reads of damaged records", cases, refused, damaged)
}

// A version edit that is lost would hide a flushed log that is deleted, while a
// later one holds the newest entries.
func TestOlderManifestIsRefused(t *testing.T) {
	soak.WithoutRace(t)
	rig := newDamageRig(t, false)
	path := rig.files.find("/MANIFEST-")[0]
	for n := range len(rig.files[path]) {
		if rig.check(t, fmt.Sprintf("MANIFEST of %d bytes", n), path, rig.files[path][:n]) {
			t.Errorf("opened with a MANIFEST of %d of %d bytes", n, len(rig.files[path]))
		}
	}
}

// A store that was swapped for an older copy of itself is refused by the mark
// beside it.
func TestOlderCopyIsRefused(t *testing.T) {
	ctx := context.Background()
	fs := memFS()
	src := storetest.NewSource(9)
	s := mustOpen(t, fs)
	if err := s.Commit(ctx, src.Next(3)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	old := readFiles(t, fs)
	s = mustOpen(t, fs)
	if err := s.Commit(ctx, src.Next(3)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	old["data.mark"] = readFiles(t, fs)["data.mark"]
	if _, err := OpenFS(old.disk(t), "data", damageOptions); !errors.Is(err, store.ErrStale) {
		t.Fatalf("got the error %v", err)
	}
	delete(old, "data.mark")
	s, err := OpenFS(old.disk(t), "data", damageOptions)
	if err != nil {
		t.Fatalf("without a mark, which is for Options.Prove to judge: %v", err)
	}
	mustClose(t, s)
	only := files{"data.mark": readFiles(t, fs)["data.mark"]}
	if _, err := OpenFS(only.disk(t), "data", damageOptions); !errors.Is(err, store.ErrDamaged) {
		t.Fatalf("the folder is gone: got the error %v", err)
	}
}

// A store that is open for reading changes no file, and refuses to write.
func TestOpenReadOnly(t *testing.T) {
	ctx := context.Background()
	rig := newDamageRig(t, true)
	fs := rig.files.disk(t)
	if _, err := OpenReadOnlyFS(fs, "none", damageOptions); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("a store that is not there: got the error %v", err)
	}
	s, err := OpenReadOnlyFS(fs, "data", damageOptions)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFS(fs, "data", damageOptions); !errors.Is(err, store.ErrInUse) {
		t.Errorf("a second Open: %v", err)
	}
	if rows, err := dump(s); err != nil || rows != rig.rows {
		t.Errorf("it shows other rows, or the error %v", err)
	}
	if _, err := s.Follow(ctx, 0); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"Commit": s.Commit(ctx, storetest.NewSource(1).Next(1)), "Mark": s.Mark(&store.Checkpoint{}), "Purge": s.Purge(ctx),
		"KeepCosigned": s.KeepCosigned(ctx, &store.Checkpoint{Size: 1}, 1), "Erase": s.Erase(ctx, nil),
		"ReplaceProjections": s.ReplaceProjections(ctx, func(func(store.Projection, error) bool) {}, nil),
	} {
		if !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := s.CreatePayload(ctx); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("CreatePayload: %v", err)
	}
	mustClose(t, s)
	if after := readFiles(t, fs); !maps.EqualFunc(rig.files, after, bytes.Equal) {
		t.Errorf("files changed: before %q, now %q", slices.Sorted(maps.Keys(rig.files)), slices.Sorted(maps.Keys(after)))
	}
}

// Prove is called before any file changes, and its refusal leaves all files
// unchanged.
func TestProveRefuses(t *testing.T) {
	rig := newDamageRig(t, true)
	fs := rig.files.disk(t)
	refusal := errors.New("no")
	o := damageOptions
	o.Prove = func(s store.Store, m *store.Mark) error {
		if st, err := s.Follow(context.Background(), 0); err != nil || st.Size != 21 || m == nil || len(m.Checkpoint) == 0 {
			t.Errorf("it is given a state of %+v, the mark %+v and the error %v", st, m, err)
		}
		return refusal
	}
	if _, err := OpenFS(fs, "data", o); !errors.Is(err, refusal) {
		t.Fatalf("got the error %v", err)
	}
	if after := readFiles(t, fs); !maps.EqualFunc(rig.files, after, bytes.Equal) {
		t.Errorf("files changed: before %q, now %q", slices.Sorted(maps.Keys(rig.files)), slices.Sorted(maps.Keys(after)))
	}
}

// Errors of damaged files contain the number of the file.
func TestCheckFileNamesTheFile(t *testing.T) {
	rig := newDamageRig(t, true)
	for _, part := range []string{".sst", ".blob"} {
		for _, path := range rig.files.find(part) {
			now := maps.Clone(rig.files)
			now[path] = bytes.Clone(now[path])
			for i := range now[path][:len(now[path])/2] {
				now[path][i] ^= 0xff
			}
			disk := now.disk(t)
			s := newStore(disk, "data", damageOptions)
			name := disk.PathBase(path)
			number, _, _ := strings.Cut(name, ".")
			err := s.checkFile(t.Context(), name)
			if err == nil || !strings.Contains(err.Error(), "file "+number) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// An examination of a store with any damaged MANIFEST ends without a panic,
// changes nothing, and reports the damage.
func TestExamineDamagedManifest(t *testing.T) {
	rig := newDamageRig(t, true)
	dir := t.TempDir()
	for path, data := range rig.files {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	manifest := rig.files.find("/MANIFEST-")[0]
	data := rig.files[manifest]
	for at := range data {
		if !soak.Full() && at%3 > 0 {
			continue
		}
		bad := bytes.Clone(data)
		bad[at] ^= 1 << (at % 8)
		if err := os.WriteFile(filepath.Join(dir, manifest), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		x, err := Examine(filepath.Join(dir, "data"), damageOptions)
		if err != nil {
			t.Fatalf("byte %d: %v", at, err)
		}
		if len(x.Damage()) == 0 && at < rig.needs(manifest) {
			t.Errorf("byte %d: no damage is reported", at)
		}
		err = x.CheckFiles(t.Context(), nil, func(store.FileDamage) {})
		if err := errors.Join(err, x.Close()); err != nil {
			t.Errorf("byte %d: %v", at, err)
		}
	}
}

package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/operate"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/anchor"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/verifiers/facts"
)

// An fsckRig is a data folder with something of everything in its store.
type fsckRig struct {
	dir    string
	files  map[string][]byte
	signer note.Signer
	erased ledger.Draft // of entry erasedEntry
	size   uint64
}

// Entries of the rig.
const (
	erasedEntry = 2 // its payload
	cleared     = 4 // its header, too
	largeEntry  = 301
)

// draftOf returns evidence of a tenant.
func draftOf(tenant *auth.Tenant, payload []byte, edits ...func(*entry.Header)) ledger.Draft {
	d := ledger.Draft{Stream: tenant.Stream}
	d.LinkSalt, d.Opening.Salt, d.Payload.Salt = entry.NewSalts()
	d.Payload.Content = payload
	d.Header = &entry.Header{Origin: "fsck.example", Tenant: tenant.Name, Kind: "attestation", MediaType: "text/plain", Submitter: tenant.Name + "/ci",
		Verification: entry.Verification{Result: "unverified"}}
	d.Header.Payload.Size = uint64(len(payload))
	d.Header.Payload.Commitment = entry.Commitment(d.Payload.Salt, payload)
	for _, edit := range edits {
		edit(d.Header)
	}
	var err error
	if d.Opening.Content, err = d.Header.AppendJSON(nil); err != nil {
		panic(err)
	}
	if d.Facts, err = facts.Derive(context.Background(), d.Header, func() ([]byte, error) { return payload, nil }); err != nil {
		panic(err)
	}
	return d
}

func newFsckRig(t *testing.T) *fsckRig {
	t.Helper()
	r := &fsckRig{dir: filepath.Join(t.TempDir(), "data")}
	for _, args := range [][]string{{"init", r.dir, "--origin", "fsck.example", "--tenant", "acme"}, {"tenant", "add", "globex", "--data", r.dir}} {
		if code := run(t.Context(), args, nil, io.Discard, os.Stderr); code != 0 {
			t.Fatalf("%q: exit code %d", args, code)
		}
	}
	witness, err := torchwood.NewCosignatureSigner("witness.example", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	policy := filepath.Join(r.dir, datadir.PolicyFile)
	text, err := os.ReadFile(policy)
	if err != nil {
		t.Fatal(err)
	}
	text = append(bytes.Replace(text, []byte("quorum none\n"), nil, 1), fmt.Sprintf("witness w %s\nquorum none\n", witness.Verifier())...)
	if err := os.WriteFile(policy, text, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := datadir.Load(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	r.signer = d.Signer
	r.session(t, d, func(l *ledger.Ledger) { r.fill(t, d, l) })
	r.session(t, d, func(l *ledger.Ledger) { r.eraseAndCosign(t, d, l, witness) })
	r.session(t, d, func(l *ledger.Ledger) {
		for i := range 3 {
			r.append(t, l, draftOf(&d.Tenants[1], fmt.Appendf(nil, "late %d", i)))
		}
	})
	r.files = folderFiles(t, r.dir)
	return r
}

// session opens the log, and closes it after f.
func (r *fsckRig) session(t *testing.T, d *datadir.Dir, f func(l *ledger.Ledger)) {
	t.Helper()
	s, err := datadir.OpenStore(t.Context(), r.dir, d.LogStore(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), ledger.Config{Store: s, Signer: d.Signer, Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	f(l)
	r.size = l.Published().Size
	if err := anchor.Write(filepath.Join(r.dir, datadir.StoreDir+datadir.AnchorSuffix), l.Published().Checkpoint); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func (r *fsckRig) append(t *testing.T, l *ledger.Ledger, drafts ...ledger.Draft) {
	t.Helper()
	results, err := l.Append(t.Context(), drafts)
	for i := range results {
		err = errors.Join(err, results[i].Err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fill appends 302 entries: one full tile, and a large payload.
func (r *fsckRig) fill(t *testing.T, d *datadir.Dir, l *ledger.Ledger) {
	t.Helper()
	var drafts []ledger.Draft
	for i := range 300 {
		tenant := &d.Tenants[i%2]
		payload := fmt.Appendf(nil, "payload %d", i)
		if i%16 == 5 { // in a blob file
			payload = bytes.Repeat(payload, 200)
		}
		drafts = append(drafts, draftOf(tenant, payload))
	}
	r.erased = drafts[erasedEntry]
	r.append(t, l, drafts...)
	r.append(t, l, draftOf(&d.Tenants[0], []byte("event"), func(h *entry.Header) { h.Kind, h.IdempotencyKey = "backfill-checkpoint", "once" }))
	spool, err := l.NewSpool(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Discard()
	content := bytes.Repeat([]byte("large"), 300_000)
	if _, err := spool.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := spool.Finish(); err != nil {
		t.Fatal(err)
	}
	large := draftOf(&d.Tenants[1], nil, func(h *entry.Header) { _, h.Payload.Commitment = spool.Opening(); h.Payload.Size = spool.Size() })
	large.Payload.Salt, _ = spool.Opening()
	large.Payload.Content, large.Large = nil, spool
	r.append(t, l, large)
}

// eraseAndCosign erases two entries, and keeps a cosigned checkpoint.
func (r *fsckRig) eraseAndCosign(t *testing.T, d *datadir.Dir, l *ledger.Ledger, witness note.Signer) {
	t.Helper()
	for index, scope := range map[uint64]string{erasedEntry: ledger.ScopePayload, cleared: ledger.ScopeHeaderAndPayload} {
		e, err := l.PlanErasure(t.Context(), d.Tenants[0].Stream, index, scope == ledger.ScopeHeaderAndPayload)
		if err != nil {
			t.Fatal(err)
		}
		record := draftOf(&d.Tenants[0], fmt.Appendf(nil, "erased %d", index), func(h *entry.Header) {
			h.Kind, h.IdempotencyKey = ledger.ErasureKind, fmt.Sprint("erase ", index)
			h.Attributes = map[string]string{"entry": fmt.Sprint(index), "scope": scope}
		})
		record.Erase = e
		r.append(t, l, record)
	}
	signed := l.Published().Checkpoint
	text, _, _ := bytes.Cut(signed, []byte("\n\n"))
	cosigned, err := note.Sign(&note.Note{Text: string(text) + "\n"}, witness)
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := bytes.Cut(cosigned, []byte("\n\n"))
	if err := l.Cosign(t.Context(), append(bytes.Clone(signed), line...)); err != nil {
		t.Fatal(err)
	}
}

// An fsckResult is the output of a run with --json.
type fsckResult struct {
	code     int
	findings []ledger.Finding
	notes    []string
	text     string
}

// fsck checks the folder, which the check may not change.
func (r *fsckRig) fsck(t *testing.T, args ...string) fsckResult {
	t.Helper()
	before := folderFiles(t, r.dir)
	var out, errOut bytes.Buffer
	res := fsckResult{code: run(t.Context(), append([]string{"fsck", "--data", r.dir, "--json"}, args...), nil, &out, &errOut)}
	res.text = out.String() + errOut.String()
	if after := folderFiles(t, r.dir); !sameFiles(before, after) {
		t.Errorf("fsck has changed the folder\n%s", res.text)
	}
	for line := range strings.Lines(out.String()) {
		var v struct {
			Finding *ledger.Finding
			Note    string
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if v.Finding != nil {
			res.findings = append(res.findings, *v.Finding)
		}
		if v.Note != "" {
			res.notes = append(res.notes, v.Note)
		}
	}
	return res
}

func sameFiles(a, b map[string][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for path := range a {
		if !bytes.Equal(a[path], b[path]) {
			return false
		}
	}
	return true
}

func (r *fsckRig) restore(t *testing.T) {
	t.Helper()
	writeFolder(t, r.dir, r.files)
}

// find returns the paths of files of the rig with the part in their names.
func (r *fsckRig) find(t *testing.T, part string) (paths []string) {
	t.Helper()
	for path := range r.files {
		if strings.Contains(path, part) {
			paths = append(paths, path)
		}
	}
	if len(paths) == 0 {
		t.Fatalf("the folder has no file %s", part)
	}
	slices.Sort(paths)
	return paths
}

// marked reports whether the publish mark names the journal. Pebble keeps other
// write-ahead logs to write over them.
func (r *fsckRig) marked(t *testing.T, name string) bool {
	t.Helper()
	m, err := mark.Parse(r.files[r.find(t, "store.mark")[0]])
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(m.Journals, func(j store.Journal) bool { return j.Name == name })
}

// A flipped bit in any file of the store is found, and the file is named.
func TestFsckFlippedBits(t *testing.T) {
	soak.WithoutRace(t)
	r := newFsckRig(t)
	if res := r.fsck(t); res.code != 0 {
		t.Fatalf("the sound store: exit code %d\n%s", res.code, res.text)
	}
	for _, c := range []struct {
		part   string
		skip   int // bytes at the end that nothing protects
		sample int
	}{
		{".sst", 64, 4}, {".blob", 0, 4}, {"MANIFEST-", 0, 5}, {".log", 0, 4}, {"/large/", 0, 2},
	} {
		paths := r.find(t, c.part)
		if strings.HasPrefix(c.part, "MANIFEST") {
			paths = paths[len(paths)-1:] // the others are obsolete
		}
		if c.part == ".log" {
			paths = slices.DeleteFunc(paths, func(path string) bool { return !r.marked(t, filepath.Base(path)) })
		}
		if len(paths) == 0 {
			t.Fatalf("the publish mark names no %s", c.part)
		}
		for _, path := range paths {
			data := r.files[path]
			for i := range c.sample {
				at := (len(data) - c.skip - 1) * i / (c.sample - 1)
				if len(data) == 0 || at < 0 {
					continue
				}
				r.restore(t)
				changed := bytes.Clone(data)
				changed[at] ^= 1 << (i % 8)
				if err := os.WriteFile(path, changed, 0o600); err != nil {
					t.Fatal(err)
				}
				res := r.fsck(t)
				if c.part == ".log" && res.code == 0 && strings.Contains(res.text, fmt.Sprintf(`"entries":%d`, r.size)) {
					continue // the engine has flushed it, and needs none of it
				}
				if res.code != term.ExitNo {
					t.Errorf("%s: bit %d of byte %d of %d: exit code %d\n%s", filepath.Base(path), i%8, at, len(data), res.code, res.text)
				}
				if !strings.Contains(res.text, filepath.Base(path)) && !strings.Contains(res.text, fmt.Sprintf(`"entry":%d`, largeEntry)) {
					t.Errorf("%s: byte %d: the file is not named:\n%s", filepath.Base(path), at, res.text)
				}
			}
		}
	}
}

// Every kind of damage that is written through the engine, so that no checksum
// is wrong, is found, named, and has a remedy.
func TestFsckKinds(t *testing.T) {
	soak.WithoutRace(t)
	r := newFsckRig(t)
	key := func(space byte, index uint64) []byte { return binary.BigEndian.AppendUint64([]byte{space}, index) }
	large := r.find(t, "/large/")[0]
	type edit func(t *testing.T, e *rowEditor)
	file := func(f func() error) edit {
		return func(t *testing.T, e *rowEditor) {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
	}
	flip := func(key []byte, at int) edit {
		return func(t *testing.T, e *rowEditor) { e.change(key, func(v []byte) { v[(at+len(v))%len(v)] ^= 4 }) }
	}
	sign := func(size uint64, root byte) []byte {
		text := fmt.Sprintf("fsck.example\n%d\n%s\n", size, entry.Hash{root}.Base64())
		signed, err := note.Sign(&note.Note{Text: text}, r.signer)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	anchored := filepath.Join(r.dir, datadir.StoreDir+datadir.AnchorSuffix)
	for _, c := range []struct {
		name   string
		edit   edit
		kind   string // "": the store is sound
		entry  int    // -1: none is named
		remedy ledger.Remedy
	}{
		{"header", flip(key('h', 64), -1), "header", 95, ledger.Restore},
		{"header row missing", func(t *testing.T, e *rowEditor) { e.delete(key('h', 64)) }, "header", 64, ledger.Restore},
		{"payload", flip(key('p', 7), -1), "payload", 7, ledger.Restore},
		{"payload salt", flip(key('p', 8), 3), "payload", 8, ledger.Restore},
		{"payload missing", func(t *testing.T, e *rowEditor) { e.delete(key('p', 9)) }, "payload", 9, ledger.Restore},
		{"payload erased without a record", func(t *testing.T, e *rowEditor) { e.set(key('p', uint64(r.size-1)), nil) }, "payload", int(r.size - 1), ledger.Restore},
		{"skeleton below a full tile", flip(key('s', 32), 2+2*32+1+32), "skeleton", 32, ledger.Restore},
		{"skeleton of the last tile", flip(key('s', 288), 2+2*32+1+32), "skeleton", 288, ledger.Restore},
		{"skeleton row missing", func(t *testing.T, e *rowEditor) { e.delete(key('s', 32)) }, "skeleton", 32, ledger.Restore},
		{"tile", flip(append([]byte{'t', 0}, make([]byte, 8)...), 32*5), "tile", 0, ledger.Rebuild},
		{"tile missing", func(t *testing.T, e *rowEditor) { e.delete(append([]byte{'t', 0}, make([]byte, 8)...)) }, "tile", 0, ledger.Rebuild},
		{"tree head", flip([]byte("mhead"), 8), "tree", -1, ledger.Restore},
		{"checkpoint", func(t *testing.T, e *rowEditor) { e.first('c', func(v []byte) []byte { v[len(v)-10] ^= 1; return v }) }, "checkpoint", -1, ledger.Restore},
		{"checkpoint of another tree", func(t *testing.T, e *rowEditor) { e.set(key('c', 17), sign(17, 1)) }, "checkpoint", -1, ledger.Restore},
		{"checkpoint under another size", func(t *testing.T, e *rowEditor) { e.set(key('c', 18), sign(17, 1)) }, "checkpoint", -1, ledger.Restore},
		{"cosignature", func(t *testing.T, e *rowEditor) { e.first('w', func(v []byte) []byte { v[len(v)-10] ^= 1; return v }) }, "cosignature", -1, ledger.Restore},
		{"erasure undone", func(t *testing.T, e *rowEditor) {
			e.set(key('p', erasedEntry), append(r.erased.Payload.Salt[:], r.erased.Payload.Content...))
		}, "erasure", erasedEntry, ledger.Restart},
		{"deduplication key missing", func(t *testing.T, e *rowEditor) { e.first('k', nil) }, "index", -2, ledger.Rebuild},
		{"deduplication key too many", func(t *testing.T, e *rowEditor) { e.set(append([]byte("k"), make([]byte, 16)...), []byte{3}) }, "index", 3, ledger.Rebuild},
		{"posting missing", func(t *testing.T, e *rowEditor) { e.first('x', nil) }, "index", -2, ledger.Rebuild},
		{"posting too many", func(t *testing.T, e *rowEditor) { e.set(append([]byte("x"), make([]byte, 24)...), nil) }, "index", 0, ledger.Rebuild},
		{"posting beyond the log", func(t *testing.T, e *rowEditor) {
			e.set(append(append([]byte("x"), make([]byte, 16)...), key(0, 1<<40)[1:]...), nil)
		}, "index", 1 << 40, ledger.Rebuild},
		{"stream head", func(t *testing.T, e *rowEditor) { e.first('g', func(v []byte) []byte { v[7]++; return v }) }, "stream head", -2, ledger.Rebuild},
		{"stream head missing", func(t *testing.T, e *rowEditor) { e.first('g', nil) }, "stream head", -2, ledger.Rebuild},
		{"stream head too many", func(t *testing.T, e *rowEditor) { e.set(append([]byte("g"), make([]byte, 32)...), make([]byte, 40)) }, "stream head", -1, ledger.Rebuild},
		{"large file missing", file(func() error { return os.Remove(large) }), "payload", largeEntry, ledger.Restore},
		{"large file cut", file(func() error { return os.Truncate(large, 1000) }), "payload", largeEntry, ledger.Restore},
		{"large file unused", file(func() error { return os.WriteFile(large[:len(large)-4]+"ffff", []byte("x"), 0o600) }), "", -1, ""},
		{"anchor of a larger tree", file(func() error { return os.WriteFile(anchored, sign(r.size+5, 1), 0o600) }), "checkpoint", -1, ledger.Restore},
		{"anchor of another tree", file(func() error { return os.WriteFile(anchored, sign(r.size-5, 1), 0o600) }), "checkpoint", -1, ledger.Restore},
		{"anchor missing, and no mark", file(func() error { return os.Remove(anchored) }), operate.KindMark, -1, ledger.Restore},
		{"files that a crash has left", file(func() error {
			dir := filepath.Join(r.dir, datadir.StoreDir)
			return errors.Join(os.WriteFile(filepath.Join(dir, "900000.sst"), []byte("cut"), 0o600), os.WriteFile(filepath.Join(dir, "900001.blob"), []byte("cut"), 0o600))
		}), "", -1, ""},
		{"nothing", func(*testing.T, *rowEditor) {}, "", -1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.restore(t)
			r.edit(t, c.edit)
			res := r.fsck(t)
			if c.kind == "" {
				if res.code != 0 || len(res.findings) > 0 {
					t.Errorf("exit code %d\n%s", res.code, res.text)
				}
				return
			}
			named := slices.ContainsFunc(res.findings, func(f ledger.Finding) bool {
				return f.Kind == c.kind && f.Remedy == c.remedy && (c.entry == -1 && f.Entry == nil || c.entry == -2 && f.Entry != nil || f.Entry != nil && c.entry >= 0 && *f.Entry == uint64(c.entry))
			})
			if res.code != term.ExitNo || !named {
				t.Errorf("exit code %d, want a finding %q of entry %d\n%s", res.code, c.kind, c.entry, res.text)
			}
			if len(res.findings) > 2 {
				t.Errorf("one fault has %d findings:\n%s", len(res.findings), res.text)
			}
		})
	}
}

// A rowEditor changes rows of a store without interpreting them.
type rowEditor struct {
	t  *testing.T
	db *pebble.DB
}

func (r *fsckRig) edit(t *testing.T, f func(*testing.T, *rowEditor)) {
	t.Helper()
	editRows(t, filepath.Join(r.dir, datadir.StoreDir), f)
}

// editRows changes rows of a store. It removes the publish mark, because Pebble
// writes new journals.
func editRows(t *testing.T, dir string, f func(*testing.T, *rowEditor)) {
	t.Helper()
	db, err := pebble.Open(dir, &pebble.Options{FormatMajorVersion: pebble.FormatValueSeparation, Logger: quietLogger{}})
	if err != nil {
		t.Fatal(err)
	}
	e := &rowEditor{t: t, db: db}
	f(t, e)
	if err := errors.Join(db.Close(), os.Remove(mark.Path(dir))); err != nil {
		t.Fatal(err)
	}
}

type quietLogger struct{}

func (quietLogger) Infof(string, ...any)              {}
func (quietLogger) Errorf(string, ...any)             {}
func (quietLogger) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (e *rowEditor) get(key []byte) []byte {
	e.t.Helper()
	v, closer, err := e.db.Get(key)
	if err != nil {
		e.t.Fatalf("row %q: %v", key, err)
	}
	defer closer.Close()
	return bytes.Clone(v)
}

func (e *rowEditor) set(key, value []byte) {
	e.t.Helper()
	if err := e.db.Set(key, value, pebble.Sync); err != nil {
		e.t.Fatal(err)
	}
}

func (e *rowEditor) delete(key []byte) {
	e.t.Helper()
	e.get(key) // it must be there
	if err := e.db.Delete(key, pebble.Sync); err != nil {
		e.t.Fatal(err)
	}
}

func (e *rowEditor) change(key []byte, f func(v []byte)) {
	e.t.Helper()
	v := e.get(key)
	f(v)
	e.set(key, v)
}

// first changes the first row of a keyspace, or deletes it if f is nil.
func (e *rowEditor) first(space byte, f func(v []byte) []byte) {
	e.t.Helper()
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: []byte{space}, UpperBound: []byte{space + 1}})
	if err != nil || !it.First() {
		e.t.Fatalf("there are no rows %c: %v", space, err)
	}
	key := bytes.Clone(it.Key())
	if err := it.Close(); err != nil {
		e.t.Fatal(err)
	}
	if f == nil {
		e.delete(key)
	} else {
		e.set(key, f(e.get(key)))
	}
}

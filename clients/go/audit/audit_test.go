package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// sentinels are all errors that a run can end with.
var sentinels = []error{ErrCheckpoint, ErrTruncated, ErrForked, ErrMalformed, ErrLeafMismatch, ErrBadLeaf, ErrTileMismatch, ErrRootMismatch, ErrStream, ErrUnavailable, ErrState}

// checkErr checks that err wraps want and no other sentinel, and contains the
// text.
func checkErr(t *testing.T, err, want error, text string) {
	t.Helper()
	for _, s := range sentinels {
		if errors.Is(err, s) != (s == want) {
			t.Fatalf("got the error:\n  %v\nwanted %q only", err, want)
		}
	}
	if !strings.Contains(err.Error(), text) {
		t.Errorf("got the error:\n  %v\nwanted it to say %q", err, text)
	}
}

// checkRun checks all that a run without findings returns.
func checkRun(t interface {
	Helper()
	Fatalf(string, ...any)
}, s *testServer, r *Report, st *State, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("size %d: %v", s.size, err)
	}
	root := s.log.root(s.t, s.size)
	if r.Size != uint64(s.size) || r.Root != root || r.Origin != testOrigin || len(r.Signers) != 1 {
		t.Fatalf("size %d: report is %+v", s.size, r)
	}
	if st.Size() != uint64(s.size) || st.Checkpoint != r.Checkpoint {
		t.Fatalf("size %d: state is of size %d", s.size, st.Size())
	}
	if err := st.check(); err != nil {
		t.Fatalf("size %d: state: %v", s.size, err)
	}
}

func bigLog(n int) *testLog {
	l := &testLog{}
	l.noise(n, "log")
	return l
}

// shared is long enough for three levels of tiles. Tests read it only.
var shared = bigLog(66_100)

// keptState returns the state that an audit of the shared log leaves at a size.
// Each is made once.
func keptState(t testing.TB, size int) *State {
	t.Helper()
	if st := keptStates[size]; st != nil {
		return st
	}
	s, policy := newServer(t, shared, size)
	_, st, err := Run(t.Context(), s, policy, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	keptStates[size] = st
	return st
}

var keptStates = map[int]*State{}

func TestSizes(t *testing.T) {
	soak.WithoutRace(t)
	for _, size := range []int{0, 1, 2, 3, 255, 256, 257, 511, 512, 513, 1000, 65_535, 65_536, 65_537, 65_792, 66_000} {
		for _, kind := range []string{"memory", "http"} {
			t.Run(fmt.Sprintf("%d %s", size, kind), func(t *testing.T) {
				s, policy := newServer(t, shared, size)
				var src Source = s
				if kind == "http" {
					src = s.http()
				}
				var last, total uint64
				r, st, err := Run(t.Context(), src, policy, nil, Options{Progress: func(done, of uint64) {
					if done < last {
						t.Errorf("progress went from %d to %d", last, done)
					}
					last, total = done, of
				}})
				checkRun(t, s, r, st, err)
				if last != uint64(size) || total != uint64(size) {
					t.Errorf("progress ended at %d of %d", last, total)
				}
				want := append(s.paths(), "checkpoint")
				slices.Sort(want)
				slices.Sort(s.asked)
				if !slices.Equal(s.asked, want) {
					t.Errorf("asked for %q,\nnot for each file once: %q", s.asked, want)
				}
			})
		}
	}
}

func TestIncrementalSizes(t *testing.T) {
	soak.WithoutRace(t)
	sizes := []int{0, 1, 2, 255, 256, 257, 512, 65_280, 65_535, 65_536, 65_537, 65_792, 65_793, 66_100}
	for i, n1 := range sizes {
		st := keptState(t, n1)
		for _, n2 := range sizes[i:] {
			if n2-n1 > 1000 && n1 != 1 && n1 != 257 {
				continue // slow, and like these two
			}
			s, policy := newServer(t, shared, n2)
			r, next, err := Run(t.Context(), s, policy, st, Options{})
			checkRun(t, s, r, next, err)
			if r.From != uint64(n1) {
				t.Errorf("from %d to %d: report says from %d", n1, n2, r.From)
			}
			bundles := 0
			for _, p := range s.asked {
				if strings.HasPrefix(p, "tile/entries/") {
					bundles++
				}
			}
			want := 0
			if n2 > n1 {
				want = (n2+255)/256 - n1/256
			}
			if bundles != want {
				t.Errorf("from %d to %d: read %d bundles, not %d", n1, n2, bundles, want)
			}
			slices.Sort(s.asked)
			if len(slices.Compact(slices.Clone(s.asked))) != len(s.asked) {
				t.Errorf("from %d to %d: asked twice for a file: %q", n1, n2, s.asked)
			}
		}
	}
}

func TestIncrementalRandom(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s, policy := newServer(t, shared, 0)
		var st *State
		for range 3 {
			s.size = rapid.OneOf(rapid.IntRange(s.size, min(s.size+1000, 66_000)), rapid.IntRange(s.size, min(s.size+20_000, 66_000))).Draw(rt, "size")
			r, next, err := Run(t.Context(), s, policy, st, Options{Concurrency: rapid.IntRange(1, 5).Draw(rt, "concurrency")})
			checkRun(rt, s, r, next, err)
			data, err := next.MarshalJSON()
			if err != nil {
				rt.Fatal(err)
			}
			st = &State{}
			if err := st.UnmarshalJSON(data); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

// A change of any byte of any file is found.
func TestCorruption(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(1, 2000), rapid.SampledFrom([]int{256, 512, 65_536, 66_000})).Draw(rt, "size")
		s, policy := newServer(t, shared, size)
		path := rapid.SampledFrom(s.paths()).Draw(rt, "path")
		at := rapid.IntRange(0, len(s.log.tile(size, path))-1).Draw(rt, "byte")
		mask := byte(rapid.IntRange(1, 255).Draw(rt, "mask"))
		s.change[path] = func(b []byte) []byte { b[at] ^= mask; return b }
		_, st, err := Run(t.Context(), s, policy, nil, Options{})
		if st != nil || !(errors.Is(err, ErrLeafMismatch) || errors.Is(err, ErrMalformed) || errors.Is(err, ErrTileMismatch) || errors.Is(err, ErrRootMismatch)) {
			rt.Fatalf("size %d: byte %d of %s was changed, and the audit said: %v", size, at, path, err)
		}
	})
}

// The same holds for the data that an incremental run reads.
func TestCorruptionIncremental(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		sizes := rapid.OneOf(rapid.IntRange(1, 1500), rapid.SampledFrom([]int{65_535, 65_536, 65_600}))
		n1 := sizes.Draw(rt, "n1")
		n2 := n1 + rapid.IntRange(1, 500).Draw(rt, "more")
		st := keptState(t, n1)
		honest, policy := newServer(t, shared, n2)
		if _, _, err := Run(t.Context(), honest, policy, st, Options{}); err != nil {
			rt.Fatal(err)
		}
		slices.Sort(honest.asked)
		s, _ := newServer(t, shared, n2)
		path := rapid.SampledFrom(honest.asked[1:]).Draw(rt, "path") // without the checkpoint
		at := rapid.IntRange(0, len(s.log.tile(n2, path))-1).Draw(rt, "byte")
		s.change[path] = func(b []byte) []byte { b[at] ^= 1; return b }
		if _, next, err := Run(t.Context(), s, policy, st, Options{}); err == nil || next != nil || errors.Is(err, ErrForked) {
			rt.Fatalf("from %d to %d: byte %d of %s was changed, and the audit said: %v", n1, n2, at, path, err)
		}
	})
}

// Each hostile or broken server causes an error of its own.
func TestHostile(t *testing.T) {
	// the log with another entry at an index
	edit := func(l *testLog, at int, label string) *testLog {
		f := l.prefix(at)
		f.add(noiseLeaf(label, at))
		for _, leaf := range l.leaves[at+1:] {
			f.add(leaf)
		}
		return f
	}
	short := shared.prefix(1500)
	const html = "<!DOCTYPE html>\n<title>Sign in</title>"
	const e3 = 3*entrySize + 20 // a byte of the fourth entry of a bundle

	for _, tc := range []struct {
		name string
		log  *testLog // nil: shared
		size int      // 0: 1300; -1: 0
		kept int      // 0: there is no state
		with func(s *testServer)
		want error
		text string
	}{
		{name: "entry changed in bundle", with: func(s *testServer) { s.change["tile/entries/004"] = flip(e3) },
			want: ErrLeafMismatch, text: "entry 1027: the entry bundle does not hash to the leaf in the tile"},
		{name: "entry changed in partial bundle", with: func(s *testServer) { s.change["tile/entries/005.p/20"] = flip(e3) },
			want: ErrLeafMismatch, text: "entry 1283: the entry bundle"},
		{name: "hash changed in level-0 tile", with: func(s *testServer) { s.change["tile/0/002"] = flip(-1) },
			want: ErrLeafMismatch, text: "entry 767: the entry bundle"},
		{name: "hash changed in level-1 tile", with: func(s *testServer) { s.change["tile/1/000.p/5"] = flip(2*32 + 5) },
			want: ErrTileMismatch, text: "tile/1/000.p/5: hash 2 is"},
		{name: "hash changed in full level-1 tile", size: 66_000, with: func(s *testServer) { s.change["tile/1/000"] = flip(200 * 32) },
			want: ErrTileMismatch, text: "tile/1/000: hash 200 is"},
		{name: "hash changed in level-2 tile", size: 66_000, with: func(s *testServer) { s.change["tile/2/000.p/1"] = flip(0) },
			want: ErrTileMismatch, text: "tile/2/000.p/1: hash 0 is"},
		{name: "bundle and tile changed alike", with: func(s *testServer) {
			other := edit(short, 1290, "other")
			for _, p := range []string{"tile/entries/005.p/20", "tile/0/005.p/20"} {
				s.change[p] = func([]byte) []byte { return other.tile(1300, p) }
			}
		}, want: ErrRootMismatch, text: "for size 1300, but the log signed"},
		{name: "all tiles of another tree", with: func(s *testServer) {
			s.log = edit(short, 7, "other")
			s.checkpoint = func([]byte) []byte {
				honest, _ := newServer(s.t, shared, 1300)
				return honest.signed()
			}
		}, want: ErrRootMismatch, text: "entries and tiles agree"},
		{name: "empty tree with a root", size: -1, with: func(s *testServer) {
			s.checkpoint = func([]byte) []byte {
				signed, _ := receipt.Checkpoint{Origin: testOrigin, Root: entry.Hash{1}}.Sign(s.signer)
				return signed
			}
		}, want: ErrRootMismatch, text: "empty tree"},

		{name: "truncated", kept: 1400, want: ErrTruncated, text: "it has 1300 entries, and had 1400"},
		{name: "truncated to nothing", size: -1, kept: 1400, want: ErrTruncated, text: "it has 0 entries"},
		{name: "another tree of the same size", log: edit(short, 500, "other"), kept: 1300, want: ErrForked, text: "two trees of size 1300"},
		{name: "rewritten, far back", log: edit(short, 5, "other"), kept: 1024, want: ErrForked, text: "history was rewritten"},
		{name: "rewritten, last entry", log: edit(short, 999, "other"), kept: 1000, want: ErrForked, text: "the first 1000 entries of its tree of size 1300"},
		{name: "rewritten, one entry kept", log: edit(short, 0, "other"), kept: 1, want: ErrForked, text: "history was rewritten"},
		{name: "rewritten, old tiles shown", log: edit(short, 5, "other"), kept: 1000, with: func(s *testServer) {
			for _, p := range s.paths() {
				s.change[p] = func([]byte) []byte { return shared.tile(1300, p) }
			}
		}, want: ErrTileMismatch, text: "does not prove that it extends"},
		{name: "rewritten, tiles missing", log: edit(short, 5, "other"), kept: 1000, with: func(s *testServer) { s.change["tile/1/000.p/5"] = missing },
			want: ErrUnavailable, text: "needs tile/1/000.p/5"},
		{name: "rewritten, new bundles shown", kept: 1000, with: func(s *testServer) { s.change["tile/entries/003"] = flip(e3) },
			want: ErrLeafMismatch, text: "entry 771"},
		{name: "changed inside the tile at the old edge", kept: 258, size: 600, with: func(s *testServer) { s.change["tile/0/001"] = flip(0) },
			want: ErrTileMismatch, text: "does not prove that it extends"},
		{name: "changed old hash in the level-1 tile", kept: 1024, size: 66_000, with: func(s *testServer) { s.change["tile/1/000"] = flip(0) },
			want: ErrTileMismatch, text: "does not prove that it extends"},

		{name: "wrong key", with: func(s *testServer) { s.signer, _ = testKey(s.t, testOrigin, "other") }, want: ErrCheckpoint, text: "check that the policy file"},
		{name: "wrong key name", with: func(s *testServer) { s.signer, _ = testKey(s.t, "other.example/log", "log") }, want: ErrCheckpoint},
		{name: "wrong origin", with: func(s *testServer) { s.origin = "other.example/log" }, want: ErrCheckpoint, text: "other.example/log"},
		{name: "garbage checkpoint", with: func(s *testServer) { s.checkpoint = func([]byte) []byte { return []byte("\x00\xff\x01") } }, want: ErrCheckpoint, text: "not a signed note"},
		{name: "empty checkpoint", with: func(s *testServer) { s.checkpoint = func([]byte) []byte { return []byte{} } }, want: ErrCheckpoint},
		{name: "changed checkpoint", with: func(s *testServer) {
			s.checkpoint = func(b []byte) []byte { return []byte(strings.Replace(string(b), "\n1300\n", "\n1299\n", 1)) }
		}, want: ErrCheckpoint},
		{name: "extension line", with: func(s *testServer) {
			s.checkpoint = func([]byte) []byte {
				c := receipt.Checkpoint{Origin: testOrigin, Size: 1300, Root: shared.root(s.t, 1300)}
				signed, _ := note.Sign(&note.Note{Text: c.Text() + "more\n"}, s.signer)
				return signed
			}
		}, want: ErrCheckpoint, text: "extension lines are not allowed"},
		{name: "long checkpoint", with: func(s *testServer) {
			s.checkpoint = func(b []byte) []byte { return append(b, make([]byte, 10*maxCheckpointSize)...) }
		}, want: ErrCheckpoint},
		{name: "HTML instead of a checkpoint", with: func(s *testServer) { s.checkpoint = func([]byte) []byte { return []byte(html) } }, want: ErrCheckpoint, text: "HTML page"},
		{name: "no checkpoint", with: func(s *testServer) { s.checkpoint = missing }, want: ErrUnavailable, text: "check the log's URL"},

		{name: "HTML instead of a tile", with: func(s *testServer) { s.change["tile/0/001"] = func([]byte) []byte { return []byte(html) } }, want: ErrMalformed, text: "HTML page"},
		{name: "HTML instead of a bundle", with: func(s *testServer) { s.change["tile/entries/001"] = func([]byte) []byte { return []byte(html) } }, want: ErrMalformed, text: "HTML page"},
		{name: "tile too short", with: func(s *testServer) { s.change["tile/0/001"] = func(b []byte) []byte { return b[:len(b)-1] } },
			want: ErrMalformed, text: "tile/0/001: it must be 8192 bytes long, not 8191"},
		{name: "tile too long", with: func(s *testServer) { s.change["tile/0/001"] = func(b []byte) []byte { return append(b, 0) } }, want: ErrMalformed, text: "more than 8192"},
		{name: "partial tile too long", with: func(s *testServer) {
			s.change["tile/0/005.p/20"] = func(b []byte) []byte { return append(b, b[:32]...) }
		},
			want: ErrMalformed, text: "must be 640 bytes long, not 672"},
		{name: "empty tile", with: func(s *testServer) { s.change["tile/1/000.p/5"] = func(b []byte) []byte { return b[:0] } }, want: ErrMalformed, text: "long, not 0"},
		{name: "bundle with trailing bytes", with: func(s *testServer) {
			s.change["tile/entries/001"] = func(b []byte) []byte { return append(b, 0, 0, 0) }
		},
			want: ErrMalformed, text: "tile/entries/001: 3 bytes follow its last entry"},
		{name: "bundle cut off", with: func(s *testServer) { s.change["tile/entries/001"] = func(b []byte) []byte { return b[:len(b)-1] } },
			want: ErrMalformed, text: "ends within entry 511"},
		{name: "bundle of another format", log: func() *testLog {
			l := short.prefix(600)
			l.add([]byte("hello"))
			l.noise(699, "after")
			return l
		}(), want: ErrBadLeaf, text: "entry 600: leaf data of 5 bytes instead of 65"},
		{name: "entry one byte short", log: func() *testLog {
			l := short.prefix(600)
			l.add(append([]byte{1}, make([]byte, 63)...))
			l.noise(699, "after")
			return l
		}(), want: ErrBadLeaf, text: "entry 600: leaf data of 64 bytes"},
		{name: "empty entry", log: func() *testLog {
			l := short.prefix(600)
			l.add(nil)
			l.noise(699, "after")
			return l
		}(), want: ErrBadLeaf, text: "entry 600: leaf data of 0 bytes"},
		{name: "entry of another version", log: func() *testLog {
			l := short.prefix(600)
			l.add(append([]byte{1}, make([]byte, 64)...))
			l.noise(699, "after")
			return l
		}(), want: ErrBadLeaf, text: "entry 600: leaf data that begins with 0x01 instead of 0x02"},

		{name: "size beyond all reason", kept: 1000, with: func(s *testServer) {
			s.checkpoint = func([]byte) []byte {
				signed, _ := receipt.Checkpoint{Origin: testOrigin, Size: 1<<53 - 1, Root: entry.Hash{1}}.Sign(s.signer)
				return signed
			}
		}, want: ErrUnavailable, text: "does not serve it"},
		{name: "tile missing", with: func(s *testServer) { s.change["tile/0/003"] = missing }, want: ErrUnavailable, text: "needs tile/0/003, but does not serve it"},
		{name: "bundle missing", with: func(s *testServer) { s.change["tile/entries/003"] = missing }, want: ErrUnavailable, text: "needs tile/entries/003"},
		{name: "level-1 tile missing", with: func(s *testServer) { s.change["tile/1/000.p/5"] = missing }, want: ErrUnavailable, text: "needs tile/1/000.p/5"},
	} {
		if tc.log == nil {
			tc.log = shared
		}
		switch tc.size {
		case 0:
			tc.size = 1300
		case -1:
			tc.size = 0
		}
		for _, kind := range []string{"memory", "http"} {
			t.Run(tc.name+"/"+kind, func(t *testing.T) {
				var kept *State
				if tc.kept > 0 {
					kept = keptState(t, tc.kept)
				}
				s, policy := newServer(t, tc.log, tc.size)
				if tc.with != nil {
					tc.with(s)
				}
				var src Source = s
				if kind == "http" {
					src = s.http()
				}
				r, st, err := Run(t.Context(), src, policy, kept, Options{})
				checkErr(t, err, tc.want, tc.text)
				if r != nil || st != nil {
					t.Errorf("there is a report or a state beside the error %v", err)
				}
				if tc.want == ErrTruncated || tc.want == ErrForked {
					c, ok := errors.AsType[*Conflict](err)
					if !ok {
						t.Fatalf("%T is not a conflict", err)
					}
					for _, signed := range []string{c.Kept, c.Offered} {
						if _, _, err := policy.VerifyCheckpoint([]byte(signed)); err != nil {
							t.Errorf("evidence: %v", err)
						}
					}
					if want := tc.log.root(t, min(tc.size, tc.kept)); c.OfferedPrefix != nil && *c.OfferedPrefix != want {
						t.Errorf("evidence: the offered tree has the root %s at size %d, not %s", want, tc.kept, c.OfferedPrefix)
					}
				}
			})
		}
	}
}

// The scan continues from the stored peaks, whether or not a comparison came
// first.
func TestScanContinuesPeaks(t *testing.T) {
	for _, kept := range []int{1, 255, 300, 1000, 1024, 65_600} {
		st := keptState(t, kept)
		forked := &testLog{}
		forked.noise(kept+10, "fork")
		for name, log := range map[string]*testLog{"": shared, "differ from those audited": forked} {
			s, policy := newServer(t, log, kept+10)
			a := &auditor{files: files{src: s}, opts: Options{Concurrency: 2, Progress: func(_, _ uint64) {}}}
			if err := a.readCheckpoint(t.Context(), policy); err != nil {
				t.Fatal(err)
			}
			if _, err := a.scan(t.Context(), st); name != "" {
				checkErr(t, err, ErrTileMismatch, name)
			} else if err != nil {
				t.Errorf("kept %d: %v", kept, err)
			}
		}
	}
}

// A log may delete partial tiles once there are full ones.
func TestPartialTilesDeleted(t *testing.T) {
	for _, n1 := range []int{0, 700, 1299} {
		st := keptState(t, n1)
		s, policy := newServer(t, shared, 66_000)
		at1300, _ := newServer(t, shared, 1300)
		s.checkpoint = func([]byte) []byte { return at1300.signed() }
		for _, p := range at1300.paths() {
			if strings.Contains(p, ".p/") {
				s.change[p] = missing
			}
		}
		r, st, err := Run(t.Context(), s.http(), policy, st, Options{})
		checkRun(t, at1300, r, st, err)

		s.change["tile/0/005"] = func(b []byte) []byte { return b[:20*32] }
		_, _, err = Run(t.Context(), s, policy, nil, Options{})
		checkErr(t, err, ErrMalformed, "tile/0/005: it must be 8192 bytes long, not 640")
		s.change["tile/0/005"] = nil
		s.change["tile/entries/005"] = func(b []byte) []byte { return b[:100*entrySize] }
		_, _, err = Run(t.Context(), s, policy, nil, Options{})
		checkErr(t, err, ErrMalformed, "tile/entries/005: it ends within entry 1380")
	}
}

// A host on S3 answers requests for deleted partial tiles with 403.
func TestForbiddenPartialTiles(t *testing.T) {
	s, policy := newServer(t, shared, 66_000)
	at1300, _ := newServer(t, shared, 1300)
	s.checkpoint = func([]byte) []byte { return at1300.signed() }
	var closed bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, ".p/") || closed {
			http.Error(w, "<Error><Code>AccessDenied</Code></Error>", http.StatusForbidden)
			return
		}
		s.ServeHTTP(w, r)
	}))
	defer server.Close()
	src, err := NewHTTPSource(server.URL+"/tlog/", nil)
	if err != nil {
		t.Fatal(err)
	}
	// The tree of 1300 has partial tiles only at its edge, and the full ones
	// of the larger tree have taken their place, but for level 1.
	for _, p := range at1300.paths() {
		if full, _, partial := strings.Cut(p, ".p/"); partial {
			if s.log.tile(66_000, full) == nil {
				t.Fatalf("no full tile %s", full)
			}
		}
	}
	r, st, err := Run(t.Context(), src, policy, nil, Options{})
	checkRun(t, at1300, r, st, err)
	closed = true
	_, _, err = Run(t.Context(), src, policy, nil, Options{})
	checkErr(t, err, ErrUnavailable, "403 Forbidden; it is missing, or access to the log is restricted")
}

// Files of a folder are read up to the size that the format allows, and only if
// they are regular files in the folder.
func TestHostileFolder(t *testing.T) {
	s, policy := newServer(t, shared, 1300)
	dir := t.TempDir()
	write := func(path string, data []byte) {
		t.Helper()
		full := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range append(s.paths(), "checkpoint") {
		data, err := s.ReadEndpoint(t.Context(), p, math.MaxInt64-1)
		if err != nil {
			t.Fatal(err)
		}
		write(p, data)
	}
	src, err := NewFolderSource(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	r, st, err := Run(t.Context(), src, policy, nil, Options{})
	checkRun(t, s, r, st, err)

	for _, tc := range []struct {
		path string
		want error
	}{{"checkpoint", ErrCheckpoint}, {"tile/0/002", ErrMalformed}, {"tile/entries/003", ErrMalformed}, {"tile/1/000.p/5", ErrMalformed}} {
		full := filepath.Join(dir, filepath.FromSlash(tc.path))
		good, err := os.ReadFile(full)
		if err != nil {
			t.Fatal(err)
		}
		for name, spoil := range map[string]func() error{
			"sparse": func() error { return os.Truncate(full, 1<<33) },
			"link":   func() error { return errors.Join(os.Remove(full), os.Symlink("/dev/zero", full)) },
			"pipe":   func() error { return errors.Join(os.Remove(full), syscall.Mkfifo(full, 0o600)) },
		} {
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			want := tc.want
			if name != "sparse" {
				want = ErrUnavailable
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _, err := Run(t.Context(), src, policy, nil, Options{})
			runtime.ReadMemStats(&after)
			if !errors.Is(err, want) {
				t.Errorf("%s, %s: %v", tc.path, name, err)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
				t.Errorf("%s, %s: %d bytes were allocated", tc.path, name, n)
			}
			if err := errors.Join(os.Remove(full), os.WriteFile(full, good, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestStopped(t *testing.T) {
	for _, path := range []string{"checkpoint", "tile/0/000", "tile/entries/003", "tile/1/000.p/5"} {
		t.Run(path, func(t *testing.T) {
			s, policy := newServer(t, shared, 1300)
			ctx, cancel := context.WithCancelCause(t.Context())
			cause := errors.New("enough")
			s.fail = func(ctx context.Context, p string) error {
				if p == path {
					cancel(cause) // the caller gives up while the server is still thinking
					<-ctx.Done()
				}
				return nil
			}
			_, _, err := Run(ctx, s.http(), policy, nil, Options{Concurrency: 3})
			checkErr(t, err, ErrUnavailable, "the audit was stopped")
			if !errors.Is(err, cause) {
				t.Errorf("%v does not wrap the cause", err)
			}
		})
	}
	t.Run("deadline", func(t *testing.T) {
		s, policy := newServer(t, shared, 1300)
		s.fail = func(ctx context.Context, p string) error {
			if p != "checkpoint" {
				<-ctx.Done()
			}
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, _, err := Run(ctx, s.http(), policy, nil, Options{})
		checkErr(t, err, ErrUnavailable, "deadline exceeded")
	})
}

func TestHTTPRetries(t *testing.T) {
	s, policy := newServer(t, shared, 1300)
	var n atomic.Int64
	var status int
	var failures int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) <= failures {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(status)
			return
		}
		s.ServeHTTP(w, r)
	}))
	defer server.Close()
	src, err := NewHTTPSource(server.URL+"/tlog/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		status   int
		failures int64
		want     error
		requests int64 // for the checkpoint
	}{
		{503, 3, nil, 4},
		{429, 3, nil, 4},
		{503, 4, ErrUnavailable, 4},
		{403, 1, ErrUnavailable, 1},
		{404, 1, ErrUnavailable, 1},
		{410, 1, ErrUnavailable, 1},
	} {
		n.Store(0)
		status, failures = tc.status, tc.failures
		_, _, err := Run(t.Context(), src, policy, nil, Options{})
		if !errors.Is(err, tc.want) {
			t.Errorf("%d times %d: %v", tc.failures, tc.status, err)
		}
		if tc.want != nil && n.Load() != tc.requests {
			t.Errorf("%d times %d: %d requests", tc.failures, tc.status, n.Load())
		}
	}
	server.Close()
	src.pause = func(int) time.Duration { return 0 }
	_, _, err = Run(t.Context(), src, policy, nil, Options{})
	checkErr(t, err, ErrUnavailable, "when the log is reachable")

	for _, bad := range []string{"", "ledger.example", "ftp://ledger.example/", "https:///tlog", "https://ledger.example/?x", "\x00"} {
		if _, err := NewHTTPSource(bad, nil); err == nil {
			t.Errorf("%q was taken for a log's URL", bad)
		}
	}
}

func TestState(t *testing.T) {
	log := shared.prefix(700)
	log.entry(0)
	log.entry(2)
	log.noise(100, "after")
	s, policy := newServer(t, log, 800)
	_, st, err := Run(t.Context(), s, policy, nil, Options{StreamKey: &tenantKey})
	checkErr(t, err, ErrStream, "missing")

	path := filepath.Join(t.TempDir(), "audit.json")
	if _, err := LoadState(path); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrState) {
		t.Errorf("no file: %v", err)
	}
	for range 2 { // the second time it is there already
		if err := st.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	if names, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(names) != 1 {
		t.Errorf("left behind: %q", names)
	}
	got, err := LoadState(path)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%+v %+v", *got.Stream, got.Peaks) != fmt.Sprintf("%+v %+v", *st.Stream, st.Peaks) || got.Checkpoint != st.Checkpoint || got.head != st.head {
		t.Errorf("saved %+v, loaded %+v", st, got)
	}
	if err := st.Save(filepath.Join(path, "under-a-file")); err == nil {
		t.Error("saved below a file")
	}

	data, err := st.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	good := string(data)
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in %s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	peak := st.Peaks[0].Base64()
	for name, bad := range map[string]string{
		"empty":             "",
		"not an object":     "[]",
		"null":              "null",
		"no members":        "{}",
		"trailing":          good + "{}",
		"unknown member":    replace(`{"version"`, `{"more":1,"version"`),
		"other case":        replace(`"peaks"`, `"Peaks"`),
		"repeated":          replace(`{"version":2`, `{"version":2,"version":2`),
		"other version":     replace(`"version":2`, `"version":1`),
		"checkpoint":        replace(`"checkpoint":"`, `"checkpoint":"x\n`),
		"other size":        replace(`\n800\n`, `\n801\n`),
		"peak missing":      replace(`"`+peak+`",`, ``),
		"peak changed":      replace(peak, st.Peaks[1].Base64()),
		"peak short":        replace(peak, peak[:40]),
		"gap beyond":        replace(`{"first":1,"last":1}`, `{"first":1,"last":2}`),
		"gap reversed":      replace(`{"first":1,"last":1}`, `{"first":1,"last":0}`),
		"gaps out of order": replace(`{"first":1,"last":1}`, `{"first":1,"last":1},{"first":1,"last":1}`),
		"more than entries": replace(`"next":3`, `"next":900`),
		"index beyond":      replace(`"lastIndex":701`, `"lastIndex":800`),
	} {
		if err := (&State{}).UnmarshalJSON([]byte(bad)); !errors.Is(err, ErrState) {
			t.Errorf("%s: %v", name, err)
		}
	}

	other := entry.StreamKey(sha256.Sum256([]byte("other")))
	_, otherPolicy := testKey(t, "other.example/log", "log")
	changed := *st
	changed.Peaks = changed.Peaks[1:]
	for _, tc := range []struct {
		name   string
		policy *receipt.TrustPolicy
		state  *State
		key    *entry.StreamKey
		text   string
	}{
		{"other log", otherPolicy, st, &tenantKey, "use a separate state file for each log"},
		{"other stream", policy, st, &other, "use a separate state file for each stream"},
		{"no key", policy, st, nil, "use the stream's key"},
		{"damaged", policy, &changed, &tenantKey, "peaks"},
		{"zero", policy, &State{}, nil, "checkpoint"},
	} {
		_, _, err := Run(t.Context(), s, tc.policy, tc.state, Options{StreamKey: tc.key})
		if err == nil {
			t.Fatalf("%s: no error", tc.name)
		}
		checkErr(t, err, ErrState, tc.text)
	}
	n := uint64(1)
	if _, _, err := Run(t.Context(), s, policy, nil, Options{ExpectNext: &n}); err == nil {
		t.Error("ExpectNext without a key")
	}
}

// The tree arithmetic agrees with golang.org/x/mod/sumdb/tlog.
func TestPeaks(t *testing.T) {
	for _, size := range []int{1, 2, 3, 7, 255, 256, 300, 65_536, 66_000} {
		var all []entry.Hash
		for l := levels(uint64(size)) - 1; l >= 0; l-- {
			w := width(uint64(size), l)
			first := int64(size) >> (8 * (l + 1)) << 8
			var hashes []entry.Hash
			for i := range w {
				hashes = append(hashes, entry.Hash(shared.stored[tlog.StoredHashIndex(8*l, first+int64(i))]))
			}
			all = append(all, peaks(hashes)...)
		}
		if got, want := rootOf(all), shared.root(t, size); got != want {
			t.Errorf("size %d: root %s, not %s", size, got, want)
		}
		n := 0
		for l, p := range splitPeaks(uint64(size), all) {
			n += len(p)
			if w := width(uint64(size), l); w == 0 != (len(p) == 0) {
				t.Errorf("size %d: %d peaks in the tile of width %d at level %d", size, len(p), w, l)
			}
		}
		if n != len(all) {
			t.Errorf("size %d: %d of %d peaks", size, n, len(all))
		}
	}
}

// An audit that begins in the middle of a log continues like one that read all
// of it.
func TestBegin(t *testing.T) {
	for _, size := range []int{0, 1, 2, 255, 256, 257, 1000, 65_535, 65_536, 65_537, 66_000} {
		s, policy := newServer(t, shared, size)
		st, err := Begin(t.Context(), s, policy)
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if want := keptState(t, size); !slices.Equal(st.Peaks, want.Peaks) {
			t.Fatalf("size %d: other peaks than an audit leaves", size)
		}
		s.size = min(size+600, 66_100)
		var seen uint64
		r, next, err := Run(t.Context(), s, policy, st, Options{Entry: func(index uint64, data []byte) error {
			if index != uint64(size)+seen || string(data) != string(shared.leaves[index]) {
				t.Fatalf("size %d: entry %d comes as number %d", size, index, seen)
			}
			seen++
			return nil
		}})
		checkRun(t, s, r, next, err)
		if seen != uint64(s.size-size) {
			t.Errorf("size %d: %d entries were shown", size, seen)
		}
	}
	s, policy := newServer(t, shared, 1000)
	s.change["tile/0/003.p/232"] = flip(500)
	_, err := Begin(t.Context(), s, policy)
	checkErr(t, err, ErrTileMismatch, "do not rebuild")
}

package audit

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// layout makes a log from words:
//
//	.    an entry of another tenant
//	*N   N entries of another tenant
//	N    the tenant's entry N
//	Na   another entry with the tag of entry N
//	x    an entry of the tenant under a wrong tag
//	hN   an entry whose tag has the same first bytes as that of entry N
func layout(words string) *testLog {
	l := &testLog{}
	for _, w := range strings.Fields(words) {
		var seq uint64
		var label string
		switch {
		case w == "." || w == "x":
			l.noise(1, w)
		case w[0] == '*':
			fmt.Sscanf(w, "*%d", &seq)
			l.noise(int(seq), w)
		case w[0] == 'h':
			fmt.Sscanf(w, "h%d", &seq)
			leaf := tenantLeaf(seq, "half")
			leaf[1+20] ^= 1
			l.add(leaf)
		default:
			if n, _ := fmt.Sscanf(w, "%d%s", &seq, &label); n == 0 {
				panic(w)
			}
			l.add(tenantLeaf(seq, "first"+label))
		}
	}
	return l
}

func runStream(t *testing.T, log *testLog, size int, kept *State, opts Options) (*Report, *State, error) {
	t.Helper()
	s, policy := newServer(t, log, size)
	opts.StreamKey = &tenantKey
	return Run(t.Context(), s, policy, kept, opts)
}

func TestStream(t *testing.T) {
	soak.WithoutRace(t)
	for _, tc := range []struct {
		name    string
		log     string
		expect  uint64 // 0: nothing
		missing []SeqRange
		held    *SeqRange
		doubled []Doubled
		order   []OutOfOrder
		next    uint64
		text    string // "": the stream is complete
		// an entry is above its index, and an earlier run of a smaller tree may
		// not see it
		above bool
	}{
		{name: "complete", log: ". 0 . . 1 2 . 3 .", next: 4},
		{name: "complete, as expected", log: ". 0 . . 1 2 . 3 .", expect: 4, next: 4},
		{name: "longer than expected", log: ". 0 . . 1 2 . 3 .", expect: 2, next: 4},
		{name: "none", log: ". . .", next: 0},
		{name: "missing in the middle", log: "0 . 1 . 3 4 .", missing: []SeqRange{{2, 2}}, next: 5, text: "missing, although later ones exist: entry 2."},
		{name: "missing at the start", log: "*3 3 4", missing: []SeqRange{{0, 2}}, next: 5, text: "entries 0 to 2"},
		{name: "many gaps", log: "*9 1 3 5 7 9", missing: []SeqRange{{0, 0}, {2, 2}, {4, 4}, {6, 6}, {8, 8}}, next: 10, text: "entry 0, entry 2, entry 4 and 2 more"},
		{name: "under another tag", log: "0 1 x 3", missing: []SeqRange{{2, 2}}, next: 4, text: "entry 2"},
		{name: "under a tag that only begins right", log: "0 h1 2 h2", missing: []SeqRange{{1, 1}}, next: 3, text: "entry 1"},
		{name: "last one under another tag", log: "0 1 2 x", expect: 4, held: &SeqRange{3, 3}, next: 3, text: "expected but held back: entry 3 (the last one in the log is entry 2"},
		{name: "held back at the end", log: "0 1 2 .", expect: 10, held: &SeqRange{3, 9}, next: 3, text: "entries 3 to 9"},
		{name: "held back, and nobody asks", log: "0 1 2 .", next: 3},
		{name: "all held back", log: ". .", expect: 1, held: &SeqRange{0, 0}, next: 0, text: "the log has no entry of the stream"},
		{name: "doubled", log: "0 1 . 1b 2", doubled: []Doubled{{1, 1, 3}}, next: 3, text: "proves that the operator forked the stream: entry 1 is at the indexes 1 and 3"},
		{name: "doubled, the same leaf", log: "0 1 . 1 2", doubled: []Doubled{{1, 1, 3}}, next: 3, text: "entry 1 is at the indexes 1 and 3"},
		{name: "three times", log: "0 0b 0c", doubled: []Doubled{{0, 0, 1}, {0, 0, 2}}, next: 1, text: "2 tags have"},
		{name: "forked after 1", log: "0 1 2 3 . 2b 3b 4b", doubled: []Doubled{{2, 2, 5}, {3, 3, 6}}, next: 5, text: "entry 2 is at the indexes 2 and 5, entry 3"},
		{name: "swapped", log: ". 0 2 . 1 3", order: []OutOfOrder{{1, 4, 2, 2}}, next: 4, text: "entry 1 is at index 4, after entry 2 at index 2"},
		{name: "reversed", log: "*3 3 2 1 0", order: []OutOfOrder{{2, 4, 3, 3}, {1, 5, 3, 3}, {0, 6, 3, 3}}, next: 4, text: "out of order"},
		{name: "partly filled gap", log: "*6 6 3 .", missing: []SeqRange{{0, 2}, {4, 5}}, order: []OutOfOrder{{3, 7, 6, 6}}, next: 7, text: "missing"},
		{name: "as far ahead as the tree is large", log: "0 *49 50", missing: []SeqRange{{1, 49}}, next: 51, text: "entries 1 to 49"},
		{name: "the next at every place", log: "*6 1", missing: []SeqRange{{0, 0}}, next: 2, text: "entry 0"},
		{name: "several jumps", log: "*120 0 40 80 120", missing: []SeqRange{{1, 39}, {41, 79}, {81, 119}}, next: 121, text: "missing"},
		{name: "above its index, found when the tree is large enough", log: "0 3 1 2", order: []OutOfOrder{{1, 2, 3, 1}, {2, 3, 3, 1}}, next: 4, text: "out of order", above: true},
		{name: "above the tree's size, which no verifier accepts", log: "0 . 1000000", next: 1},
	} {
		log := layout(tc.log)
		n := len(log.leaves)
		// The findings of one run equal those of two runs that meet at each
		// index.
		for cut := 0; cut <= n; cut++ {
			t.Run(fmt.Sprintf("%s/%d", tc.name, cut), func(t *testing.T) {
				if tc.above && cut > 0 && cut < n {
					t.Skip("the tag is found in the whole tree")
				}
				var opts Options
				var kept *State
				if cut > 0 {
					var err error
					if _, kept, err = runStream(t, log, cut, nil, opts); err != nil && !errors.Is(err, ErrStream) {
						t.Fatal(err)
					}
				}
				if tc.expect > 0 {
					opts.ExpectNext = &tc.expect
				}
				before, _ := json.Marshal(kept)
				r, st, err := runStream(t, log, n, kept, opts)
				if after, _ := json.Marshal(kept); string(after) != string(before) {
					t.Errorf("the run changed the state it was given:\n%s\n%s", before, after)
				}
				if tc.text == "" {
					if err != nil {
						t.Fatal(err)
					}
				} else {
					checkErr(t, err, ErrStream, tc.text)
				}
				if len(tc.doubled) == 0 && r.From != uint64(cut) {
					t.Errorf("read from entry %d, not from %d", r.From, cut)
				}
				got := r.Stream
				if got.Complete() != (tc.text == "") || got.Next != tc.next || got.ID != tenantKey.StreamID() {
					t.Errorf("report: %+v", got)
				}
				if !slices.Equal(got.Missing, tc.missing) || !slices.Equal(got.OutOfOrder, tc.order) || !reflect.DeepEqual(got.HeldBack, tc.held) || !slices.Equal(st.Stream.Doubled, tc.doubled) {
					t.Errorf("report: %+v\ndoubled: %v", got, st.Stream.Doubled)
				}
				checkEvidence(t, log, r)
				if _, again, err2 := runStream(t, log, n, st, opts); fmt.Sprint(err2) != fmt.Sprint(err) || !reflect.DeepEqual(again, st) {
					t.Errorf("run again on the same checkpoint: %v", err2)
				}
			})
		}
	}
}

// checkEvidence checks the proofs of doubled entries as somebody without the
// key would.
func checkEvidence(t *testing.T, log *testLog, r *Report) {
	t.Helper()
	if got := uint64(len(r.Stream.Doubled)); got != min(r.Stream.DoubledTotal, MaxFindings) {
		t.Errorf("%d of %d doubled entries", got, r.Stream.DoubledTotal)
	}
	_, policy := testKey(t, testOrigin, "log")
	for _, d := range r.Stream.Doubled {
		for _, l := range []Leaf{d.First, d.Second} {
			p, err := receipt.ParseProof(l.Proof)
			if err != nil {
				t.Fatal(err)
			}
			c, _, err := policy.VerifyCheckpoint(p.Checkpoint)
			if err != nil {
				t.Fatal(err)
			}
			if err := receipt.VerifyInclusion(p.Index, c.Size, entry.LeafHash(l.Data), p.Path, c.Root); err != nil || p.Index != l.Index {
				t.Errorf("evidence for index %d: %v", l.Index, err)
			}
			if string(l.Data[1:33]) != string(d.Tag[:]) {
				t.Errorf("evidence for index %d is of another tag", l.Index)
			}
		}
	}
}

// Adding a key makes the run read from the first entry. The log must still
// extend the saved state.
func TestStreamKeyLater(t *testing.T) {
	log := shared.prefix(700)
	log.entry(0)
	log.noise(299, "after")
	log.entry(1)
	s, policy := newServer(t, log, 900)
	_, st, err := Run(t.Context(), s, policy, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, st2, err := runStream(t, log, 1001, st, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r.From != 0 || r.Stream.Next != 2 || st2.Size() != 1001 {
		t.Errorf("report: %+v", r)
	}
	forked := log.prefix(3)
	forked.noise(998, "fork")
	_, _, err = runStream(t, forked, 1001, st, Options{})
	checkErr(t, err, ErrForked, "rewritten")
}

// The stream crosses tile borders, and a file is missing when the evidence is
// fetched.
func TestStreamLargeLog(t *testing.T) {
	log := shared.prefix(200)
	for seq := range uint64(600) {
		log.entry(seq)
		log.noise(int(seq%3), "between")
	}
	n := len(log.leaves)
	r, st, err := runStream(t, log, n, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Stream.Next != 600 || r.Stream.LastIndex != uint64(n-1-599%3) || r.Stream.LastLeaf != entry.LeafHash(tenantLeaf(599, "first")) {
		t.Errorf("report: %+v", r.Stream)
	}
	for range 300 {
		log.add(tenantLeaf(17, "again"))
	}
	log.noise(10, "end")
	r, st, err = runStream(t, log, len(log.leaves), st, Options{})
	checkErr(t, err, ErrStream, "300 tags have more than one leaf")
	checkEvidence(t, log, r)
	if r.From != 0 {
		t.Errorf("the first leaf of an old entry was found without reading from the start (from %d)", r.From)
	}

	s, policy := newServer(t, log, len(log.leaves))
	s.change[fmt.Sprintf("tile/entries/%03d", r.Stream.Doubled[0].First.Index/256)] = missing
	r, _, err = Run(t.Context(), s, policy, st, Options{StreamKey: &tenantKey})
	checkErr(t, err, ErrStream, "entry 17 is at the indexes")
	if d := r.Stream.Doubled[0]; d.First.Data != nil || d.First.Proof != "" || d.Second.Data == nil {
		t.Errorf("evidence: %+v", d)
	}
}

// A random log, read in random steps, is compared with a simple count.
func TestStreamRandom(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// negative: somebody else's
		seqs := rapid.SliceOfN(rapid.IntRange(-3, 12), 1, 30).Draw(rt, "entries")
		log := &testLog{}
		log.noise(13, "before") // so that no sequence number is above its index
		first := map[int]int{}
		var doubled []Doubled
		var order []OutOfOrder
		top := -1
		for i, q := range seqs {
			i += 13
			if q < 0 {
				log.noise(1, "n")
				continue
			}
			log.add(tenantLeaf(uint64(q), fmt.Sprint(i)))
			at, seen := first[q]
			switch {
			case seen:
				doubled = append(doubled, Doubled{uint64(q), uint64(at), uint64(i)})
				continue
			case q < top:
				order = append(order, OutOfOrder{uint64(q), uint64(i), uint64(top), uint64(first[top])})
			default:
				top = q
			}
			first[q] = i
		}
		s, policy := newServer(t, log, 0)
		var st *State
		for s.size < len(log.leaves) {
			s.size = rapid.IntRange(s.size+1, len(log.leaves)).Draw(rt, "size")
			var err error
			if _, st, err = Run(t.Context(), s, policy, st, Options{StreamKey: &tenantKey}); err != nil && !errors.Is(err, ErrStream) {
				rt.Fatal(err)
			}
		}
		got := st.Stream
		if got.Next != uint64(top+1) || got.Found() != uint64(len(first)) || !slices.Equal(got.Doubled, doubled) || !slices.Equal(got.OutOfOrder, order) {
			rt.Fatalf("entries %v: %+v", seqs, got)
		}
		for q := range top {
			_, seen := first[q]
			if _, gap := got.gap(uint64(q)); gap == seen {
				rt.Fatalf("entries %v: missing is %v", seqs, got.Missing)
			}
		}
	})
}

func TestReportJSON(t *testing.T) {
	r, _, err := runStream(t, layout("0 . 0b 2"), 4, nil, Options{})
	checkErr(t, err, ErrStream, "")
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Root   string
		Stream struct {
			Missing []SeqRange
			Doubled []struct {
				Seq   uint64
				First struct {
					Index uint64
					Data  []byte
				}
			}
		}
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if v.Root != r.Root.Base64() || !slices.Equal(v.Stream.Missing, []SeqRange{{1, 1}}) || len(v.Stream.Doubled) != 1 || len(v.Stream.Doubled[0].First.Data) != entry.LeafSize {
		t.Errorf("%s", data)
	}
}

// BenchmarkRun audits a log of 262,144 entries in memory.
func BenchmarkRun(b *testing.B) {
	const size = 1 << 18
	s, policy := newServer(b, bigLog(size), size)
	src := memory{"checkpoint": s.signed()}
	for _, p := range s.paths() {
		src[p] = s.log.tile(size, p)
	}
	key := entry.StreamKey(sha256.Sum256([]byte("bench")))
	for name, opts := range map[string]Options{"log": {}, "stream": {StreamKey: &key}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Run(b.Context(), src, policy, nil, opts); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

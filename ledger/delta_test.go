package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/delta"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
)

// mix appends n entries of acme and n of globex in turn, some with payloads
// that don't fit into one part, some with none.
func mix(t testing.TB, tl *testLog, name string, n int) {
	t.Helper()
	var drafts []Draft
	for i := range n {
		size := []int{0, 10, 300, 5000}[i%4]
		if i == 17 {
			size = delta.PartSize*2 + 1
		}
		drafts = append(drafts, acme.draft(fmt.Sprintf("%s acme %d %s", name, i, strings.Repeat("x", size))), globex.draft(fmt.Sprintf("%s globex %d", name, i)))
	}
	if _, err := tl.Append(context.Background(), drafts); err != nil {
		t.Fatal(err)
	}
}

func export(t testing.TB, tl *testLog, since uint64, tenants ...*testTenant) []byte {
	t.Helper()
	var b bytes.Buffer
	var streams []*Stream
	for _, tt := range tenants {
		streams = append(streams, tt.stream)
	}
	if _, err := tl.Export(context.Background(), &b, since, streams, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func importDelta(tl *testLog, s store.Store, file []byte, tenants ...*testTenant) (*ImportReport, error) {
	o := ImportOptions{Policy: tl.policy, Derive: testDerive}
	for _, tt := range tenants {
		o.Streams = append(o.Streams, tt.stream)
	}
	return Import(context.Background(), s, bytes.NewReader(file), int64(len(file)), o)
}

// checkReplica checks that the replica contains the same entries of acme's
// stream as the log at that size, and none of globex's.
func checkReplica(t testing.TB, tl *testLog, s store.Store) *Ledger {
	t.Helper()
	ctx := context.Background()
	l, err := OpenReplica(ctx, Config{Store: s, EntryCache: 1 << 20}, tl.policy)
	if err != nil {
		t.Fatal(err)
	}
	p, was := l.Published(), tl.Published()
	root, err := was.rootOf(ctx, p.Size)
	if err != nil || p.Root != root || l.Origin() != testOrigin {
		t.Fatalf("the replica of size %d has the root %s, the log %s (%v)", p.Size, p.Root, root, err)
	}
	want := slices.DeleteFunc(listIndexes(t, tl.Ledger, acme.stream, Query{OldestFirst: true, Limit: 1 << 30}), func(i uint64) bool { return i >= p.Size })
	if got := listIndexes(t, l, acme.stream, Query{OldestFirst: true, Limit: 1 << 30}); !slices.Equal(got, want) {
		t.Fatalf("the replica lists %d entries, the log %d", len(got), len(want))
	}
	for _, i := range want {
		data, err := l.Receipt(ctx, acme.stream, i, ReceiptOptions{EmbedPayload: true})
		if err != nil {
			t.Fatalf("receipt of entry %d: %v", i, err)
		}
		st, err := receipt.Verify(data, []*receipt.TrustPolicy{tl.policy}, receipt.Options{Tenant: new("acme"), StreamKey: &acme.stream.Key})
		if err != nil || st.Index != i || st.Size != p.Size {
			t.Fatalf("receipt of entry %d: %v", i, err)
		}
		checkFacts(t, l, acme, i)
	}
	for i := range p.Size {
		if _, err := l.Entry(ctx, globex.stream, i); !errors.Is(err, ErrNotFound) {
			t.Fatalf("entry %d of globex: %v", i, err)
		}
	}
	for i := uint64(0); i <= (p.Size-1)/256; i++ {
		w := int(min(256, p.Size-i*256))
		got, err := l.EntryBundle(ctx, i, w)
		bundle, err2 := tl.EntryBundle(ctx, i, w)
		if err != nil || err2 != nil || !bytes.Equal(got, bundle) {
			t.Fatalf("bundle %d: %v, %v", i, err, err2)
		}
	}
	head, err := l.StreamHead(ctx, p, acme.stream)
	if err != nil || head.Entries != uint64(len(want)) {
		t.Fatalf("stream head: %+v, %v", head, err)
	}
	return l
}

func TestDeltas(t *testing.T) {
	ctx := context.Background()
	tl := newTestLog(t, Config{})
	replica := memstore.NewRaw()
	if _, err := OpenReplica(ctx, Config{Store: replica}, tl.policy); err == nil || !strings.Contains(err.Error(), "muniment import") {
		t.Errorf("an empty replica opens: %v", err)
	}
	var size uint64
	var deltas [][]byte
	for i, n := range []int{1, 20, 107, 128, 200, 3} { // sizes 2, 42, 256, 512, 912, 918
		mix(t, tl, fmt.Sprint(i), n)
		file := export(t, tl, size, acme)
		deltas = append(deltas, file)
		r, err := importDelta(tl, replica, file, acme)
		if err != nil {
			t.Fatal(err)
		}
		if r.From != size || r.To != size+uint64(2*n) || r.Records != uint64(n) || r.Resumed != 0 || r.Origin != testOrigin {
			t.Errorf("report: %+v", r)
		}
		size = r.To
		checkReplica(t, tl, replica)
	}
	replica = replica.Restart()
	l := checkReplica(t, tl, replica)
	if _, err := l.Append(ctx, acme.drafts("no", 1)); !errors.Is(err, ErrReplica) {
		t.Errorf("append to a replica: %v", err)
	}
	if _, err := l.AppendLeaf(ctx, []byte("no")); !errors.Is(err, ErrReplica) {
		t.Errorf("append a leaf to a replica: %v", err)
	}
	if err := l.Ready(); err != nil || !l.IsReplica() {
		t.Errorf("ready: %v", err)
	}
	if _, err := l.Export(ctx, &bytes.Buffer{}, 0, nil, nil); !errors.Is(err, ErrReplica) {
		t.Errorf("export from a replica: %v", err)
	}
	l.Close()

	// One file for all of it gives the same.
	whole := memstore.NewRaw()
	if _, err := importDelta(tl, whole, export(t, tl, 0, acme), acme); err != nil {
		t.Fatal(err)
	}
	checkReplica(t, tl, whole)

	refused := func(what string, s *memstore.Store, file []byte, want error, says string, tenants ...*testTenant) {
		t.Helper()
		before, _ := s.Follow(ctx, 0)
		_, err := importDelta(tl, s, file, tenants...)
		wantErr(t, what, err, want, says)
		if after, _ := s.Follow(ctx, 0); after.Size != before.Size || after.Root != before.Root {
			t.Errorf("%s: the store went from %d to %d entries", what, before.Size, after.Size)
		}
	}
	already := func(what string, file []byte) {
		t.Helper()
		before, _ := replica.Follow(ctx, 0)
		report, err := importDelta(tl, replica, file, acme)
		if after, _ := replica.Follow(ctx, 0); err != nil || !report.Already || after.Size != before.Size || after.Root != before.Root {
			t.Errorf("%s: %+v, %v", what, report, err)
		}
	}
	for i, d := range deltas {
		already(fmt.Sprintf("delta %d again", i), d)
	}
	already("a part that was imported in several", export(t, tl, 1, acme))
	refused("overlap", replica, func() []byte { mix(t, tl, "more", 5); return export(t, tl, 100, acme) }(), ErrReplay, "--since 918")
	refused("gap", memstore.NewRaw(), deltas[1], ErrGap, "--since 0")
	refused("other tenant", replica, export(t, tl, 918, globex), ErrDelta, "begin at 459, but this replica has 0")
	refused("without the tenant", replica, export(t, tl, 918), ErrDelta, "which this replica has")
	if _, err := tl.Export(ctx, &bytes.Buffer{}, tl.Published().Size, nil, nil); !errors.Is(err, ErrNothingNew) {
		t.Errorf("export of nothing: %v", err)
	}
	if _, err := tl.Export(ctx, &bytes.Buffer{}, 1<<40, nil, nil); !errors.Is(err, ErrOutOfRange) {
		t.Errorf("export of more than there is: %v", err)
	}

	// Another log with the same name and another key, and the same log with
	// another history.
	other := newTestLog(t, Config{})
	mix(t, other, "other", 600)
	refused("another key", replica, export(t, other, 918, acme), delta.ErrDamaged, "not by the log")
	fork := newTestLog(t, Config{})
	fork.Close()
	fork.cfg.Signer = tl.cfg.Signer
	fork.open(t, memstore.New())
	mix(t, fork, "fork", 10)
	early := export(t, fork, 0, acme)
	mix(t, fork, "fork", 600)
	refused("fork", replica, export(t, fork, 918, acme), ErrForked, "continue")
	refused("fork of what it has", replica, early, ErrForked, "another root at size")
	_, err := importDelta(tl, replica, export(t, fork, 918, acme))
	var f *Fork
	if !errors.As(err, &f) {
		t.Fatal(err)
	}
	for _, signed := range [][]byte{f.Kept, f.Offered} {
		if _, _, err := tl.policy.VerifyCheckpoint(signed); err != nil {
			t.Errorf("the evidence: %v", err)
		}
	}
}

// Every byte of a delta counts: with one changed, or the file cut off anywhere,
// nothing is written.
func TestDeltaEveryByte(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.mustAppend(t, acme.drafts("a", 3)...)
	first := export(t, tl, 0, acme)
	tl.mustAppend(t, append(acme.drafts("b", 2), globex.drafts("b", 2)...)...)
	file := export(t, tl, 3, acme)
	s := memstore.NewRaw()
	if _, err := importDelta(tl, s, first); err != nil {
		t.Fatal(err)
	}
	s.BeforeCommit = func(*store.Commit) error {
		t.Error("a commit")
		return errors.New("no")
	}
	for i := range file {
		for _, mask := range []byte{0x01, 0x80, 0x20} {
			file[i] ^= mask
			if _, err := importDelta(tl, s, file, acme); !errors.Is(err, delta.ErrDamaged) {
				t.Fatalf("byte %d changed by %02x: %v", i, mask, err)
			}
			file[i] ^= mask
		}
	}
	for n := range file {
		if _, err := importDelta(tl, s, file[:n], acme); !errors.Is(err, delta.ErrDamaged) {
			t.Fatalf("cut off after %d bytes: %v", n, err)
		}
	}
	if _, err := importDelta(tl, s, append(file, 0), acme); !errors.Is(err, delta.ErrDamaged) {
		t.Fatalf("a byte more: %v", err)
	}
	s.BeforeCommit = nil
	if _, err := importDelta(tl, s, file, acme); err != nil {
		t.Fatal(err)
	}
	checkReplica(t, tl, s)
}

// An import that is interrupted at any of its commits leaves the replica
// unchanged, and the same file completes it.
func TestDeltaInterrupted(t *testing.T) {
	soak.WithoutRace(t)
	tl := newTestLog(t, Config{})
	mix(t, tl, "first", 50)
	first := export(t, tl, 0, acme)
	mix(t, tl, "more", 700)
	defer func(n int) { importEntries = n }(importEntries)
	importEntries = 256
	file := export(t, tl, 100, acme)
	for stop := 1; ; stop++ {
		s := memstore.NewRaw()
		if _, err := importDelta(tl, s, first, acme); err != nil {
			t.Fatal(err)
		}
		commits := 0
		boom := errors.New("the power is gone")
		s.BeforeReturn = func(*store.Commit) error { // the data show, and are not durable
			if commits++; commits == stop {
				return boom
			}
			return nil
		}
		_, err := importDelta(tl, s, file, acme)
		if err == nil {
			if commits < 4 {
				t.Fatalf("only %d commits: the test does not interrupt", commits)
			}
			return
		}
		if !errors.Is(err, boom) {
			t.Fatal(err)
		}
		s = s.Restart()
		l := checkReplica(t, tl, s)
		if size := l.Published().Size; size != 100 {
			t.Fatalf("after %d commits the replica shows %d entries", stop-1, size)
		}
		if stop > 1 {
			if _, err := importDelta(tl, s, export(t, tl, 100, acme, globex), acme); !errors.Is(err, ErrDelta) {
				t.Fatalf("another delta than the one that was interrupted: %v", err)
			}
		}
		r, err := importDelta(tl, s, file, acme)
		if err != nil || (r.Resumed > 0) != (stop > 1) {
			t.Fatalf("go on after %d commits: %+v, %v", stop-1, r, err)
		}
		checkReplica(t, tl, s)
		// The process can also end after the last commit, before it answers.
		if r, err = importDelta(tl, s.Restart(), file, acme); err != nil || !r.Already {
			t.Fatalf("repeat it after the last commit: %+v, %v", r, err)
		}
	}
}

// A payload that does not fit into a batch goes from store to store in parts.
func TestDeltaLargePayload(t *testing.T) {
	ctx := context.Background()
	tl := newTestLog(t, Config{})
	content := bytes.Repeat([]byte("0123456789abcdef"), 400_000)
	if _, err := tl.Append(ctx, []Draft{acme.draft(string(content)), acme.draft("small")}); err != nil {
		t.Fatal(err)
	}
	s := memstore.NewRaw()
	if _, err := importDelta(tl, s, export(t, tl, 0, acme), acme); err != nil {
		t.Fatal(err)
	}
	p, err := s.OpenPayload(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(p)
	if err != nil || !bytes.Equal(got, content) || p.Size != uint64(len(content)) {
		t.Fatalf("read %d bytes of %d, %v", len(got), len(content), err)
	}
}

func TestDeltaDiskFull(t *testing.T) {
	tl := newTestLog(t, Config{})
	mix(t, tl, "a", 10)
	s := memstore.NewRaw()
	s.Free = func() (uint64, error) { return 1 << 20, nil }
	file := export(t, tl, 0, acme)
	_, err := Import(context.Background(), s, bytes.NewReader(file), int64(len(file)), ImportOptions{Policy: tl.policy, ReserveBytes: 1 << 30})
	wantErr(t, "a full disk", err, ErrDiskFull, "make room")
}

// Entries erased before the export are erased in the replica.
func TestDeltaErased(t *testing.T) {
	ctx := context.Background()
	tl := newTestLog(t, Config{})
	mix(t, tl, "a", 4)
	tl.store.ErasePayload(2)
	tl.store.ErasePayload(4)
	tl.store.EraseHeader(4)
	s := memstore.NewRaw()
	if _, err := importDelta(tl, s, export(t, tl, 0, acme), acme); err != nil {
		t.Fatal(err)
	}
	l, err := OpenReplica(ctx, Config{Store: s, EntryCache: 1 << 20}, tl.policy)
	if err != nil {
		t.Fatal(err)
	}
	for index, form := range map[uint64]receipt.Form{0: receipt.Detached, 2: receipt.PayloadErased, 4: receipt.HeaderErased} {
		data, err := l.Receipt(ctx, acme.stream, index, ReceiptOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := receipt.Parse(data)
		if err != nil || r.Form != form {
			t.Errorf("entry %d has the form %s, want %s (%v)", index, r.Form, form, err)
		}
		if _, err := receipt.Verify(data, []*receipt.TrustPolicy{tl.policy}, receipt.Options{HeaderOnly: true}); err != nil {
			t.Error(err)
		}
	}
}

// An erasure in a delta is applied to the replica, and is visible as soon as
// any part of the delta is.
func TestDeltaErases(t *testing.T) {
	ctx := context.Background()
	tl := newTestLog(t, Config{})
	tl.mustAppend(t, append(acme.drafts("a", 5), globex.drafts("a", 2)...)...)
	s := memstore.NewRaw()
	if _, err := importDelta(tl, s, export(t, tl, 0, acme), acme); err != nil {
		t.Fatal(err)
	}
	size := tl.Published().Size
	tl.erase(t, acme, 1, false)
	tl.erase(t, acme, 3, true)
	if _, err := importDelta(tl, s, export(t, tl, size, acme), acme); err != nil {
		t.Fatal(err)
	}
	if n := s.Unpurged(); n != 0 {
		t.Errorf("%d entries wait to be purged", n)
	}
	l, err := OpenReplica(ctx, Config{Store: s, EntryCache: 1 << 20}, tl.policy)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for index, form := range map[uint64]receipt.Form{0: receipt.Detached, 1: receipt.PayloadErased, 3: receipt.HeaderErased} {
		data, err := l.Receipt(ctx, acme.stream, index, ReceiptOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := receipt.Parse(data); err != nil || r.Form != form {
			t.Errorf("entry %d has the form %s, want %s (%v)", index, r.Form, form, err)
		}
	}
}

// hide gives the last leaf of another tenant the tag of an entry of acme.
func hide(leaves [][]byte, seq uint64) {
	own := map[entry.Hash]bool{}
	for s := range uint64(len(leaves)) {
		own[acme.stream.Key.Tag(s)] = true
	}
	for i := len(leaves) - 1; i >= 0; i-- {
		if !own[entry.Hash(leaves[i][1:])] {
			tag := acme.stream.Key.Tag(seq)
			copy(leaves[i][1:], tag[:])
			return
		}
	}
	panic("all leaves are acme's")
}

// A dishonest exporter signs a delta in which a record is missing, repeated or
// changed. Import refuses the delta although its signature is valid.
func TestDeltaLies(t *testing.T) {
	ctx := context.Background()
	tl := newTestLog(t, Config{})
	mix(t, tl, "a", 6)
	p := tl.Published()
	for _, lie := range []struct {
		name  string
		edit  func(h *delta.Header, rs []*delta.Record) []*delta.Record
		leaf  func([][]byte)
		want  string
		blind bool // refused without the stream key as well
	}{
		{name: "the truth"},
		{name: "one record is left out", edit: func(h *delta.Header, rs []*delta.Record) []*delta.Record { return slices.Delete(rs, 2, 3) }, want: "entry 3 of the stream", blind: true},
		{name: "the last is left out", edit: func(h *delta.Header, rs []*delta.Record) []*delta.Record { return rs[:5] }, want: "its record is missing", blind: true},
		{name: "the last is left out, and the header says so", edit: func(h *delta.Header, rs []*delta.Record) []*delta.Record { h.Streams[0].End = 5; return rs[:5] }, want: "ends the stream before it"},
		{name: "the stream is said to be longer", edit: func(h *delta.Header, rs []*delta.Record) []*delta.Record { h.Streams[0].End = 7; return rs }, want: "end before entry 6, want 7", blind: true},
		{name: "twice", edit: func(h *delta.Header, rs []*delta.Record) []*delta.Record { return slices.Insert(rs, 1, rs[0]) }, want: "not in its place", blind: true},
		{name: "reordered", edit: func(h *delta.Header, rs []*delta.Record) []*delta.Record { rs[0], rs[1] = rs[1], rs[0]; return rs }, want: "want entry", blind: true},
		{name: "another time", edit: func(h *delta.Header, rs []*delta.Record) []*delta.Record { rs[3].Time++; return rs }, want: "does not open its leaf", blind: true},
		{name: "another payload salt", edit: func(h *delta.Header, rs []*delta.Record) []*delta.Record { rs[3].Payload.Salt[0]++; return rs }, want: "its payload does not match", blind: true},
		{name: "another header", edit: func(h *delta.Header, rs []*delta.Record) []*delta.Record { rs[3].Header.Salt[0]++; return rs }, want: "its header does not match", blind: true},
		{name: "another stream", edit: func(h *delta.Header, rs []*delta.Record) []*delta.Record { rs[3].StreamID[0]++; return rs }, want: "does not list", blind: true},
		{name: "another predecessor", edit: func(h *delta.Header, rs []*delta.Record) []*delta.Record { rs[3].Prev[0]++; return rs }, want: "does not follow", blind: true},
		// Leaves that are not records of the stream, and hide entries of it.
		{name: "an entry far ahead", leaf: func(l [][]byte) { hide(l, 9) }, want: "has the tag of entry 9 of the stream", blind: true},
		{name: "an entry just behind the end", leaf: func(l [][]byte) { hide(l, 7) }, want: "has the tag of entry 7 of the stream", blind: true},
		{name: "a second leaf of an earlier entry", leaf: func(l [][]byte) { hide(l, 0) }, want: "repeats the tag of entry 0", blind: true},
		{name: "the stream is not in it", edit: func(h *delta.Header, rs []*delta.Record) []*delta.Record { h.Streams = nil; return nil }, want: "whose key was given"},
		{name: "another leaf", leaf: func(l [][]byte) { l[1][40]++ }, want: "its leaves have the root", blind: true},
	} {
		for _, key := range []bool{true, false} {
			h := delta.Header{Origin: testOrigin, To: p.Size, Streams: []delta.Stream{{ID: acme.stream.ID, End: 6}}}
			var rs []*delta.Record
			var leaves [][]byte
			for i := range p.Size {
				sk, err := tl.store.Skeletons(ctx, i, i+1)
				if err != nil {
					t.Fatal(err)
				}
				data := sk[0].LeafData(entry.HashOrigin(testOrigin))
				leaves = append(leaves, data[:])
				if sk[0].StreamID != acme.stream.ID {
					continue
				}
				r := &delta.Record{Index: i, LinkSalt: sk[0].LinkSalt, StreamID: sk[0].StreamID, Seq: sk[0].Seq, Prev: sk[0].Prev, Time: sk[0].Time, HeaderHash: sk[0].HeaderHash}
				r.Header, _ = tl.store.Header(ctx, i)
				payload, _ := tl.store.Payload(ctx, i)
				r.Payload = &delta.Payload{Salt: payload.Salt, Size: uint64(len(payload.Content))}
				rs = append(rs, r)
			}
			if lie.edit != nil {
				rs = lie.edit(&h, rs)
			}
			if lie.leaf != nil {
				lie.leaf(leaves)
			}
			var b bytes.Buffer
			d, err := delta.NewWriter(&b, h, p.Checkpoint, nil)
			if err != nil {
				t.Fatal(err)
			}
			d.Bundle(0, leaves)
			for _, r := range rs {
				payload, _ := tl.store.Payload(ctx, r.Index)
				d.Record(r, bytes.NewReader(payload.Content))
			}
			if err := d.Close(func(text string) ([]byte, error) { return note.Sign(&note.Note{Text: text}, tl.cfg.Signer) }); err != nil {
				t.Fatal(err)
			}
			s := memstore.NewRaw()
			var tenants []*testTenant
			if key {
				tenants = append(tenants, acme)
			}
			_, err = importDelta(tl, s, b.Bytes(), tenants...)
			if lie.want == "" || !key && !lie.blind {
				if err != nil {
					t.Errorf("%s: %v", lie.name, err)
				}
				continue
			}
			if !errors.Is(err, ErrDelta) || key && !strings.Contains(err.Error(), lie.want) {
				t.Errorf("%s (key %t): %v", lie.name, key, err)
			}
			if st, _ := s.Follow(ctx, 0); st.Size != 0 {
				t.Errorf("%s: something was written", lie.name)
			}
		}
	}
}

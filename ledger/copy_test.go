package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/peers/postgresrig"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/engine"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
)

// copiedLog returns a closed log with all that a store can have: full tiles,
// two streams, large payloads, erasures, facts and cosignatures.
func copiedLog(t *testing.T, s store.Store) *witnessedLog {
	t.Helper()
	wl := newWitnessedLogOn(t, s)
	for i := range 12 {
		wl.mustAppend(t, acme.drafts(fmt.Sprint("acme ", i), i%3+1)...)
		wl.mustAppend(t, globex.draft(fmt.Sprint("globex ", i)))
		if i%4 == 0 {
			if err := wl.Cosign(t.Context(), wl.cosigned(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var large []Draft
	for i := range 3 {
		d := wl.spool(t, acme, strings.Repeat(fmt.Sprint("large ", i, " "), 2000*i+1))
		if r, err := wl.Append(t.Context(), []Draft{unspooled(d)}); err != nil || r[0].Err != nil {
			t.Fatal(err, r)
		}
		large = append(large, d)
	}
	wl.erase(t, acme, wl.Published().Size-2, false) // large
	wl.fill(t, "entry", 300)
	wl.erase(t, acme, 0, false)
	wl.erase(t, acme, 2, true)
	wl.mustAppend(t, globex.event("key", "an event"))
	for _, d := range large {
		d.Large.Discard()
	}
	wl.Close()
	return wl
}

// copyConfig returns the configuration to copy the log.
func (wl *witnessedLog) copyConfig(from, to store.Store) CopyConfig {
	return CopyConfig{From: from, To: to, Published: wl.Published().Checkpoint, Check: StoreCheck{
		Origin: testOrigin, Derive: testDerive, Streams: []KnownStream{{"acme", acme.stream}, {"globex", globex.stream}},
		Verify: func(signed []byte, cosigned bool) error {
			policy := wl.testLog.policy
			if cosigned {
				policy = wl.policy
			}
			_, _, err := policy.VerifyCheckpoint(signed)
			return err
		},
	}}
}

// newCopy returns an empty store for a copy.
func newCopy(t *testing.T, url string, from store.Store) store.Store {
	t.Helper()
	st, err := from.Follow(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := engine.Open(t.Context(), url, store.Options{Secret: &st.Secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// storeContents returns all that a store shows, as text.
func storeContents(t *testing.T, s store.Store) string {
	t.Helper()
	ctx := t.Context()
	var b strings.Builder
	put := func(v any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%x\n", v)
	}
	st, err := s.Follow(ctx, 0)
	put(*st, err)
	sk, err := s.Skeletons(ctx, 0, st.Size)
	put(sk, err)
	for i := range st.Size {
		h, err := s.Header(ctx, i)
		put(h, err)
		info, err := s.PayloadInfo(ctx, i)
		info.Seal = entry.Hash{} // the store chooses which payloads have it
		put(info, err)
		p, err := s.Payload(ctx, i)
		put(p, err)
		r, err := s.OpenPayload(ctx, i)
		if err != nil {
			t.Fatal(err)
		}
		if r != nil {
			content, err := io.ReadAll(r)
			put(content, errors.Join(err, r.Close()))
		}
	}
	for i := range st.Size / store.TileWidth {
		hashes, err := s.Tile(ctx, 0, i)
		put(hashes, err)
	}
	for _, read := range []func(context.Context, uint64) (*store.Checkpoint, error){s.Checkpoint, s.Cosigned} {
		put(0, eachCheckpoint(ctx, read, func(c *store.Checkpoint) error {
			put(*c, nil)
			return nil
		}))
	}
	for p, err := range s.Projections(ctx) {
		put(fmt.Sprintf("%+v %+v %+v", p.Key, p.Posting, p.Facts), err)
	}
	return b.String()
}

// A log that is copied from engine to engine and back is the same, and goes on.
func TestCopy(t *testing.T) {
	soak.WithoutRace(t)
	rig := postgresrig.ForTest(t, postgresrig.Config{Settings: map[string]string{"fsync": "on"}})
	from := openFolder(t)
	wl := copiedLog(t, from)
	want := storeContents(t, from)
	defer func(n int) { copyEntries = n }(copyEntries)
	copyEntries = 100
	folder := func() string { return engine.InFolder(t.TempDir() + "/store") }
	for _, url := range []string{"memory:" + t.Name(), folder(), rig.URL(postgresrig.User) + "&single_node=true", folder()} {
		to := newCopy(t, url, from)
		r, err := Copy(t.Context(), wl.copyConfig(from, to))
		if err != nil {
			t.Fatalf("copy to %s: %v", url, err)
		}
		if got := storeContents(t, to); got != want {
			t.Fatalf("the copy in %s differs", url)
		}
		if r.Size != wl.Published().Size || r.Root != wl.Published().Root || r.Erased != 3 || r.Resumed != 0 {
			t.Errorf("copy to %s: %+v", url, r)
		}
		from = to
	}
	before := wl.Published()
	wl.open(t, from)
	if after := wl.Published(); string(after.Checkpoint) != string(before.Checkpoint) {
		t.Errorf("the copy publishes\n%s, the log had published\n%s", after.Checkpoint, before.Checkpoint)
	}
	if w := wl.Witnessed(); w == nil {
		t.Error("the copy has no witnessed checkpoint")
	}
	if r := wl.mustAppend(t, globex.draft("globex 3"), acme.draft("new")); !r[0].Duplicate || r[1].Duplicate {
		t.Errorf("appended to the copy: %+v", r)
	}
	if form := wl.form(t, acme, 2); form != receipt.HeaderErased {
		t.Errorf("the receipt of entry 2 is %s", form)
	}
	p := wl.Published()
	checkTiles(t, p, checkTree(t, wl.testLog, p))
	wl.wantSameIndex(t, "after the copies")
}

var errBroken = errors.New("broken")

// A brokenStore fails after some writes, before or after the last one is done.
type brokenStore struct {
	store.Store
	left *int
	late bool
}

func (s brokenStore) write(do func() error) error {
	if *s.left--; *s.left >= 0 {
		return do()
	}
	if s.late {
		return errors.Join(do(), errBroken)
	}
	return errBroken
}

func (s brokenStore) Commit(ctx context.Context, c *store.Commit) error {
	return s.write(func() error { return s.Store.Commit(ctx, c) })
}

func (s brokenStore) KeepCosigned(ctx context.Context, c *store.Checkpoint, instead uint64) error {
	return s.write(func() error { return s.Store.KeepCosigned(ctx, c, instead) })
}

func (s brokenStore) ReplaceProjections(ctx context.Context, p iter.Seq2[store.Projection, error], heads []store.StreamHead) error {
	return s.write(func() error { return s.Store.ReplaceProjections(ctx, p, heads) })
}

func (s brokenStore) Mark(c *store.Checkpoint) error {
	return s.write(func() error { return s.Store.Mark(c) })
}

// A copy that is interrupted at any write goes on. While it lacks entries, it
// is older than its mark, so it would be refused where a server looks for it.
func TestCopyInterrupted(t *testing.T) {
	wl := copiedLog(t, memstore.New())
	from := wl.store.Restart()
	want := storeContents(t, from)
	defer func(n int) { copyEntries = n }(copyEntries)
	copyEntries = 50
	e := &memstore.Engine{}
	st, err := from.Follow(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for n, done := 0, false; !done; n++ {
		name := fmt.Sprint(n)
		for attempt := 0; ; attempt++ {
			to, err := e.Open(t.Context(), name, store.Options{Secret: &st.Secret})
			if err != nil {
				t.Fatal(err)
			}
			left := n + attempt*3 // so that each attempt gets further
			r, err := Copy(t.Context(), wl.copyConfig(from, brokenStore{to, &left, n%2 == 1}))
			if err == nil {
				if got := storeContents(t, to); got != want {
					t.Fatalf("interrupted %d times from write %d on: the copy differs", attempt, n)
				}
				if done = attempt == 0; !done && n > 0 && r.Resumed == 0 {
					t.Errorf("interrupted at write %d: begun anew", n)
				}
				to.Close()
				break
			}
			if !errors.Is(err, errBroken) {
				t.Fatal(err)
			}
			to.Close()
			if attempt > 0 {
				continue
			}
			_, err = e.Open(t.Context(), name, store.Options{Prove: func(s store.Store, m *store.Mark) error {
				has, err := s.Follow(t.Context(), 0)
				if n > 0 && has.Size < wl.Published().Size && string(m.Checkpoint) != string(wl.Published().Checkpoint) {
					t.Errorf("interrupted at write %d: the copy of %d entries is not older than its mark", n, has.Size)
				}
				return errors.Join(err, errBroken)
			}})
			if !errors.Is(err, errBroken) {
				t.Fatal(err)
			}
		}
	}
}

// A damagedSource returns some rows with one bit changed.
type damagedSource struct {
	store.Store
	what string
}

func (s damagedSource) Follow(ctx context.Context, from uint64) (*store.State, error) {
	st, err := s.Store.Follow(ctx, from)
	if err == nil && s.what == "root" {
		st.Root[7] ^= 1
	}
	return st, err
}

func (s damagedSource) Skeletons(ctx context.Context, from, to uint64) ([]entry.Skeleton, error) {
	sk, err := s.Store.Skeletons(ctx, from, to)
	for i := range sk {
		switch at := from + uint64(i); {
		case s.what == "skeleton" && at == 5:
			sk[i].LinkSalt[3] ^= 0x80
		case s.what == "time" && at == 5:
			sk[i].Time ^= 1
		}
	}
	return sk, err
}

func (s damagedSource) Header(ctx context.Context, index uint64) (*receipt.HeaderOpening, error) {
	h, err := s.Store.Header(ctx, index)
	if s.what == "header" && index == 5 {
		h.Content[9] ^= 1
	}
	if s.what == "missing header" && index == 5 {
		return nil, nil
	}
	return h, err
}

func (s damagedSource) Payload(ctx context.Context, index uint64) (*receipt.PayloadOpening, error) {
	p, err := s.Store.Payload(ctx, index)
	if s.what == "payload" && index == 5 {
		p.Content[0] ^= 1
	}
	if s.what == "missing payload" && index == 5 {
		return nil, nil
	}
	return p, err
}

func (s damagedSource) OpenPayload(ctx context.Context, index uint64) (*store.PayloadReader, error) {
	r, err := s.Store.OpenPayload(ctx, index)
	if s.what == "large payload" && r != nil && r.Size > 10_000 {
		r.ReadCloser = io.NopCloser(strings.NewReader(strings.Repeat("x", int(r.Size))))
	}
	return r, err
}

func (s damagedSource) Checkpoint(ctx context.Context, minSize uint64) (*store.Checkpoint, error) {
	c, err := s.Store.Checkpoint(ctx, minSize)
	if s.what == "checkpoint" && err == nil && c.Size > 5 {
		c.Signed[len(c.Signed)-9] ^= 1
	}
	return c, err
}

func (s damagedSource) Cosigned(ctx context.Context, minSize uint64) (*store.Checkpoint, error) {
	c, err := s.Store.Cosigned(ctx, minSize)
	if s.what == "cosignature" && err == nil {
		c.Signed[len(c.Signed)-9] ^= 1
	}
	return c, err
}

func (s damagedSource) Projections(ctx context.Context) iter.Seq2[store.Projection, error] {
	return func(yield func(store.Projection, error) bool) {
		for p, err := range s.Store.Projections(ctx) {
			switch {
			case s.what == "key" && p.Key != nil && p.Key.Index == 5:
				p.Key = &store.KeyAt{Key: p.Key.Key, Index: 4}
			case s.what == "posting" && p.Posting != nil && p.Posting.Index == 5:
				continue
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

// Whatever is damaged in the source, the copy is refused, and named.
func TestCopyOfDamaged(t *testing.T) {
	wl := copiedLog(t, memstore.New())
	from := wl.store.Restart()
	for _, what := range []string{
		"root", "skeleton", "time", "header", "missing header", "payload", "missing payload", "large payload", "checkpoint", "cosignature", "key", "posting",
	} {
		to := newCopy(t, "memory:"+t.Name()+what, from)
		_, err := Copy(t.Context(), wl.copyConfig(damagedSource{from, what}, to))
		if !errors.Is(err, ErrCopy) && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s damaged: got the error %v", what, err)
		}
	}
	other := memstore.New()
	if _, err := Copy(t.Context(), wl.copyConfig(from, other)); !errors.Is(err, ErrCopy) {
		t.Errorf("a copy with another secret: got the error %v", err)
	}
}

package ledger

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/engine"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

func folder(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	out := map[string][]byte{}
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || info.IsDir() {
			maps.Copy(out, folder(t, name))
			continue
		}
		if out[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// A read-only log answers reads with its last signed checkpoint, refuses
// everything else with the reason, and changes no file.
func TestOpenReadOnly(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	url := engine.InFolder(path)
	options := store.Options{Logger: slog.New(slog.DiscardHandler), CacheBytes: 1 << 20, BufferBytes: 1 << 20}
	s, err := engine.Open(ctx, url, options)
	if err != nil {
		t.Fatal(err)
	}
	tl := newTestLogOn(t, Config{}, s)
	tl.fill(t, "fill", 300)
	tl.mustAppend(t, acme.draft("secret"), globex.draft("other"))
	tl.erase(t, acme, 300, true)
	published := tl.Published()
	tl.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := folder(t, dir)

	mark := store.Mark{}
	options.Prove = func(_ store.Store, m *store.Mark) error { mark = *m; return nil }
	r, err := engine.OpenReadOnly(ctx, url, options)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(mark.Checkpoint, published.Checkpoint) {
		t.Fatalf("the mark has another checkpoint:\n%s", mark.Checkpoint)
	}
	cfg := Config{Store: r, Clock: tl.clock}
	l, err := OpenReadOnly(ctx, cfg, tl.policy, mark.Checkpoint, ErrRolledBack)
	if err != nil {
		t.Fatal(err)
	}
	p := l.Published()
	if p.Size != 303 || p.Root != published.Root || p.Time != published.Time {
		t.Fatalf("it shows size %d, root %s, time %d", p.Size, p.Root, p.Time)
	}
	ro := &testLog{Ledger: l, policy: tl.policy}
	for index, want := range map[uint64]receipt.Form{7: receipt.Detached, 300: receipt.HeaderErased, 302: receipt.Detached} {
		if got := ro.form(t, acme, index); got != want {
			t.Errorf("the receipt of entry %d is %s, want %s", index, got, want)
		}
	}
	if path, err := p.ConsistencyProof(ctx, 100, p.Size); err != nil {
		t.Fatal(err)
	} else if root, err := p.RootOf(ctx, 100); err != nil || receipt.VerifyConsistency(100, p.Size, root, p.Root, path) != nil {
		t.Fatalf("the consistency proof: %v", err)
	}
	if payload, err := readPayload(ctx, l, globex.stream, 301); err != nil || string(payload.Content) != "other" {
		t.Fatalf("payload: %v", err)
	}
	_, err = l.Append(ctx, acme.drafts("new", 1))
	wantErr(t, "append", err, ErrRolledBack)
	_, err = l.Append(ctx, []Draft{acme.draft("fill0 1")})
	wantErr(t, "append again", err, ErrRolledBack)
	e, err := l.PlanErasure(ctx, acme.stream, 7, true)
	if err != nil {
		t.Fatal(err)
	}
	d := acme.erasure(7, e.Scope())
	d.Erase = e
	_, err = l.Append(ctx, []Draft{d})
	wantErr(t, "erase", err, ErrRolledBack)
	_, err = l.NewSpool(ctx, 0)
	wantErr(t, "spool", err, ErrRolledBack)
	wantErr(t, "cosign", l.Cosign(ctx, p.Checkpoint), ErrRolledBack)
	l.Release()
	wantErr(t, "ready", l.Ready(), ErrRolledBack)
	wantErr(t, "commit", r.Commit(ctx, &store.Commit{From: 303}), store.ErrReadOnly)
	l.Close()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if after := folder(t, dir); !maps.EqualFunc(after, before, bytes.Equal) {
		t.Errorf("files changed: %q, before %q", slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(before)))
	}
}

// Content that an entry records as erased is not served, even if the store
// still contains it.
func TestReadOnlyHidesErased(t *testing.T) {
	ctx := context.Background()
	tl := newTestLog(t, Config{})
	tl.mustAppend(t, acme.draft("a"), acme.draft("b"), acme.draft("c"))
	// which erase nothing, as if openings were put back
	tl.mustAppend(t, acme.erasure(0, ScopePayload), acme.erasure(1, ScopeHeaderAndPayload))
	cp := tl.Published().Checkpoint
	tl.mustAppend(t, acme.draft("not published to readers of the earlier checkpoint"))
	tl.Close()
	l, err := OpenReadOnly(ctx, Config{Store: tl.store.Restart(), Clock: tl.clock}, tl.policy, cp, ErrRolledBack)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ro := &testLog{Ledger: l, policy: tl.policy}
	for i, want := range []receipt.Form{receipt.PayloadErased, receipt.HeaderErased, receipt.Detached} {
		if got := ro.form(t, acme, uint64(i)); got != want {
			t.Errorf("the receipt of entry %d is %s, want %s", i, got, want)
		}
		if p, err := readPayload(ctx, l, acme.stream, uint64(i)); err != nil || (p != nil) != (i == 2) {
			t.Errorf("payload of entry %d: %v, %v", i, p, err)
		}
		checkFacts(t, l, acme, uint64(i))
	}
	if _, err := l.Entry(ctx, acme.stream, 5); err == nil {
		t.Error("an entry beyond the checkpoint is shown")
	}
	if _, err := OpenReadOnly(ctx, Config{Store: tl.store.Restart()}, tl.policy, bytes.Replace(cp, []byte("\n5\n"), []byte("\n4\n"), 1), ErrRolledBack); err == nil || !strings.Contains(err.Error(), "not signed by the log's key") {
		t.Errorf("a forged checkpoint: %v", err)
	}
}

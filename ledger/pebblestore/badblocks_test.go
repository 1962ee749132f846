package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"muniment.dev/muniment/ledger/store"
)

// Pebble searches a damaged block for the flipped bit, which takes a good part
// of a second. Each damaged block must be read once, not once for each record
// that is asked for.
func TestDamagedBlocksAreReadOnce(t *testing.T) {
	rig := newDamageRig(t, false)
	damaged := 0
	for _, part := range []string{".sst", ".blob"} {
		for i, path := range slices.Repeat(rig.files.find(part), 3) {
			at := 8 + 1200*i
			bad := bytes.Clone(rig.files[path])
			bad[at%len(bad)] ^= 0x10
			now := maps.Clone(rig.files)
			now[path] = bad
			var mu sync.Mutex
			reads := map[int64]int{} // of the damaged file, by offset
			fs := errorfs.Wrap(now.disk(t), errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind == errorfs.OpFileReadAt && op.Path == path {
					mu.Lock()
					defer mu.Unlock()
					reads[op.Offset]++
				}
				return nil
			}))
			s, err := OpenFS(fs, "data", damageOptions)
			if err != nil {
				if !errors.Is(err, store.ErrDamaged) {
					t.Fatal(err)
				}
				continue
			}
			mu.Lock()
			clear(reads) // it was opened twice
			mu.Unlock()
			ctx := context.Background()
			for range 10 {
				for i := range rig.model.Size() {
					_, err1 := s.Header(ctx, i)
					_, err2 := s.Payload(ctx, i)
					_, err3 := s.Skeletons(ctx, i, i+1)
					err := errors.Join(err1, err2, err3)
					if errors.Is(err, store.ErrDamaged) {
						damaged++
					} else if err != nil {
						t.Fatal(err)
					}
				}
			}
			mu.Lock()
			for offset, n := range reads {
				if n > 2 {
					t.Errorf("the block at %d of %s was read %d times", offset, path, n)
				}
			}
			mu.Unlock()
			s.Close() // a compaction may have failed
		}
	}
	if damaged == 0 {
		t.Error("no read met the damage")
	}
}

// The memory for damaged blocks is bounded.
func TestBadBlocksAreBounded(t *testing.T) {
	var b badBlocks
	for i := range maxBadBlocks + 10 {
		b.learn(fmt.Errorf("pebble: file 000001: block %d/100: checksum mismatch", i))
	}
	if n := len(b.at); n != maxBadBlocks {
		t.Errorf("%d blocks are remembered, want %d", n, maxBadBlocks)
	}
	if err := b.check("000001.sst", 7); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("a damaged block: %v", err)
	}
	if err := b.check("000002.sst", 7); err != nil {
		t.Errorf("a block of another file: %v", err)
	}
}

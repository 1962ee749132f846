package offload

import (
	"context"
	"iter"
	"sync"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/ledger/objects"
	"muniment.dev/muniment/ledger/store"
)

// Names and forms of the files, as C2SP tlog-tiles specifies them.
const (
	checkpointPath = "checkpoint"
	tileHeight     = torchwood.TileHeight
)

var (
	checkpointForm = objects.Form{Type: "text/plain; charset=utf-8", Cache: "public, max-age=5"}
	tileForm       = objects.Form{Type: "application/octet-stream", Cache: "public, max-age=31536000, immutable"}
)

// A file is a tile or an entry bundle.
type file struct {
	bundle bool
	level  uint8 // of a tile
	index  uint64
	width  int // number of hashes or entries
}

func (f file) path() string {
	t := tlog.Tile{H: tileHeight, L: int(f.level), N: int64(f.index), W: f.width}
	if f.bundle {
		t.L = -1
	}
	return torchwood.TilePath(t)
}

// files yields the files that a client needs for the checkpoint of size to and
// not for that of size from.
func files(from, to uint64) iter.Seq[file] {
	return func(yield func(file) bool) {
		for level := uint8(0); to>>(tileHeight*level) > 0; level++ {
			before, now := from>>(tileHeight*level), to>>(tileHeight*level) // hashes of the level
			if before == now {
				continue
			}
			for index := before / store.TileWidth; index <= now/store.TileWidth; index++ {
				width := int(min(now-index*store.TileWidth, store.TileWidth))
				if width == 0 {
					continue
				}
				if level == 0 && !yield(file{bundle: true, index: index, width: width}) {
					return
				}
				if !yield(file{level: level, index: index, width: width}) {
					return
				}
			}
		}
	}
}

// writeFiles writes the files for a checkpoint, several at a time. When it
// returns nil, the bucket has all of them.
func (c *Copier) writeFiles(ctx context.Context, from, to uint64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan file)
	var running sync.WaitGroup
	for range writers {
		running.Go(func() {
			defer crash.Report()
			for f := range next {
				if err := c.writeFile(ctx, f); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	for f := range files(from, to) {
		select {
		case next <- f:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	running.Wait()
	return context.Cause(ctx)
}

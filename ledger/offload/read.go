package offload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/objects"
	"muniment.dev/muniment/ledger/store"
)

const (
	// readPatience limits how long a request waits for the bucket before the
	// store is read in its place.
	readPatience = 2 * time.Second
	// readPause is how long the bucket is not asked again after it did not
	// answer.
	readPause = 10 * time.Second
)

// FullTile implements ledger.TileSource.
func (c *Copier) FullTile(ctx context.Context, level uint8, index uint64) ([]byte, error) {
	return c.read(ctx, file{level: level, index: index, width: store.TileWidth}, store.TileWidth*entry.HashSize)
}

// FullBundle implements ledger.TileSource.
func (c *Copier) FullBundle(ctx context.Context, index uint64, limit int) ([]byte, error) {
	return c.read(ctx, file{bundle: true, index: index, width: store.TileWidth}, limit)
}

// Refuse implements ledger.TileSource. It logs one reason per lookEvery.
func (c *Copier) Refuse(reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Failures[Foreign]++
	if now := time.Now(); now.Sub(c.refused) >= lookEvery {
		c.refused = now
		c.cfg.Logger.Error("the copy of the log in the bucket is damaged; the log's own store is read in its place", "bucket", c.cfg.Bucket.String(), "err", reason)
	}
}

// read returns a file that the copy has.
func (c *Copier) read(ctx context.Context, f file, limit int) ([]byte, error) {
	covered := c.size.Load() >> (tileHeight * f.level) // hashes of the level
	if f.level > 7 || f.index >= covered/store.TileWidth || time.Now().UnixNano() < c.pause.Load() {
		return nil, ledger.ErrNotCopied
	}
	content, _, err := c.reader.Read(ctx, f.path(), int64(limit))
	switch {
	case err == nil:
		return content, nil
	case errors.Is(err, objects.ErrMissing), errors.Is(err, objects.ErrWrong):
		c.Refuse(err)
	case ctx.Err() == nil:
		c.pause.Store(time.Now().Add(readPause).UnixNano())
	}
	return nil, fmt.Errorf("%w: %w", ledger.ErrNotCopied, err)
}

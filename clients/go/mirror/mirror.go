// Package mirror keeps a verified copy of a log in a folder, as the files of C2SP tlog-tiles (https://c2sp.org/tlog-tiles).
//
// Nothing is stored before it is proven: a hash tile by the tiles above it up to the root of the signed checkpoint, an entry bundle by its hash tile. The checkpoint
// is stored last, when all that it needs is there. So whatever ends an update, the folder is the copy that it was, or the new one, and what was fetched is not fetched
// again. Of C2SP tlog-mirror (https://c2sp.org/tlog-mirror) it has the reading side, and the cosignature, which says that the mirror has it all; the log need not know of
// the mirror, which fetches instead of being fed.
package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"muniment.dev/muniment/clients/go/audit"
	"muniment.dev/muniment/ledger/receipt"
)

const (
	tileWidth   = torchwood.TileWidth
	batchTiles  = 64 // proven together: the tiles above are read once for them
	concurrency = 16
)

// Options say how to keep the copy. The zero value will do.
type Options struct {
	// Cosigner signs each checkpoint whose tree was copied; nil: nobody does.
	Cosigner note.Signer
	// Progress is called with the number of entries that are there and that there will be. nil means no calls.
	Progress func(done, total uint64)
}

// A Report says what an update did.
type Report struct {
	Origin string       `json:"origin"`
	From   uint64       `json:"from"` // size of the copy before
	Size   uint64       `json:"size"`
	Root   receipt.Hash `json:"-"`
	Files  int          `json:"files"` // that were written
}

// Update brings the copy in the folder to the source's checkpoint. Only one update of a folder may run at a time.
//
// Errors wrap those of package audit: ErrCheckpoint; ErrTruncated and ErrForked, as a *audit.Conflict with both checkpoints; ErrTileMismatch, ErrMalformed and
// ErrLeafMismatch for what the source serves; ErrUnavailable; and ErrState if the folder itself is damaged.
func Update(ctx context.Context, src audit.Source, policy *receipt.Policy, dir string, o Options) (*Report, error) {
	if o.Progress == nil {
		o.Progress = func(done, total uint64) {}
	}
	kept, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var from receipt.Checkpoint
	if kept != nil {
		if from, _, err = policy.VerifyCheckpoint(kept); err != nil {
			return nil, fmt.Errorf("%w: %s: %w; use one folder for each log, and the log's policy", audit.ErrState, filepath.Join(dir, "checkpoint"), err)
		}
	}
	head, signed, err := audit.ReadCheckpoint(ctx, src, policy)
	if err != nil {
		return nil, err
	}
	if kept != nil {
		if err := audit.Extends(ctx, src, kept, signed); err != nil {
			return nil, err
		}
	}
	u := &update{src: src, dir: dir, head: head, o: o, report: &Report{Origin: head.Origin, From: from.Size, Size: head.Size, Root: head.Root}}
	if err := u.copy(ctx, from.Size); err != nil {
		return nil, err
	}
	if o.Cosigner != nil && (kept == nil || head.Size > from.Size || !cosigned(kept, o.Cosigner)) {
		if signed, err = cosign(signed, policy, o.Cosigner); err != nil {
			return nil, err
		}
	} else if head.Size == from.Size && kept != nil {
		return u.report, nil
	}
	if err := u.write("checkpoint", signed); err != nil {
		return nil, err
	}
	u.report.Files = int(u.files.Load())
	return u.report, nil
}

// An update is one run.
type update struct {
	src    audit.Source
	dir    string
	head   receipt.Checkpoint
	o      Options
	report *Report
	files  atomic.Int64 // written
}

// copy stores all tiles and bundles that a tree of the size does not have.
func (u *update) copy(ctx context.Context, size uint64) error {
	if u.head.Size == size {
		return nil
	}
	last := (u.head.Size - 1) / tileWidth
	for n := size / tileWidth; n <= last; n += batchTiles {
		u.o.Progress(n*tileWidth, u.head.Size)
		if err := u.batch(ctx, n, min(n+batchTiles, last+1)); err != nil {
			return err
		}
	}
	u.o.Progress(u.head.Size, u.head.Size)
	return nil
}

// batch proves and stores the level-0 tiles n ≤ N < end, all above them, and their bundles.
func (u *update) batch(ctx context.Context, n, end uint64) error {
	r := &reader{ctx: ctx, u: u, known: map[tlog.Tile][]byte{}}
	var wanted []int64
	for i := n; i < end; i++ {
		wanted = append(wanted, tlog.StoredHashIndex(0, int64(i*tileWidth)))
	}
	tree := tlog.Tree{N: int64(u.head.Size), Hash: tlog.Hash(u.head.Root)}
	_, err := tlog.TileHashReader(tree, r).ReadHashes(wanted)
	if err != nil && !isAudit(err) {
		return fmt.Errorf("%w: the tiles above the entries %d to %d do not rebuild the root of the checkpoint of size %d (%v); nothing of them was stored. If it persists, report it to the log's operator",
			audit.ErrTileMismatch, n*tileWidth, min(end*tileWidth, u.head.Size)-1, u.head.Size, err)
	} else if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	for i := n; i < end; i++ {
		t := tlog.Tile{H: torchwood.TileHeight, L: 0, N: int64(i), W: int(min(tileWidth, u.head.Size-i*tileWidth))}
		leaves := r.known[t]
		if leaves == nil {
			return fmt.Errorf("tile %s was not proven", torchwood.TilePath(t)) // a bug
		}
		t.L = -1
		if u.has(torchwood.TilePath(t)) {
			continue
		}
		g.Go(func() error { return u.bundle(gctx, t, leaves) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for t, data := range r.known { // after the bundles: where a tile is, its bundle is
		path := torchwood.TilePath(t)
		if !u.has(path) {
			if err := u.write(path, data); err != nil {
				return err
			}
		}
	}
	for i := n; i < end; i++ {
		if err := u.dropPartial(i); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (u *update) bundle(ctx context.Context, t tlog.Tile, leaves []byte) error {
	entries, err := audit.ReadBundle(ctx, u.src, t, leaves)
	if err != nil {
		return err
	}
	var data []byte
	for _, e := range entries {
		if data, err = torchwood.AppendTileEntry(data, e); err != nil {
			return err
		}
	}
	return u.write(torchwood.TilePath(t), data)
}

// dropPartial deletes the partial files of a tile and bundle that are full now. A reader that has an older checkpoint is served from the full ones.
func (u *update) dropPartial(n uint64) error {
	if (n+1)*tileWidth > u.head.Size {
		return nil
	}
	for _, l := range []int{-1, 0} {
		path := torchwood.TilePath(tlog.Tile{H: torchwood.TileHeight, L: l, N: int64(n), W: tileWidth})
		if err := os.RemoveAll(filepath.Join(u.dir, filepath.FromSlash(path+".p"))); err != nil {
			return err
		}
	}
	return nil
}

func (u *update) has(path string) bool {
	_, err := os.Stat(filepath.Join(u.dir, filepath.FromSlash(path)))
	return err == nil
}

// write writes a file whole and durably, or not at all.
func (u *update) write(path string, data []byte) (err error) {
	full := filepath.Join(u.dir, filepath.FromSlash(path))
	dir := filepath.Dir(full)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".mirror-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), full)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("store %s: %w", path, err)
	}
	if path == "checkpoint" {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		return errors.Join(d.Sync(), d.Close())
	}
	u.files.Add(1)
	return nil
}

// A reader hands tiles to tlog.TileHashReader: those that are there, and else the source's. What comes to SaveTiles is proven.
type reader struct {
	ctx   context.Context // of the one call that it is made for
	u     *update
	known map[tlog.Tile][]byte
}

func (r *reader) Height() int { return torchwood.TileHeight }

func (r *reader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	g, ctx := errgroup.WithContext(r.ctx)
	g.SetLimit(concurrency)
	for i, t := range tiles {
		stored, err := os.ReadFile(filepath.Join(r.u.dir, filepath.FromSlash(torchwood.TilePath(t))))
		if err == nil && len(stored) == t.W*receipt.HashSize {
			out[i] = stored
			continue
		}
		g.Go(func() (err error) {
			out[i], err = audit.ReadTile(ctx, r.u.src, t)
			return err
		})
	}
	return out, g.Wait()
}

func (r *reader) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	for i, t := range tiles {
		r.known[t] = data[i]
	}
}

func isAudit(err error) bool {
	return errors.Is(err, audit.ErrUnavailable) || errors.Is(err, audit.ErrMalformed)
}

// cosigned says whether a stored checkpoint has a line by the signer.
func cosigned(signed []byte, s note.Signer) bool {
	return bytes.Contains(signed, []byte("\n— "+s.Name()+" "))
}

// cosign adds the mirror's cosignature: it says that the mirror has the whole tree.
func cosign(signed []byte, policy *receipt.Policy, s note.Signer) ([]byte, error) {
	verifiers := []note.Verifier{policy.LogKey()}
	n, err := note.Open(signed, note.VerifierList(verifiers...))
	if err != nil {
		return nil, err
	}
	return note.Sign(n, s)
}

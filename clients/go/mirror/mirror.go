// Package mirror keeps a verified copy of a log in a folder, as the files of
// C2SP tlog-tiles (https://c2sp.org/tlog-tiles).
//
// Every file is verified before it is stored: a hash tile by the tiles above
// it, up to the root of the signed checkpoint, and an entry bundle by its hash
// tile. The checkpoint is stored last. Therefore an interrupted update leaves
// the old copy intact, and the next update does not fetch the new files again.
//
// The package implements the reading side of C2SP tlog-mirror
// (https://c2sp.org/tlog-mirror) and the cosignature, by which a mirror asserts
// that it has the whole log. It fetches from the log, so the log needs no
// configuration.
package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"muniment.dev/muniment/clients/go/audit"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/wholefile"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

const (
	tileWidth   = torchwood.TileWidth
	concurrency = 16

	checkpoint    = "checkpoint"
	maxCheckpoint = receipt.MaxCheckpointSize
	maxBundle     = tileWidth * (2 + 0xFFFF)
)

// batchTiles is the number of tiles that are verified together, so that the
// tiles above them are read once. Tests reduce it.
var batchTiles uint64 = 64

// ErrFolder is wrapped by the errors for a folder that contains anything but a
// copy. Nothing in it was changed.
var ErrFolder = errors.New("not the folder of a mirror")

// Options configure an update. The zero value is valid.
type Options struct {
	// Cosigner signs each checkpoint whose tree was copied. nil means no
	// cosignature.
	Cosigner note.Signer
	// Progress is called with the number of copied entries and the total. nil
	// means no calls.
	Progress func(done, total uint64)
}

// A Report is the result of an update.
type Report struct {
	Origin string     `json:"origin"`
	From   uint64     `json:"from"` // size of the copy before the update
	Size   uint64     `json:"size"`
	Root   entry.Hash `json:"-"`
	Files  int        `json:"files"` // number of files written
}

// Update extends the copy in the folder to the source's checkpoint. Only one
// update of a folder may run at a time.
//
// Errors wrap those of package audit: ErrCheckpoint; ErrTruncated and
// ErrForked, as a *audit.Conflict with both checkpoints; ErrTileMismatch,
// ErrMalformed and ErrLeafMismatch for wrong files of the source;
// ErrUnavailable; and ErrState if the folder itself is damaged.
func Update(ctx context.Context, src audit.Source, policy *receipt.TrustPolicy, dir string, o Options) (*Report, error) {
	if o.Progress == nil {
		o.Progress = func(done, total uint64) {}
	}
	root, err := open(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	kept, err := bounded.ReadFileIn(root, checkpoint, maxCheckpoint)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", audit.ErrState, err)
	}
	var from receipt.Checkpoint
	if kept != nil {
		if from, _, err = policy.VerifyCheckpoint(kept); err != nil {
			return nil, fmt.Errorf("%w: %s: %w; use a separate folder for each log, and the log's own policy", audit.ErrState, filepath.Join(dir, checkpoint), err)
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
	u := &update{src: src, root: root, head: head, o: o, report: &Report{Origin: head.Origin, From: from.Size, Size: head.Size, Root: head.Root}}
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
	if err := u.write(checkpoint, signed); err != nil {
		return nil, err
	}
	u.report.Files = int(u.files.Load())
	return u.report, nil
}

// open opens the folder of a copy. It refuses a folder with other content, such
// as a live log's, because a mirror deletes and replaces files.
func open(dir string) (*os.Root, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	if err := checkFolder(root, dir); err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// foreign are files in the data folders of servers, witnesses and other
// programs' mirrors.
var foreign = []string{"muniment.yaml", "witness.yaml", "log.key", "rekor.key", "store", "lock", "tokens", "streams"}

func checkFolder(root *os.Root, dir string) error {
	for _, name := range foreign {
		if _, err := root.Lstat(name); err == nil {
			return fmt.Errorf("%w: %s contains %s, which belongs to the data folder of a log or witness: use an empty folder", ErrFolder, dir, name)
		}
	}
	if _, err := root.Lstat(checkpoint); err == nil {
		return nil // a copy, which Update verifies
	}
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(64)
	if err != nil && err != io.EOF {
		return err
	}
	for _, name := range names {
		// An interrupted update leaves tiles behind.
		if name != "tile" && name != "lost+found" && !wholefile.Temporary(name) {
			return fmt.Errorf("%w: %s contains %s and is not a copy of a log: use an empty folder", ErrFolder, dir, name)
		}
	}
	return nil
}

// An update is one run.
type update struct {
	src    audit.Source
	root   *os.Root
	head   receipt.Checkpoint
	o      Options
	report *Report
	files  atomic.Int64 // written
}

// copy stores all tiles and bundles that a tree of the given size lacks.
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

// batch verifies and stores the level-0 tiles n ≤ N < end, all tiles above
// them, and their bundles.
func (u *update) batch(ctx context.Context, n, end uint64) error {
	r := &reader{ctx: ctx, u: u, known: map[tlog.Tile][]byte{}}
	var wanted []int64
	for i := n; i < end; i++ {
		wanted = append(wanted, tlog.StoredHashIndex(0, int64(i*tileWidth)))
	}
	tree := tlog.Tree{N: int64(u.head.Size), Hash: tlog.Hash(u.head.Root)}
	_, err := tlog.TileHashReader(tree, r).ReadHashes(wanted)
	if err != nil && !isAudit(err) {
		return fmt.Errorf("%w: the tiles above the entries %d to %d do not rebuild the root of the checkpoint of size %d (%v); none of them were stored. If the error persists, report it to the log's operator",
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
		g.Go(func() error {
			defer crash.Report()
			return u.bundle(gctx, t, leaves)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for t, data := range r.known { // after the bundles: a stored tile implies its bundle
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

// dropPartial deletes the partial files of a tile and bundle that have become
// full. Readers with an older checkpoint are served from the full ones.
func (u *update) dropPartial(n uint64) error {
	if (n+1)*tileWidth > u.head.Size {
		return nil
	}
	for _, l := range []int{-1, 0} {
		path := torchwood.TilePath(tlog.Tile{H: torchwood.TileHeight, L: l, N: int64(n), W: tileWidth})
		if err := u.root.RemoveAll(filepath.FromSlash(path + ".p")); err != nil {
			return err
		}
	}
	return nil
}

func (u *update) has(path string) bool {
	info, err := u.root.Lstat(filepath.FromSlash(path))
	return err == nil && info.Mode().IsRegular()
}

// write writes a file atomically and durably.
func (u *update) write(path string, data []byte) error {
	name := filepath.FromSlash(path)
	if err := owner.MkdirAllIn(u.root, filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := wholefile.ReplaceOwned(u.root, name, data, 0o644); err != nil {
		return fmt.Errorf("store %s: %w", path, err)
	}
	if path == checkpoint {
		return wholefile.SyncDir(u.root, ".")
	}
	u.files.Add(1)
	return nil
}

// A reader passes tiles to tlog.TileHashReader, from the folder if they exist
// there and otherwise from the source. SaveTiles receives verified tiles.
type reader struct {
	ctx   context.Context // of the call that the reader serves
	u     *update
	known map[tlog.Tile][]byte
}

func (r *reader) Height() int { return torchwood.TileHeight }

func (r *reader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	g, ctx := errgroup.WithContext(r.ctx)
	g.SetLimit(concurrency)
	for i, t := range tiles {
		stored, err := bounded.ReadFileIn(r.u.root, filepath.FromSlash(torchwood.TilePath(t)), tileWidth*entry.HashSize)
		if err == nil && len(stored) == t.W*entry.HashSize {
			out[i] = stored
			continue
		}
		g.Go(func() (err error) {
			defer crash.Report()
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

// cosigned reports whether a stored checkpoint has a line by the signer.
func cosigned(signed []byte, s note.Signer) bool {
	return bytes.Contains(signed, []byte("\n— "+s.Name()+" "))
}

// cosign adds the mirror's cosignature, by which it asserts that it has the
// whole tree.
func cosign(signed []byte, policy *receipt.TrustPolicy, s note.Signer) ([]byte, error) {
	verifiers := []note.Verifier{policy.LogKey()}
	n, err := note.Open(signed, note.VerifierList(verifiers...))
	if err != nil {
		return nil, err
	}
	return note.Sign(n, s)
}

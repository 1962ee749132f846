package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/ledger/entry"
)

// errOldTag means that the scan must restart at the first entry. See tracker.
var errOldTag = errors.New("a new entry has a tag that an earlier run found")

// entrySize is the size of an entry of a stream in a bundle: its length and the
// leaf data.
const entrySize = 2 + entry.LeafSize

// A job is a tile to fetch and hash, at level 0 together with its entry bundle.
// A worker sets the fields below done and then closes it.
type job struct {
	tile tlog.Tile
	done chan struct{}

	err    error
	root   entry.Hash   // of a full tile
	hashes []entry.Hash // the tile's; at level 0 only where the row needs them
	bundle []byte       // level 0: begins with the entries of the tile
}

// A row is the scan's state of the last tile at one level.
type row struct {
	keptWidth int          // so many of the tile's hashes were audited by an earlier run,
	kept      []entry.Hash // which left the peaks over them
	// the hashes after them, computed from the tiles below; unused at level 0
	computed []entry.Hash
	last     []entry.Hash // the hashes of the tree's last, partial tile once it was checked
}

// A scanner processes the results of jobs in the order of their creation.
type scanner struct {
	from  uint64 // entries before it were audited
	size  uint64
	rows  []row
	track *tracker // nil: no stream is looked for
	entry func(index uint64, data []byte) error
}

// scan checks all entries and tiles that were added after base, or all if base
// is nil. It returns the state at the size of the checkpoint.
func (a *auditor) scan(ctx context.Context, base *State) (*State, error) {
	s := &scanner{from: base.Size(), size: a.head.Size, entry: a.opts.Entry, rows: make([]row, levels(a.head.Size))}
	next := &State{Checkpoint: string(a.signed), head: a.head}
	if base != nil {
		for l, p := range splitPeaks(s.from, base.Peaks) {
			s.rows[l].keptWidth, s.rows[l].kept = width(s.from, l), p
		}
	}
	if a.opts.StreamKey != nil {
		var err error
		if s.track, err = newTracker(ctx, a.opts.StreamKey, s.size, base); err != nil {
			return nil, err
		}
	}
	if s.from < s.size {
		if err := a.runJobs(ctx, s); err != nil {
			return nil, err
		}
	}
	if s.track != nil {
		stream := s.track.StreamState
		next.Stream, next.tags = &stream, s.track.tags
	}
	if s.from == s.size {
		if base != nil {
			next.Peaks = base.Peaks
		}
		return next, nil
	}
	for l := len(s.rows) - 1; l >= 0; l-- {
		next.Peaks = append(next.Peaks, peaks(s.rows[l].last)...)
	}
	if root := rootOf(next.Peaks); root != a.head.Root {
		return nil, fmt.Errorf("%w: entries and tiles agree and yield the root %s for size %d, but the log signed %s; keep the checkpoint and report it to the log's operator",
			ErrRootMismatch, root.Base64(), s.size, a.head.Root.Base64())
	}
	return next, nil
}

// runJobs runs the jobs in workers and processes their results in order. Errors
// are processed in order as well, so that the same fault always causes the same
// message. At most twice as many jobs as workers are in memory.
func (a *auditor) runJobs(ctx context.Context, s *scanner) error {
	todo := make(chan *job)
	inOrder := make(chan *job, a.opts.Concurrency)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer crash.Report()
		defer close(todo)
		defer close(inOrder)
		return s.plan(func(t tlog.Tile) error {
			j := &job{tile: t, done: make(chan struct{})}
			for _, c := range []chan *job{inOrder, todo} {
				select {
				case c <- j:
				case <-ctx.Done():
					return unavailable(ctx, torchwood.TilePath(t), ctx.Err())
				}
			}
			return nil
		})
	})
	for range a.opts.Concurrency {
		g.Go(func() error {
			defer crash.Report()
			for j := range todo {
				j.err = a.work(ctx, s, j)
				close(j.done)
			}
			return nil
		})
	}
	g.Go(func() error {
		defer crash.Report()
		total := s.size - s.from
		a.opts.Progress(0, total)
		for j := range inOrder {
			select {
			case <-j.done:
			case <-ctx.Done():
				// The planner can have queued the result of a job that no
				// worker accepted any more.
				return unavailable(ctx, torchwood.TilePath(j.tile), ctx.Err())
			}
			if j.err != nil {
				return j.err
			}
			if err := s.take(j); err != nil {
				return err
			}
			if j.tile.L == 0 {
				a.opts.Progress(uint64(j.tile.N)*tileWidth+uint64(j.tile.W)-s.from, total)
			}
		}
		return nil
	})
	return g.Wait()
}

// plan calls add for each tile to read, lower levels before higher ones.
func (s *scanner) plan(add func(tlog.Tile) error) error {
	tile := func(level int, n uint64, w int) error {
		return add(tlog.Tile{H: torchwood.TileHeight, L: level, N: int64(n), W: w})
	}
	for n := s.from / tileWidth; n < s.size/tileWidth; n++ {
		if err := tile(0, n, tileWidth); err != nil {
			return err
		}
		// This tile can be the last one below one or more tiles.
		for l, above := 1, n; above%tileWidth == tileWidth-1; l++ {
			above /= tileWidth
			if err := tile(l, above, tileWidth); err != nil {
				return err
			}
		}
	}
	for l := range s.rows {
		if w := width(s.size, l); w > 0 {
			if err := tile(l, s.size>>(8*(l+1)), w); err != nil {
				return err
			}
		}
	}
	return nil
}

// work fetches a job's files and performs the checks that need only these
// files.
func (a *auditor) work(ctx context.Context, s *scanner, j *job) error {
	tile, err := a.files.tile(ctx, j.tile)
	if err != nil {
		return err
	}
	if j.tile.L == 0 {
		t := j.tile
		t.L = -1
		data, served, err := a.files.read(ctx, t)
		if err != nil {
			return err
		}
		if err := checkBundle(data, served, t.W, tile, a.opts.AnyLeaf); err != nil {
			return err
		}
		j.bundle = data
	}
	edge := uint64(j.tile.N) == s.from/tileWidth
	if j.tile.L > 0 || edge || j.tile.W < tileWidth {
		j.hashes = hashesOf(tile)
	}
	if j.tile.W == tileWidth {
		var work [tileWidth]entry.Hash
		for i := range work {
			work[i] = entry.Hash(tile[i*entry.HashSize:])
		}
		j.root = subtree(work[:])
	}
	return nil
}

// checkBundle checks that a bundle is well formed, that its first n entries
// hash to the leaves in the tile, and that these are entries of the format,
// unless any format is allowed. Further entries belong to a later tree.
func checkBundle(data []byte, bundle tlog.Tile, n int, tile []byte, anyLeaf bool) error {
	rest := data
	for i := range bundle.W {
		index := uint64(bundle.N)*tileWidth + uint64(i)
		leafData, after, err := torchwood.ReadTileEntry(rest)
		if err != nil {
			return malformed(bundle, data, fmt.Sprintf("it ends within entry %d", index))
		}
		rest = after
		if i >= n {
			continue
		}
		h, leaf := entry.LeafHash(leafData), tile[i*entry.HashSize:][:entry.HashSize]
		if !bytes.Equal(h[:], leaf) {
			t := bundle
			t.L, t.W = 0, n
			return fmt.Errorf("%w: entry %d: the entry bundle does not hash to the leaf in the tile (%s gives %s, %s contains %s); keep both files and report them to the log's operator",
				ErrLeafMismatch, index, torchwood.TilePath(bundle), h.Base64(), torchwood.TilePath(t), entry.Hash(leaf).Base64())
		}
		if err := entry.CheckLeaf(leafData); err != nil && !anyLeaf {
			return fmt.Errorf("%w: entry %d: %w; the log has another format, or another version of this one: use an auditor for that version", ErrBadLeaf, index, err)
		}
	}
	if len(rest) > 0 {
		return malformed(bundle, data, fmt.Sprintf("%d bytes follow its last entry", len(rest)))
	}
	return nil
}

// entries passes the new entries of a checked bundle to the tracker and the
// caller.
func (s *scanner) entries(first uint64, n int, bundle []byte) error {
	for i := range uint64(n) {
		size := int(binary.BigEndian.Uint16(bundle))
		data := bundle[2 : 2+size]
		bundle = bundle[2+size:]
		if first+i < s.from {
			continue
		}
		if s.track != nil && size == entry.LeafSize {
			s.track.leaf(first+i, data)
		}
		if s.entry != nil {
			if err := s.entry(first+i, data); err != nil {
				return err
			}
		}
	}
	if s.track != nil && s.track.oldTag {
		return errOldTag
	}
	return nil
}

// take processes the next result.
func (s *scanner) take(j *job) error {
	r := &s.rows[j.tile.L]
	if r.keptWidth > 0 && !slices.Equal(peaks(j.hashes[:r.keptWidth]), r.kept) {
		return fmt.Errorf("%w: %s: its first %d hashes differ from those audited at size %d; run the audit again, and if the error persists, keep the file and report it to the log's operator",
			ErrTileMismatch, torchwood.TilePath(j.tile), r.keptWidth, s.from)
	}
	if j.tile.L > 0 {
		for i, h := range r.computed {
			if at := r.keptWidth + i; j.hashes[at] != h {
				below := tlog.Tile{H: torchwood.TileHeight, L: j.tile.L - 1, N: j.tile.N*tileWidth + int64(at), W: tileWidth}
				return fmt.Errorf("%w: %s: hash %d is %s, but the tile below it, %s, has the root %s; keep both files and report them to the log's operator",
					ErrTileMismatch, torchwood.TilePath(j.tile), at, j.hashes[at].Base64(), torchwood.TilePath(below), h.Base64())
			}
		}
	} else if s.track != nil || s.entry != nil {
		if err := s.entries(uint64(j.tile.N)*tileWidth, j.tile.W, j.bundle); err != nil {
			return err
		}
	}
	if j.tile.W < tileWidth {
		r.last = j.hashes
		return nil
	}
	*r = row{computed: r.computed[:0]}
	above := &s.rows[j.tile.L+1]
	above.computed = append(above.computed, j.root)
	return nil
}

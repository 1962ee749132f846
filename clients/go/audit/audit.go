// Package audit follows a log by its public files and checks that it never
// rewrote, truncated or forked its history.
//
// A log served as C2SP [tlog-tiles] shows a signed checkpoint, tiles of hashes
// and bundles of leaf data. Run reads a checkpoint and all that came after the
// last audit, and checks, in this order:
//
//  1. The checkpoint is signed as the policy demands, for the policy's log.
//  2. The tree of the last audit is the beginning of this one. The first tiles
//     to be read are those that show it.
//  3. Each new entry hashes to its leaf in the level-0 tile, and is an entry of
//     docs/spec/entry.md, section 2.
//  4. Each tile above holds the hashes of the full tiles below. Other clients
//     make their proofs from these tiles.
//  5. The leaves rebuild the checkpoint's root, together with the peaks that
//     are left of the leaves audited before.
//
// A [State] carries the peaks (the roots of the perfect subtrees that make up
// the tree, largest first) from one run to the next, so that a run reads what
// is new and the unfinished tiles at the old edge, and nothing else.
//
// With a stream key, Run also checks that the tenant's stream is complete as
// section 3 of docs/spec/entry.md defines it: it looks up every leaf among the
// tags of all sequence numbers below the tree's size. That takes 11 to 22 bytes
// of memory for each entry of the log, and about a second of one core for a
// million, in the first run of a process.
//
// No audit can see two things. Entries held back at the end look like a stream
// that is not yet longer; [Options.ExpectNext] states how long it must be. And
// a log that shows the auditor another tree than everybody else is found only
// by witnesses, or by auditors who compare their checkpoints.
//
// The package prints nothing. It is not for verifying receipts (package receipt
// does that, offline), nor for logs whose leaves are of another format.
//
// [tlog-tiles]: https://c2sp.org/tlog-tiles
package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// What an audit can end with. Each error of Run, but for a contradiction in its
// options, wraps exactly one of these, and its text says what was found and
// what to do next.
var (
	// ErrCheckpoint says that the checkpoint is malformed or not signed as the
	// policy demands.
	ErrCheckpoint = errors.New("the checkpoint does not verify")
	// ErrTruncated says that the checkpoint is of a smaller tree than one seen
	// before. The error is a *Conflict.
	ErrTruncated = errors.New("the log is shorter than it was")
	// ErrForked says that the checkpoint is of a tree that does not begin with
	// the one seen before. The error is a *Conflict.
	ErrForked = errors.New("the log is forked")
	// ErrMalformed says that what was served is not a tile or an entry bundle
	// of its width.
	ErrMalformed = errors.New("malformed tile")
	// ErrLeafMismatch says that an entry does not hash to its leaf in the
	// level-0 tile.
	ErrLeafMismatch = errors.New("an entry is not the one in the tree")
	// ErrBadLeaf says that an entry is in the tree, but is not in the format of
	// docs/spec/entry.md, section 2.
	ErrBadLeaf = errors.New("malformed entry")
	// ErrTileMismatch says that tiles do not belong together. The error is a
	// *Conflict if they were to show that the tree extends the one seen before.
	ErrTileMismatch = errors.New("the tiles contradict each other")
	// ErrRootMismatch says that entries and tiles agree, but are not those of
	// the tree in the checkpoint.
	ErrRootMismatch = errors.New("the entries do not rebuild the root")
	// ErrStream says that the log is sound, but the tenant's stream in it is
	// not complete.
	ErrStream = errors.New("the stream is not complete")
	// ErrUnavailable says that something could not be fetched, so that the
	// audit could not be finished. It also stands for a context that ended.
	ErrUnavailable = errors.New("the log could not be read")
	// ErrState says that the kept state is damaged, or of another log or
	// stream.
	ErrState = errors.New("the kept state can't be used")
)

// A Conflict is the error of a checkpoint that can't be reconciled with the one
// kept from an earlier run. Both are signed by the log, so that they are
// evidence to others, too.
type Conflict struct {
	Kept    string // the signed checkpoint of the earlier run
	Offered string // the signed checkpoint of this run

	// OfferedPrefix is set if the tiles of the offered tree were served and
	// rebuild its root: it is the root that they give for the size of the kept
	// checkpoint.
	OfferedPrefix *entry.Hash

	kind error
	text string
}

func (c *Conflict) Error() string { return c.kind.Error() + ": " + c.text }

// Unwrap returns ErrTruncated, ErrForked or ErrTileMismatch.
func (c *Conflict) Unwrap() error { return c.kind }

const defaultConcurrency = 16

// Options say how to run an audit. The zero value audits the log and no stream.
type Options struct {
	// StreamKey is the key of the stream to look for. A state that was made
	// with a key goes on with this key only. If the state was made without one,
	// the whole log is read again.
	StreamKey *entry.StreamKey

	// ExpectNext is how many entries the stream must have: one more than the
	// largest sequence number that the caller knows to be in a tree of this
	// size or a smaller one, for example from a receipt. It needs a StreamKey.
	// nil expects nothing.
	ExpectNext *uint64

	// AnyLeaf accepts leaves of every format: the log is not one of Muniment's
	// streams.
	AnyLeaf bool

	// Entry is called with each new entry, in order, by one goroutine. What it
	// was told holds only if the run then returns no error, or ErrStream. Its
	// error ends the run, as it is. If a run has to begin again at the first
	// entry, so do the calls.
	Entry func(index uint64, data []byte) error

	// Progress is called from time to time, by one goroutine at a time, with
	// the number of entries that were read and that are to be read in this run.
	// nil means no calls.
	Progress func(done, total uint64)

	// Concurrency is how many files are fetched and hashed at a time. Memory
	// grows with it. 0 means 16.
	Concurrency int
}

// Run audits the log that src serves. prev is what the last successful run
// returned, or nil for the first; only one run at a time may use it.
//
// It returns a report and the state for the next run. If the error wraps
// ErrStream, both are there and the state is to be kept: the log was sound, and
// what is wrong with the stream is in the report, and will be in that of each
// later run. After any other error there is neither, and the next run should
// start from prev again.
func Run(ctx context.Context, src Source, policy *receipt.TrustPolicy, prev *State, opts Options) (*Report, *State, error) {
	if opts.Concurrency <= 0 {
		opts.Concurrency = defaultConcurrency
	}
	if opts.Progress == nil {
		opts.Progress = func(done, total uint64) {}
	}
	if opts.ExpectNext != nil && opts.StreamKey == nil {
		return nil, nil, errors.New("audit: ExpectNext needs a StreamKey")
	}
	if prev != nil {
		if err := prev.usable(policy.Origin(), opts.StreamKey); err != nil {
			return nil, nil, err
		}
	}
	a := &auditor{files: files{src: src, streams: !opts.AnyLeaf}, opts: opts}
	if err := a.readCheckpoint(ctx, policy); err != nil {
		return nil, nil, err
	}
	if prev != nil {
		if err := a.compare(ctx, prev); err != nil {
			return nil, nil, err
		}
	}
	base := prev
	if base != nil && opts.StreamKey != nil && base.Stream == nil {
		base = nil // the stream was never looked for: do it from the first entry
	}
	next, err := a.scan(ctx, base)
	if err == errOldTag {
		// A tag of an entry that an earlier run found came up again. Where the
		// first one is was not kept; the evidence needs it.
		base = nil
		next, err = a.scan(ctx, nil)
	}
	if err != nil {
		return nil, nil, err
	}
	r := &Report{
		Origin:     a.head.Origin,
		Size:       a.head.Size,
		Root:       a.head.Root,
		Checkpoint: string(a.signed),
		Signers:    a.signers,
		Witnessed:  policy.RequiresWitness(),
		From:       base.Size(),
	}
	if next.Stream != nil {
		r.Stream = a.reportStream(ctx, next.Stream)
		if !r.Stream.Complete() {
			return r, next, fmt.Errorf("%w: %s", ErrStream, r.Stream.describe())
		}
	}
	return r, next, nil
}

// An auditor is one run.
type auditor struct {
	opts  Options
	files files

	signed  []byte
	signers []string
	head    receipt.Checkpoint // of signed, verified
}

func (a *auditor) readCheckpoint(ctx context.Context, policy *receipt.TrustPolicy) error {
	var err error
	if a.signed, err = a.files.src.ReadEndpoint(ctx, "checkpoint", maxCheckpointSize); err != nil {
		return unavailable(ctx, "checkpoint", err)
	}
	a.head, a.signers, err = policy.VerifyCheckpoint(a.signed)
	if err != nil {
		return fmt.Errorf("%w: %w%s; check that the policy file is the one of this log, and that its keys were not replaced", ErrCheckpoint, err, htmlHint(a.signed))
	}
	if a.head.Origin != policy.Origin() { // VerifyCheckpoint has seen to it
		return fmt.Errorf("%w: it is of the log %q, the policy of %q", ErrCheckpoint, a.head.Origin, policy.Origin())
	}
	if empty := entry.Hash(sha256.Sum256(nil)); a.head.Size == 0 && a.head.Root != empty {
		return fmt.Errorf("%w: the checkpoint is of an empty tree, but its root is %s; report the checkpoint to the log's operator", ErrRootMismatch, a.head.Root.Base64())
	}
	return nil
}

// compare checks that the tree of the kept state is the beginning of the
// offered one.
//
// A consistency proof would be made from the same tiles and say less: reading
// the kept tree's peaks from tiles that rebuild the offered root shows, if they
// differ, which root the log now claims for the kept size.
func (a *auditor) compare(ctx context.Context, prev *State) error {
	kept := prev.head
	conflict := func(kind error, format string, args ...any) *Conflict {
		return &Conflict{Kept: prev.Checkpoint, Offered: string(a.signed), kind: kind, text: fmt.Sprintf(format, args...)}
	}
	const keep = "keep both signed checkpoints (they are in this error): together they show it to others"
	switch {
	case a.head.Size < kept.Size:
		return conflict(ErrTruncated, "it has %d entries, and had %d at the last audit. A stale cache or mirror looks like this, too: ask the log itself once more; if it persists, the log lost or hid entries. Then %s",
			a.head.Size, kept.Size, keep)
	case a.head.Size == kept.Size && a.head.Root != kept.Root:
		return conflict(ErrForked, "it signed two trees of size %d, with the roots %s and %s; %s", kept.Size, kept.Root.Base64(), a.head.Root.Base64(), keep)
	case a.head.Size == kept.Size || kept.Size == 0:
		return nil
	}
	root, err := tlog.TreeHash(int64(kept.Size), a.hashReader(ctx))
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrMalformed) {
		return err
	} else if err != nil {
		return conflict(ErrTileMismatch, "those at the edges of the trees of sizes %d and %d do not rebuild the root of the second (%v), so the log does not show that it extends what was audited; run again, and if it persists, %s",
			kept.Size, a.head.Size, err, keep)
	}
	if prefix := entry.Hash(root); prefix != kept.Root {
		c := conflict(ErrForked, "the first %d entries of its tree of size %d have the root %s, but had %s at the last audit: history was rewritten; %s",
			kept.Size, a.head.Size, prefix.Base64(), kept.Root.Base64(), keep)
		c.OfferedPrefix = &prefix
		return c
	}
	return nil
}

// Extends checks that the tree of one checkpoint of a log begins with that of
// another, both of which the caller has verified, by the tiles that the source
// has for the second. It returns a *Conflict if it does not, or an error that
// wraps ErrMalformed or ErrUnavailable.
func Extends(ctx context.Context, src Source, kept, offered []byte) error {
	k, err := receipt.ParseCheckpointUnverified(kept)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	a := &auditor{files: files{src: src}, signed: offered}
	if a.head, err = receipt.ParseCheckpointUnverified(offered); err != nil {
		return fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	return a.compare(ctx, &State{Checkpoint: string(kept), head: k})
}

// ReadCheckpoint reads the checkpoint and checks that it is signed as the
// policy demands, for the policy's log.
func ReadCheckpoint(ctx context.Context, src Source, policy *receipt.TrustPolicy) (receipt.Checkpoint, []byte, error) {
	a := &auditor{files: files{src: src}}
	err := a.readCheckpoint(ctx, policy)
	return a.head, a.signed, err
}

// Begin returns the state of the log as it is now, of which no entry was read:
// what was there before is taken on trust, and all that comes later can be
// audited. It is for logs that are too large to be read from the beginning.
func Begin(ctx context.Context, src Source, policy *receipt.TrustPolicy) (*State, error) {
	a := &auditor{files: files{src: src}}
	if err := a.readCheckpoint(ctx, policy); err != nil {
		return nil, err
	}
	st := &State{Checkpoint: string(a.signed), head: a.head}
	if a.head.Size == 0 {
		return st, nil
	}
	var at []int64
	for n, first := a.head.Size, uint64(0); n > 0; { // the peaks, the largest first
		level := bits.Len64(n) - 1
		at = append(at, tlog.StoredHashIndex(level, int64(first>>level)))
		first, n = first+uint64(1)<<level, n-uint64(1)<<level
	}
	hashes, err := a.hashReader(ctx).ReadHashes(at)
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrMalformed) {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("%w: those at the edge of the tree of size %d do not rebuild its root (%v); run again, and if it persists, report it to the log's operator", ErrTileMismatch, a.head.Size, err)
	}
	for _, h := range hashes {
		st.Peaks = append(st.Peaks, entry.Hash(h))
	}
	return st, st.check()
}

// ReadTile reads exactly t.W hashes of a tile, which prove nothing by
// themselves: the first of a full tile, where the partial one is not there any
// more.
func ReadTile(ctx context.Context, src Source, t tlog.Tile) ([]byte, error) {
	f := files{src: src}
	return f.tile(ctx, t)
}

// ReadBundle reads the first t.W entries of a bundle (t.L is -1) and checks
// that they hash to the leaves, which the caller has proven.
func ReadBundle(ctx context.Context, src Source, t tlog.Tile, leaves []byte) ([][]byte, error) {
	f := files{src: src}
	data, served, err := f.read(ctx, t)
	if err != nil {
		return nil, err
	}
	if err := checkBundle(data, served, t.W, leaves, true); err != nil {
		return nil, err
	}
	entries := make([][]byte, t.W)
	for i := range entries {
		if entries[i], data, err = torchwood.ReadTileEntry(data); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// hashReader returns hashes of the offered tree, from tiles that rebuild its
// root.
func (a *auditor) hashReader(ctx context.Context) tlog.HashReader {
	tree := tlog.Tree{N: int64(a.head.Size), Hash: tlog.Hash(a.head.Root)}
	return tlog.TileHashReader(tree, &provenTiles{ctx: ctx, files: &a.files})
}

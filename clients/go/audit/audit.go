// Package audit follows a log by its public files and checks that it never
// rewrote, truncated or forked its history.
//
// A log served as C2SP [tlog-tiles] consists of a signed checkpoint, tiles of
// hashes and bundles of leaf data. Run reads the checkpoint and everything
// added since the last audit, and checks in this order:
//
//  1. The checkpoint is signed as the policy requires, for the policy's log.
//  2. The tree extends the tree of the last audit. The first tiles that Run
//     reads are those that prove it.
//  3. Each new entry hashes to its leaf in the level-0 tile, and is an entry as
//     specified in docs/spec/entry.md, section 2.
//  4. Each tile above level 0 contains the hashes of the full tiles below it.
//     Other clients build their proofs from these tiles.
//  5. The leaves, together with the peaks of the leaves audited before, rebuild
//     the checkpoint's root.
//
// A [State] carries the peaks (the roots of the perfect subtrees that make up
// the tree, largest first) from one run to the next. A run reads only the new
// entries and tiles, and the partial tiles at the old edge.
//
// With a stream key, Run also checks that the tenant's stream is complete as
// defined in docs/spec/entry.md, section 3. It looks up every leaf among the
// tags of all sequence numbers below the tree's size. This takes 11 to 22 bytes
// of memory per entry of the log and, in the first run of a process, about one
// second of one core per million entries.
//
// An audit cannot detect two things. If the last entries of a stream are held
// back, it looks like a shorter stream, unless [Options.ExpectNext] states the
// expected length. And if the log shows other clients a different tree, only
// witnesses detect it, or auditors who compare their checkpoints.
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

// The results of an audit. Every error of Run wraps exactly one of these,
// except an error about contradictory options. Its text describes the finding
// and the next step.
var (
	// ErrCheckpoint means that the checkpoint is malformed, or not signed as
	// the policy requires.
	ErrCheckpoint = errors.New("the checkpoint does not verify")
	// ErrTruncated means that the checkpoint is for a smaller tree than one
	// seen before. The error is a *Conflict.
	ErrTruncated = errors.New("the log is shorter than it was")
	// ErrForked means that the checkpoint is for a tree that does not extend
	// the one seen before. The error is a *Conflict.
	ErrForked = errors.New("the log is forked")
	// ErrMalformed means that a served file is not a tile or entry bundle of
	// its width.
	ErrMalformed = errors.New("malformed tile")
	// ErrLeafMismatch means that an entry does not hash to its leaf in the
	// level-0 tile.
	ErrLeafMismatch = errors.New("an entry is not the one in the tree")
	// ErrBadLeaf means that an entry in the tree does not have the format of
	// docs/spec/entry.md, section 2.
	ErrBadLeaf = errors.New("malformed entry")
	// ErrTileMismatch means that tiles contradict each other. The error is
	// a
	// *Conflict if they were read to prove that the tree extends the one seen
	// before.
	ErrTileMismatch = errors.New("the tiles contradict each other")
	// ErrRootMismatch means that entries and tiles agree, but do not yield the
	// root in the checkpoint.
	ErrRootMismatch = errors.New("the entries do not rebuild the root")
	// ErrStream means that the log is sound, but the tenant's stream is not
	// complete.
	ErrStream = errors.New("the stream is not complete")
	// ErrUnavailable means that the audit could not be finished, because a file
	// could not be fetched or the context ended.
	ErrUnavailable = errors.New("the log could not be read")
	// ErrState means that the state of an earlier run is damaged, or belongs
	// to another log or stream.
	ErrState = errors.New("the state of the last audit cannot be used")
)

// A Conflict is the error of a checkpoint that contradicts the one kept from an
// earlier run. The log signed both, so they are evidence for third parties.
type Conflict struct {
	Kept    string // the signed checkpoint of the earlier run
	Offered string // the signed checkpoint of this run

	// OfferedPrefix is the root that the tiles of the offered tree yield for
	// the size of the kept checkpoint. It is nil if these tiles were not served
	// or do not rebuild the offered root.
	OfferedPrefix *entry.Hash

	kind error
	text string
}

func (c *Conflict) Error() string { return c.kind.Error() + ": " + c.text }

// Unwrap returns ErrTruncated, ErrForked or ErrTileMismatch.
func (c *Conflict) Unwrap() error { return c.kind }

const defaultConcurrency = 16

// Options configure an audit. The zero value audits the log without a stream.
type Options struct {
	// StreamKey is the key of the stream to audit. A state that was created
	// with a key can be continued only with the same key. If the state was
	// created without one, the whole log is read again.
	StreamKey *entry.StreamKey

	// ExpectNext is the least number of entries of the stream: one more than
	// the largest sequence number that the caller has seen, for example in a
	// receipt, in a tree of at most this size. It requires a StreamKey. nil
	// expects nothing.
	ExpectNext *uint64

	// AnyLeaf accepts leaves of any format, for logs other than Muniment's.
	AnyLeaf bool

	// Entry is called with each new entry, in order, by one goroutine. The
	// entries are verified only if the run then returns no error, or ErrStream.
	// An error of Entry ends the run and is returned unchanged. If a run has to
	// restart at the first entry, so do the calls.
	Entry func(index uint64, data []byte) error

	// Progress is called periodically, by one goroutine at a time, with the
	// number of entries read so far and the total of this run. nil means no
	// calls.
	Progress func(done, total uint64)

	// Concurrency is the number of files that are fetched and hashed at a time.
	// Memory grows with it. 0 means 16.
	Concurrency int
}

// Run audits the log that src serves. prev is the state that the last run
// returned, or nil in the first run. Only one run at a time may use it.
//
// Run returns a report and the state for the next run. If the error wraps
// ErrStream, it returns both as well: the log is sound, and the report and
// those of all later runs describe what is wrong with the stream. Save the
// state in this case, too. On any other error both are nil, and the next run
// should start from prev again.
func Run(ctx context.Context, src Source, policy *receipt.TrustPolicy, prev *State, opts Options) (*Report, *State, error) {
	if opts.Concurrency <= 0 {
		opts.Concurrency = defaultConcurrency
	}
	if opts.Progress == nil {
		opts.Progress = func(done, total uint64) {}
	}
	if opts.ExpectNext != nil && opts.StreamKey == nil {
		return nil, nil, errors.New("audit: ExpectNext requires a StreamKey")
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
		base = nil // the earlier runs did not look for the stream
	}
	next, err := a.scan(ctx, base)
	if err == errOldTag {
		// A new entry has a tag that an earlier run found. The evidence needs
		// the index of the first entry, which the state does not contain.
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
		return fmt.Errorf("%w: %w%s; check that the policy file belongs to this log and lists its current keys", ErrCheckpoint, err, htmlHint(a.signed))
	}
	if a.head.Origin != policy.Origin() { // VerifyCheckpoint checks it, too
		return fmt.Errorf("%w: it is from the log %q, but the policy is for %q", ErrCheckpoint, a.head.Origin, policy.Origin())
	}
	if empty := entry.Hash(sha256.Sum256(nil)); a.head.Size == 0 && a.head.Root != empty {
		return fmt.Errorf("%w: the checkpoint is for an empty tree, but its root is %s; report it to the log's operator", ErrRootMismatch, a.head.Root.Base64())
	}
	return nil
}

// compare checks that the offered tree extends the tree of the kept state.
//
// It reads the kept tree's peaks from tiles that rebuild the offered root. A
// consistency proof would need the same tiles, but would not reveal which root
// the log now claims for the kept size.
func (a *auditor) compare(ctx context.Context, prev *State) error {
	kept := prev.head
	conflict := func(kind error, format string, args ...any) *Conflict {
		return &Conflict{Kept: prev.Checkpoint, Offered: string(a.signed), kind: kind, text: fmt.Sprintf(format, args...)}
	}
	const keep = "keep both signed checkpoints, which this error contains: together they prove it to others"
	switch {
	case a.head.Size < kept.Size:
		return conflict(ErrTruncated, "it has %d entries, and had %d at the last audit. A stale cache or mirror can cause this: audit the log itself again. If the error persists, the log lost or hid entries: %s",
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
		return conflict(ErrTileMismatch, "at the edges of the trees of sizes %d and %d, they do not rebuild the root of the second (%v), so the log does not prove that it extends the audited tree; run the audit again, and if the error persists, %s",
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

// Extends checks that the tree of the offered checkpoint extends the tree of
// the kept one, with tiles of the source. The caller must have verified both
// checkpoints. Extends returns a *Conflict if the trees contradict each other,
// or an error that wraps ErrMalformed or ErrUnavailable.
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
// policy requires, for the policy's log.
func ReadCheckpoint(ctx context.Context, src Source, policy *receipt.TrustPolicy) (receipt.Checkpoint, []byte, error) {
	a := &auditor{files: files{src: src}}
	err := a.readCheckpoint(ctx, policy)
	return a.head, a.signed, err
}

// Begin returns the current state of the log without reading its entries, for
// logs that are too large to read from the beginning. Existing entries are
// trusted. Later ones can be audited.
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
		return nil, fmt.Errorf("%w: at the edge of the tree of size %d, they do not rebuild its root (%v); run the audit again, and if the error persists, report it to the log's operator", ErrTileMismatch, a.head.Size, err)
	}
	for _, h := range hashes {
		st.Peaks = append(st.Peaks, entry.Hash(h))
	}
	return st, st.check()
}

// ReadTile reads the first t.W hashes of a tile without verifying them. If a
// partial tile no longer exists, it reads them from the full one.
func ReadTile(ctx context.Context, src Source, t tlog.Tile) ([]byte, error) {
	f := files{src: src}
	return f.tile(ctx, t)
}

// ReadBundle reads the first t.W entries of a bundle (t.L is -1) and checks
// that they hash to the leaves, which the caller must have verified.
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

// Package offload keeps a copy of a log's checkpoint and tiles in a bucket.
// Auditors and mirrors read it there as any log of [C2SP tlog-tiles].
//
// The copy is what its checkpoint covers: each file that a client needs for a
// checkpoint is in the bucket before the checkpoint is. So there is no other
// state, and a Copier that starts continues from the checkpoint that it finds.
//
// docs/decisions/16-tiles-in-a-bucket.md has the reasons and the rules, and
// docs/spec/tile-objects.md the names and the order of writes.
//
// [C2SP tlog-tiles]: https://c2sp.org/tlog-tiles
package offload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/objects"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// ErrForeign is the error of a bucket that has something in the place of a file
// of the log that is not this file. Nothing is written over it.
var ErrForeign = errors.New("it is not what this log has there")

const (
	// DefaultEvery is the interval between two checkpoints.
	DefaultEvery = 10 * time.Second
	// lookEvery is the longest interval between two looks at the checkpoint in
	// the bucket.
	lookEvery = time.Minute
	// step is how many entries a checkpoint in the bucket may be ahead of the
	// one before it, if the log has kept one between them. A Copier that is
	// interrupted repeats no more than that.
	step = 256 * store.TileWidth
	// checkPatience limits how long a start waits for the bucket.
	checkPatience = 5 * time.Second
	// writers is the number of objects that are written at a time.
	writers = 8
)

// A Config configures a Copier. Ledger and Bucket are required.
type Config struct {
	Ledger *ledger.Ledger
	Bucket *objects.Bucket
	Every  time.Duration // shortest time between two checkpoints; 0: DefaultEvery
	Idle   func() bool   // another server of the log writes; nil: none does
	Logger *slog.Logger
}

// A Copier keeps the copy up to date, and reads it.
type Copier struct {
	cfg    Config
	reader *objects.Bucket // for the answers to requests
	step   uint64          // the constant, but for tests

	mu     sync.Mutex
	status Status
	logged string // the reason that was logged last
	// refused is when an answer of the bucket was last logged as not the log's
	refused time.Time

	size    atomic.Uint64 // entries in the copy, as last seen by this server
	pause   atomic.Int64  // Unix nanoseconds until which the bucket is not read
	objects atomic.Uint64 // written

	// The rest belongs to Run.
	last   []byte    // the checkpoint that was found or written last
	looked time.Time // when it was
	goal   goal      // that the copy has not reached yet; zero: none
}

// A goal is a state of the log for the copy to reach.
type goal struct {
	since time.Time
	size  uint64
}

// A Status is the state of a copy, as last seen by this server.
type Status struct {
	Size     uint64    // entries in the copy
	Behind   uint64    // entries that the log's checkpoint has and the copy lacks
	Current  time.Time // up to which the copy has what the log had published
	Objects  uint64    // that this server has written
	Failures map[string]uint64
	Err      string // why the copy is not up to date; "" if nothing is wrong
}

// Reasons of failures.
const (
	Unavailable = "unavailable" // the bucket does not answer
	Foreign     = "foreign"     // something else is in the bucket
	Refused     = "refused"     // the bucket refuses the request
	Log         = "log"         // the log cannot be read
)

// Reasons lists the reasons of failures.
var Reasons = []string{Unavailable, Foreign, Refused, Log}

// CheckURL returns an error unless the URL is that of a bucket for tiles. Such
// a bucket is often public, so it must be apart from that for payloads, which
// may be "".
func CheckURL(tiles, payloads string) error {
	if payloads == "" {
		return objects.Valid(tiles)
	}
	switch overlap, err := objects.Overlap(tiles, payloads); {
	case err != nil:
		return err
	case overlap:
		return errors.New("must be another bucket than that of objects, or another prefix, so that it can be made public by itself")
	}
	return nil
}

// Open returns a Copier for the bucket with the URL, which takes the place of
// cfg.Bucket. A bucket that does not answer is no error.
func Open(ctx context.Context, url string, cfg Config) (*Copier, error) {
	bucket, err := objects.Open(ctx, url)
	if err != nil {
		return nil, err
	}
	if err := bucket.Impatient(checkPatience).Check(ctx); err != nil && !errors.Is(err, store.ErrUnavailable) {
		return nil, err
	}
	cfg.Bucket = bucket
	return New(cfg), nil
}

// New returns a Copier, which Run runs. It makes no request.
func New(cfg Config) *Copier {
	if cfg.Every == 0 {
		cfg.Every = DefaultEvery
	}
	if cfg.Idle == nil {
		cfg.Idle = func() bool { return false }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Copier{cfg: cfg, step: step, reader: cfg.Bucket.Impatient(readPatience)}
	c.status = Status{Current: time.Now(), Failures: map[string]uint64{}}
	for _, reason := range Reasons {
		c.status.Failures[reason] = 0
	}
	return c
}

// Status returns the state of the copy.
func (c *Copier) Status() Status {
	c.mu.Lock()
	s := c.status
	s.Failures = maps.Clone(s.Failures)
	c.mu.Unlock()
	s.Size, s.Objects = c.size.Load(), c.objects.Load()
	if w := c.cfg.Ledger.Witnessed(); w != nil && w.Size > s.Size {
		s.Behind = w.Size - s.Size
	}
	return s
}

// Run keeps the copy up to date while public reports that the log is public,
// until the context ends.
func (c *Copier) Run(ctx context.Context, public func() bool) {
	for failures := 0; ; {
		if c.due(public) {
			err := c.round(ctx, public)
			if ctx.Err() != nil {
				return
			}
			if c.note(err); err != nil {
				failures = min(failures+1, 6)
			} else {
				failures = 0
			}
		}
		// after a failure at least 2, 4, … 64 seconds
		wait := c.cfg.Every
		if failures > 0 {
			wait = max(wait, time.Second<<failures)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// due reports whether there is something to write, or to look at again.
func (c *Copier) due(public func() bool) bool {
	if time.Since(c.looked) >= lookEvery {
		return true
	}
	w := c.cfg.Ledger.Witnessed()
	return w != nil && public() && !c.cfg.Idle() && !bytes.Equal(w.Checkpoint, c.last)
}

// note records the result of a round. An error is logged when it begins.
func (c *Copier) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		if c.logged != "" {
			c.cfg.Logger.Info("the copy of the log in the bucket is written again", "bucket", c.cfg.Bucket.String(), "size", c.size.Load())
		}
		c.status.Err, c.logged = "", ""
		return
	}
	reason := reasonOf(err)
	c.status.Failures[reason]++
	c.status.Err = err.Error()
	if c.logged == reason {
		return
	}
	c.logged = reason
	c.cfg.Logger.Error("the copy of the log in the bucket is not up to date; trying again", "bucket", c.cfg.Bucket.String(), "size", c.size.Load(), "reason", reason, "err", err)
}

// A logError is the error of the log, and not of the bucket.
type logError struct{ error }

func (e logError) Unwrap() error { return e.error }

func reasonOf(err error) string {
	switch {
	case errors.As(err, new(logError)):
		return Log
	case errors.Is(err, ErrForeign):
		return Foreign
	case errors.Is(err, store.ErrUnavailable):
		return Unavailable
	}
	return Refused
}

// round brings the copy up to date, if this server is to write it.
func (c *Copier) round(ctx context.Context, public func() bool) error {
	for {
		c.aim(public())
		there, err := c.look(ctx)
		if err != nil {
			return err
		}
		more := false
		if public() && !c.cfg.Idle() {
			if more, err = c.extend(ctx, there); err != nil {
				return err
			}
		}
		c.reached()
		if !more {
			return nil
		}
	}
}

// aim sets the goal, unless an earlier one was not reached. A log that is not
// public has none.
func (c *Copier) aim(public bool) {
	if !public {
		c.goal = goal{since: time.Now()}
	} else if c.goal.since.IsZero() {
		c.goal.since = time.Now()
		if w := c.cfg.Ledger.Witnessed(); w != nil {
			c.goal.size = w.Size
		}
	}
}

// reached notes whether the copy has reached the goal.
func (c *Copier) reached() {
	if c.size.Load() < c.goal.size {
		return
	}
	c.mu.Lock()
	c.status.Current = c.goal.since
	c.mu.Unlock()
	c.goal = goal{}
}

// A found is the checkpoint in the bucket.
type found struct {
	size   uint64
	signed []byte // nil: there is none
	tag    string
}

// look reads the checkpoint in the bucket, and compares it with the log.
func (c *Copier) look(ctx context.Context) (*found, error) {
	f := &found{}
	var err error
	f.signed, f.tag, err = c.cfg.Bucket.Read(ctx, checkpointPath, receipt.MaxCheckpointSize)
	switch {
	case errors.Is(err, objects.ErrMissing):
		f.signed = nil
	case errors.Is(err, objects.ErrWrong):
		return nil, c.foreign(checkpointPath, err)
	case err != nil:
		return nil, err
	default:
		if f.size, err = c.compare(ctx, f.signed); err != nil {
			return nil, err
		}
	}
	c.size.Store(f.size)
	c.last, c.looked = f.signed, time.Now()
	return f, nil
}

// foreign is the error for a file of something else.
func (c *Copier) foreign(path string, err error) error {
	return fmt.Errorf("%s/%s: %w: %w: give the log another prefix, or delete what is not this log's", c.cfg.Bucket, path, ErrForeign, err)
}

// compare returns the size of the checkpoint in the bucket, which must be one
// of this log, and not of a later state than this log has.
func (c *Copier) compare(ctx context.Context, signed []byte) (uint64, error) {
	l := c.cfg.Ledger
	there, err := receipt.ParseCheckpointUnverified(signed)
	if err != nil {
		return 0, c.foreign(checkpointPath, err)
	}
	if there.Origin != l.Origin() {
		return 0, c.foreign(checkpointPath, fmt.Errorf("it is of the log %q", there.Origin))
	}
	if there.Size > l.Published().Size { // perhaps another server has recorded more
		if err := l.Latest(ctx); err != nil {
			return 0, logError{err}
		}
	}
	p := l.Published()
	if there.Size > p.Size {
		return 0, c.foreign(checkpointPath, fmt.Errorf("it is of %d entries, and this log has %d: the log may be an old copy", there.Size, p.Size))
	}
	root, err := p.RootOf(ctx, there.Size)
	if err != nil {
		return 0, logError{err}
	}
	if root != there.Root {
		return 0, c.foreign(checkpointPath, fmt.Errorf("its root at size %d is %s, and the log's is %s: the log may be a fork", there.Size, there.Root.Base64(), root.Base64()))
	}
	return there.Size, nil
}

// extend writes the next checkpoint, after the files that it needs. It reports
// whether there was a larger one already.
func (c *Copier) extend(ctx context.Context, there *found) (more bool, err error) {
	latest := c.cfg.Ledger.Witnessed()
	// A server that is behind the bucket writes nothing.
	if latest == nil || latest.Size == 0 || latest.Size < there.size || bytes.Equal(latest.Checkpoint, there.signed) {
		return false, nil
	}
	size, signed, err := c.cfg.Ledger.CheckpointFrom(ctx, there.size+c.step)
	if err != nil {
		return false, logError{err}
	}
	if signed == nil || size > latest.Size {
		size, signed = latest.Size, latest.Checkpoint
	}
	if err := c.writeFiles(ctx, there.size, size); err != nil {
		return false, err
	}
	return size < latest.Size, c.writeCheckpoint(ctx, there, size, signed)
}

// writeCheckpoint replaces the checkpoint that was found, unless another server
// was first.
func (c *Copier) writeCheckpoint(ctx context.Context, there *found, size uint64, signed []byte) error {
	var err error
	if there.signed == nil {
		_, err = c.cfg.Bucket.Create(ctx, checkpointPath, signed, checkpointForm)
	} else {
		_, err = c.cfg.Bucket.Replace(ctx, checkpointPath, there.tag, signed, checkpointForm)
	}
	switch {
	case errors.Is(err, objects.ErrExists), errors.Is(err, objects.ErrMissing):
		// Another server's, or this server's own, whose answer was lost.
		_, err = c.look(ctx)
		return err
	case err != nil:
		return err
	}
	c.objects.Add(1)
	c.size.Store(size)
	c.last, c.looked = signed, time.Now()
	return nil
}

// writeFile writes a file that no checkpoint in the bucket needs yet, and
// confirms it. If the bucket has the file, it must have the same bytes.
func (c *Copier) writeFile(ctx context.Context, f file) error {
	content, err := c.content(ctx, f)
	if err != nil {
		return logError{err}
	}
	path := f.path()
	sum, err := c.cfg.Bucket.Create(ctx, path, content, tileForm)
	if err == nil {
		c.objects.Add(1)
	} else if !errors.Is(err, objects.ErrExists) {
		return err
	}
	err = c.cfg.Bucket.Confirm(ctx, path, int64(len(content)), sum)
	if errors.Is(err, objects.ErrWrong) {
		return c.foreign(path, err)
	}
	return err
}

// content returns the bytes of a file, which the log has checked against its
// published tree.
func (c *Copier) content(ctx context.Context, f file) ([]byte, error) {
	if f.bundle {
		return c.cfg.Ledger.EntryBundle(ctx, f.index, f.width)
	}
	hashes, err := c.cfg.Ledger.Published().Tile(ctx, f.level, f.index, f.width)
	if err != nil {
		return nil, err
	}
	return bytes.Join(entry.ByteSlices(hashes), nil), nil
}

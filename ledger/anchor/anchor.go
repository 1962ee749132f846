// Package anchor keeps the log's latest checkpoint in files that a restore of
// the data folder does not bring back.
//
// An anchor file is the signed checkpoint as the log published it: origin, size
// and root. It lags a little behind the log: checkpoints are written after they
// are published, the newest at a time.
package anchor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/wholefile"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

var (
	// ErrAhead says that an anchor was written for a larger tree than the log
	// has.
	ErrAhead = errors.New("the anchor is for a larger tree than this log has")
	// ErrInconsistent says that an anchor is for another tree than the log had
	// at that size.
	ErrInconsistent = errors.New("the anchor is for another tree than this log's")
)

// interval is the shortest time between two writes of a file: each takes the
// disk two syncs, which appends may wait for.
const interval = time.Second

// maxSize bounds what is read as an anchor.
const maxSize = receipt.MaxCheckpointSize

// A State is a published state of the log.
type State struct {
	Origin     string
	Size       uint64
	Checkpoint []byte
	Superseded <-chan struct{} // closed when a larger state is published
	// Root returns the root of the tree of a size up to Size.
	Root func(ctx context.Context, size uint64) (entry.Hash, error)
}

// Check compares the anchor file with the state that the log was opened with.
// It returns false if there is no file yet. Errors: ErrAhead, ErrInconsistent,
// or one that says why the file can't be used.
func Check(ctx context.Context, path string, s State) (found bool, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSize {
		return false, fmt.Errorf("%s: not an anchor file", path)
	}
	signed, err := bounded.ReadFile(path, bounded.Config)
	if err != nil {
		return false, err
	}
	return true, Compare(ctx, path, signed, s)
}

// Compare compares a signed checkpoint with the state that the log was opened
// with. The path names it in errors, which are those of Check.
func Compare(ctx context.Context, path string, signed []byte, s State) error {
	c, err := receipt.ParseCheckpointUnverified(signed)
	if err != nil {
		return fmt.Errorf("%s: not an anchor file: %w", path, err)
	}
	if c.Origin != s.Origin {
		return fmt.Errorf("%s: the anchor of another log, %q", path, c.Origin)
	}
	if c.Size > s.Size {
		return fmt.Errorf("%s: %w: %d entries instead of %d", path, ErrAhead, c.Size, s.Size)
	}
	if c.Size == 0 {
		return nil
	}
	root, err := s.Root(ctx, c.Size)
	if err != nil {
		return err
	}
	if root != c.Root {
		return fmt.Errorf("%s: %w at size %d: its root is %s, and the log's was %s", path, ErrInconsistent, c.Size, c.Root.Base64(), root.Base64())
	}
	return nil
}

// Write puts the checkpoint into the file, atomically and durably.
func Write(path string, checkpoint []byte) error {
	return wholefile.SaveState(path, checkpoint, 0o644)
}

// A Writer keeps one anchor file up to date.
type Writer struct {
	path     string
	state    func() State
	log      *slog.Logger
	size     atomic.Uint64
	failures atomic.Uint64
	stop     context.CancelFunc
	done     sync.WaitGroup
}

// NewWriter writes the file now, and starts to write it whenever the log has
// grown. Close ends that.
func NewWriter(path string, state func() State, log *slog.Logger) (*Writer, error) {
	w := &Writer{path: path, state: state, log: log}
	s := state()
	if err := Write(path, s.Checkpoint); err != nil {
		return nil, err
	}
	w.size.Store(s.Size)
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.done.Go(func() { w.run(ctx, s) })
	return w, nil
}

func (w *Writer) run(ctx context.Context, s State) {
	for {
		select {
		case <-s.Superseded:
		case <-ctx.Done():
			if s = w.state(); s.Size > w.size.Load() {
				w.write(s)
			}
			return
		}
		s = w.state()
		w.write(s)
		select {
		case <-time.After(interval):
		case <-ctx.Done():
		}
	}
}

func (w *Writer) write(s State) {
	if err := Write(w.path, s.Checkpoint); err != nil {
		w.failures.Add(1)
		w.log.Error("the anchor can't be written; it is tried again when the log grows", "path", w.path, "written", w.size.Load(), "err", err)
		return
	}
	w.size.Store(s.Size)
}

// Path is the file's.
func (w *Writer) Path() string { return w.path }

// Size is of the last checkpoint that was written.
func (w *Writer) Size() uint64 { return w.size.Load() }

// Failures counts the writes that failed.
func (w *Writer) Failures() uint64 { return w.failures.Load() }

// Close writes the last state and ends the Writer.
func (w *Writer) Close() {
	w.stop()
	w.done.Wait()
}

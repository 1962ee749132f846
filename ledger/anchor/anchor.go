// Package anchor keeps the log's latest checkpoint in files that restoring the
// data folder does not roll back.
//
// An anchor file contains a signed checkpoint that the log published. It lags
// slightly behind the log, because a checkpoint is written after it is
// published. If several were published in the meantime, only the newest is
// written.
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
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/internal/wholefile"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

var (
	// ErrAhead is the error of an anchor for a larger tree than the log's.
	ErrAhead = errors.New("the anchor is for a larger tree than this log has")
	// ErrInconsistent is the error of an anchor whose root differs from the
	// log's at that size.
	ErrInconsistent = errors.New("the anchor is for another tree than this log's")
)

// interval is the shortest time between two writes of a file. Each write costs
// two syncs, which can delay appends.
const interval = time.Second

// maxSize is the largest size of an anchor file, in bytes.
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
// It reports whether the file exists. The error wraps ErrAhead or
// ErrInconsistent if the anchor contradicts the state, and is another one if
// the file is not usable.
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

// Compare is Check for a signed checkpoint. The path is for errors.
func Compare(ctx context.Context, path string, signed []byte, s State) error {
	c, err := receipt.ParseCheckpointUnverified(signed)
	if err != nil {
		return fmt.Errorf("%s: not an anchor file: %w", path, err)
	}
	if c.Origin != s.Origin {
		return fmt.Errorf("%s: this is the anchor of another log, %q", path, c.Origin)
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
		return fmt.Errorf("%s: %w at size %d: the anchor's root is %s, the log's is %s", path, ErrInconsistent, c.Size, c.Root.Base64(), root.Base64())
	}
	return nil
}

// Write writes the checkpoint to the file, atomically and durably.
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

// NewWriter writes the file, and starts a goroutine that writes it again
// whenever the log has grown. Close stops it.
func NewWriter(path string, state func() State, log *slog.Logger) (*Writer, error) {
	w := &Writer{path: path, state: state, log: log}
	s := state()
	if err := Write(path, s.Checkpoint); err != nil {
		return nil, err
	}
	w.size.Store(s.Size)
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.done.Go(func() {
		defer crash.Report()
		w.run(ctx, s)
	})
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
		w.log.Error("cannot write the anchor; trying again when the log grows", "path", w.path, "written", w.size.Load(), "err", err)
		return
	}
	w.size.Store(s.Size)
}

// Path returns the path of the file.
func (w *Writer) Path() string { return w.path }

// Size returns the tree size of the last checkpoint that was written.
func (w *Writer) Size() uint64 { return w.size.Load() }

// Failures returns the number of failed writes.
func (w *Writer) Failures() uint64 { return w.failures.Load() }

// Close writes the latest state and stops the Writer.
func (w *Writer) Close() {
	w.stop()
	w.done.Wait()
}

package operate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/anchor"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/witness"
)

// The server reads the policy files that it publishes for verifiers. They name
// its witnesses and their URLs.

// cosignedLog adapts a ledger to packages witness and anchor.
type cosignedLog struct{ *ledger.Ledger }

func (l cosignedLog) State() witness.State {
	p := l.Published()
	return witness.State{Size: p.Size, Checkpoint: p.Checkpoint, Superseded: p.Superseded, Prove: func(ctx context.Context, from uint64) ([]entry.Hash, error) {
		return p.ConsistencyProof(ctx, from, p.Size)
	}}
}

func (l cosignedLog) anchored() anchor.State {
	p := l.Published()
	return anchor.State{Origin: l.Origin(), Size: p.Size, Checkpoint: p.Checkpoint, Superseded: p.Superseded, Root: p.RootOf}
}

const rollback = `%w
This is an old copy of the log, or another log: appending to it would fork the log, and its receipts would lose their value.
Restore the newest copy of the data folder. Only if no newer copy can be found: begin a new log, under a new origin`

// confirmTime limits how long a start waits for the witnesses before it serves
// reads without them.
const confirmTime = 5 * time.Second

// A watch prevents appends to a state of the log that is not the latest.
type watch struct {
	collector *witness.Collector
	own       *anchor.Writer // beside the store
	anchors   []*anchor.Writer
	log       *slog.Logger
	released  bool   // whether the witnesses have confirmed the log
	opened    uint64 // size of the log when it was opened
}

// known returns the function of witness.Config.Known.
func known(l *ledger.Ledger) func(context.Context, uint64) bool {
	if !l.Shared() {
		return nil
	}
	return func(ctx context.Context, size uint64) bool {
		return l.Latest(ctx) == nil && l.Published().Size >= size
	}
}

// startWatch compares the log with its anchors and begins to ask its witnesses.
// Appends are held until the witnesses confirm the log.
func (c *serveCmd) startWatch(a *term.App, d *datadir.Dir, l *ledger.Ledger, log *slog.Logger, policies []*receipt.TrustPolicy, signers []note.Signer, idle func() bool) (*watch, error) {
	w := &watch{log: log, opened: l.Published().Size}
	var err error
	if w.collector, err = witness.New(witness.Config{Log: cosignedLog{l}, Policies: policies, Signers: signers, Logger: log, Idle: idle, Known: known(l)}); err != nil {
		return nil, err
	}
	if err := w.openAnchors(a.Ctx, d, l); err != nil {
		w.closeAnchors()
		return nil, err
	}
	if w.collector.Witnesses() == 0 && len(w.anchors) == 0 {
		log.Warn("rollback is not detectable: there is no witness and no anchor, so a restored backup would fork the log unseen")
	}
	asked := w.collector.Witnesses() > 0
	if asked && !c.AcceptUnconfirmed {
		l.Hold(fmt.Errorf("%w: the witnesses have not cosigned its checkpoint of size %d", ledger.ErrUnconfirmed, l.Published().Size))
	}
	w.collector.Start()
	if !asked {
		return w, nil
	}
	timeout := time.NewTimer(confirmTime)
	defer timeout.Stop()
	err = nil
	select {
	case err = <-w.collector.Contradiction():
	case <-w.collector.AllAnswered():
	case <-timeout.C:
	case <-a.Ctx.Done():
	}
	if err == nil {
		err = w.contradicted()
	}
	if err != nil {
		w.close()
		return nil, term.ExitWith(term.ExitRollback, fmt.Errorf(rollback, err))
	}
	select {
	case <-w.collector.Confirmed(): // usually before the first request
		w.release(l)
	default:
	}
	return w, nil
}

func (w *watch) release(l *ledger.Ledger) {
	l.Release()
	w.log.Info("the witnesses confirm the log", "size", l.Published().Size)
	w.released = true
}

// contradicted returns the error of a witness that contradicts the log, or nil.
func (w *watch) contradicted() error {
	select {
	case err := <-w.collector.Contradiction():
		return err
	default:
		return nil
	}
}

// confirm releases the log's appends when its witnesses have confirmed it. It
// returns an error if one contradicts it first, and nil if the context ends.
func (w *watch) confirm(ctx context.Context, l *ledger.Ledger) error {
	if w.released || w.collector.Witnesses() == 0 {
		return nil
	}
	var err error
	select {
	case err = <-w.collector.Contradiction():
	case <-w.collector.Confirmed():
		err = w.contradicted() // which outweighs confirmations
	case <-ctx.Done():
		return nil
	}
	if err != nil {
		return term.ExitWith(term.ExitRollback, fmt.Errorf(rollback, err))
	}
	w.release(l)
	return nil
}

func (w *watch) openAnchors(ctx context.Context, d *datadir.Dir, l *ledger.Ledger) error {
	log := cosignedLog{l}
	var err error
	if w.own, err = anchor.NewWriter(filepath.Join(d.Path, datadir.StoreDir+datadir.AnchorSuffix), log.anchored, w.log); err != nil {
		return err
	}
	for i, path := range d.Config.Anchors {
		path, err := d.Outside(path)
		if err != nil {
			return fmt.Errorf("%s: anchors[%d]: %w", datadir.ConfigFile, i, err)
		}
		found, err := anchor.Check(ctx, path, log.anchored())
		if errors.Is(err, anchor.ErrAhead) || errors.Is(err, anchor.ErrInconsistent) {
			return term.ExitWith(term.ExitRollback, fmt.Errorf(rollback, err))
		}
		if err != nil {
			return fmt.Errorf("anchors[%d]: %w", i, err)
		}
		if size := l.Published().Size; !found && size > 0 {
			w.log.Warn("the anchor did not exist and is made now: it cannot detect a rollback before now", "path", path, "size", size)
		}
		wr, err := anchor.NewWriter(path, log.anchored, w.log)
		if err != nil {
			return fmt.Errorf("anchors[%d]: %w", i, err)
		}
		w.anchors = append(w.anchors, wr)
	}
	return nil
}

func (w *watch) closeAnchors() {
	if w.own != nil {
		w.own.Close()
	}
	for _, a := range w.anchors {
		a.Close()
	}
}

// close stops asking witnesses and writing anchors. The ledger must still be
// open.
func (w *watch) close() {
	w.collector.Close()
	w.closeAnchors()
}

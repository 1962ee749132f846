package run

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/state"
	"muniment.dev/muniment/internal/crash"
)

// evidence returns what identifies the job in its entries.
func (r *Runner) evidence() (record.Job, error) {
	j := record.Job{Name: r.Job.Name, File: r.File, Run: r.row.Run, Entity: r.Job.Entity, Actor: r.Actor}
	digest, err := hex.DecodeString(r.Job.SHA256)
	copy(j.SHA256[:], digest)
	return j, err
}

// startSender sends the outbox in a goroutine until stop is called.
func (r *Runner) startSender(ctx context.Context) error {
	j, err := r.evidence()
	if err != nil {
		return err
	}
	box := &outbox{runner: r}
	if r.sender, err = r.Ledger(box, j); err != nil {
		return err
	}
	r.sender.Observe(r.sent)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() {
		defer crash.Report()
		ended <- r.sender.Run(ctx, r.wake)
	}()
	r.stop = func() error {
		// What the ledger does not record now stays in the outbox.
		flush, enough := context.WithTimeout(ctx, flushTime)
		_ = r.sender.Await(flush)
		enough()
		cancel()
		err := <-ended
		box.Close()
		if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, state.ErrFenced) {
			return err
		}
		return nil
	}
	return nil
}

// flushTime is how long a runner that ends waits for the ledger.
const flushTime = 5 * time.Second

// enqueue adds an entry to the outbox, and returns its number.
func (r *Runner) enqueue(ctx context.Context, tx *state.Tx, d record.Draft, err error) (uint64, error) {
	if err != nil {
		return 0, err
	}
	text, err := d.Encode()
	if err != nil {
		return 0, err
	}
	s, err := tx.Enqueue(ctx, d.Kind, text)
	if err != nil {
		return 0, err
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return uint64(s.Seq), nil
}

func (r *Runner) step(name record.Name, details any) (record.Step, error) {
	s := record.Step{Name: name, Time: r.Now()}
	if details == nil {
		return s, nil
	}
	var err error
	s.Details, err = json.Marshal(details)
	return s, err
}

// intent records that a step will be made.
func (r *Runner) intent(ctx context.Context, tx *state.Tx, name record.Name, details any) (uint64, error) {
	return r.intentAt(ctx, tx, name, 0, details)
}

// intentAt is intent for a checkpoint at a percentage.
func (r *Runner) intentAt(ctx context.Context, tx *state.Tx, name record.Name, percent float64, details any) (uint64, error) {
	j, err := r.evidence()
	if err != nil {
		return 0, err
	}
	s, err := r.step(name, details)
	if err != nil {
		return 0, err
	}
	s.Percent = percent
	d, err := j.Intent(s)
	return r.enqueue(ctx, tx, d, err)
}

// outcome records the result of a step.
func (r *Runner) outcome(ctx context.Context, tx *state.Tx, o record.Outcome, details any) (uint64, error) {
	j, err := r.evidence()
	if err != nil {
		return 0, err
	}
	s, err := r.step(o.Name, details)
	if err != nil {
		return 0, err
	}
	s.Percent = o.Percent
	o.Step = s
	d, err := j.Outcome(o)
	return r.enqueue(ctx, tx, d, err)
}

// announce records an intent, and waits until it and everything before it is
// acknowledged by the ledger.
func (r *Runner) announce(ctx context.Context, name record.Name, details any) (seq uint64, err error) {
	err = r.within(ctx, func(tx *state.Tx) error {
		seq, err = r.intent(ctx, tx, name, details)
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := r.Acknowledged(ctx); err != nil {
		return seq, fmt.Errorf("%s requires that the ledger has recorded its intent: %w", name, err)
	}
	return seq, nil
}

// How long a step waits for the ledger. One that is permitted without it does
// not keep a person waiting.
const (
	acknowledgeTime   = time.Minute
	withoutLedgerTime = 10 * time.Second
)

// Acknowledged waits until the ledger has recorded every entry of the job.
func (r *Runner) Acknowledged(ctx context.Context) error {
	limit := acknowledgeTime
	if r.WithoutLedger {
		limit = withoutLedgerTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return r.sender.Await(ctx)
}

// An outbox adapts the state to the sender of evidence. It has a connection of
// its own, because the sender is a goroutine of its own.
type outbox struct {
	runner *Runner
	mu     sync.Mutex
	conn   *pgx.Conn
}

// use calls f with the connection, which is opened again if it was lost.
func (o *outbox) use(ctx context.Context, f func(*pgx.Conn) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conn == nil || o.conn.IsClosed() {
		conn, err := o.runner.Connect(ctx)
		if err != nil {
			return err
		}
		o.conn = conn
	}
	err := f(o.conn)
	if errors.Is(err, state.ErrFenced) {
		return fmt.Errorf("%w: %w", record.ErrTakenOver, err)
	}
	return err
}

// Next implements record.Outbox.
func (o *outbox) Next(ctx context.Context) (item record.Item, found bool, err error) {
	err = o.use(ctx, func(conn *pgx.Conn) error {
		steps, err := state.Unacknowledged(ctx, conn, o.runner.Job.Name, 1)
		if err != nil || len(steps) == 0 {
			return err
		}
		s := steps[0]
		found = true
		if item = (record.Item{Seq: uint64(s.Seq)}); s.Sent != nil {
			item.Kind, item.Sealed = s.Kind, s.Payload
			return nil
		}
		item.Draft, err = record.Decode(s.Payload)
		return err
	})
	return item, found, err
}

// Receipt implements record.Outbox.
func (o *outbox) Receipt(ctx context.Context, seq uint64) (receipt record.Receipt, err error) {
	err = o.use(ctx, func(conn *pgx.Conn) error {
		steps, err := state.Steps(ctx, conn, o.runner.Job.Name, int64(seq)-1, 1)
		if err != nil {
			return err
		}
		if len(steps) == 0 || steps[0].Seq != int64(seq) || steps[0].Index == nil {
			return fmt.Errorf("entry %d of the outbox is not acknowledged", seq)
		}
		receipt = receiptOf(steps[0])
		return nil
	})
	return receipt, err
}

func receiptOf(s state.Step) record.Receipt {
	return record.Receipt{Index: uint64(*s.Index), LeafHash: hex.EncodeToString(s.LeafHash), Payload: s.Payload, Receipt: s.Receipt}
}

// Seal implements record.Outbox.
func (o *outbox) Seal(ctx context.Context, seq uint64, payload []byte) error {
	return o.use(ctx, func(conn *pgx.Conn) error {
		return o.runner.hold.Within(ctx, conn, func(tx *state.Tx) error {
			if err := tx.Revise(ctx, int64(seq), payload); err != nil {
				return err
			}
			return tx.MarkSent(ctx, int64(seq))
		})
	})
}

// Acknowledge implements record.Outbox.
func (o *outbox) Acknowledge(ctx context.Context, seq uint64, receipt record.Receipt) error {
	leaf, err := hex.DecodeString(receipt.LeafHash)
	if err != nil {
		return err
	}
	return o.use(ctx, func(conn *pgx.Conn) error {
		return o.runner.hold.Within(ctx, conn, func(tx *state.Tx) error {
			return tx.Acknowledge(ctx, int64(seq), state.Acknowledgement{Receipt: receipt.Receipt, Index: int64(receipt.Index), LeafHash: leaf})
		})
	})
}

// Close closes the connection.
func (o *outbox) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conn != nil {
		_ = o.conn.Close(context.Background())
	}
}

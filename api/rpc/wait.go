package rpc

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// maxWitnessWait is how long an append may wait for witnesses. Callers that
// gave a deadline may wait for less.
const maxWitnessWait = time.Minute

// mayWait refuses, before anything is recorded, to wait for what never comes.
func (s *Appends) mayWait(wait munimentv1.AppendWait) *connect.Error {
	if wait == munimentv1.AppendWait_APPEND_WAIT_WITNESSED && !s.Ledger.RequiresWitness() {
		return s.Public(ledger.WrongField(ledger.FieldWait, "%w", ledger.ErrNoQuorum), InSubmission)
	}
	return nil
}

// await returns when the recorded entries are what the caller waits for, and
// replaces their receipts by ones that show it.
func (s *Appends) await(ctx context.Context, stream *ledger.Stream, wait munimentv1.AppendWait, results []ledger.Result) error {
	if wait != munimentv1.AppendWait_APPEND_WAIT_WITNESSED {
		return nil
	}
	call := ctx
	ctx, cancel := context.WithTimeout(ctx, maxWitnessWait)
	defer cancel()
	go func() { // a server that shuts down does not wait
		defer crash.Report()
		select {
		case <-s.Drain:
			cancel()
		case <-ctx.Done():
		}
	}()
	for i := range results {
		r := &results[i]
		if r.Err != nil {
			continue
		}
		if err := s.Ledger.AwaitWitnessed(ctx, r.Index); err != nil {
			if call.Err() != nil { // the caller's own time is up: the log is not unavailable
				return fmt.Errorf("entry %d is recorded, but not witnessed yet: %w", r.Index, call.Err())
			}
			return err
		}
		r.Receipt, r.Err = s.Ledger.Receipt(ctx, stream, r.Index, ledger.ReceiptOptions{Witnessed: true})
	}
	return nil
}

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

// maxWitnessWait is the maximum time that an append waits for witnesses. A
// caller's deadline can shorten it.
const maxWitnessWait = time.Minute

// mayWait returns an error, before anything is recorded, if the wait can never
// end.
func (s *Appends) mayWait(wait munimentv1.AppendWait) *connect.Error {
	if wait == munimentv1.AppendWait_APPEND_WAIT_WITNESSED && !s.Ledger.RequiresWitness() {
		return s.Public(ledger.WrongField(ledger.FieldWait, "%w", ledger.ErrNoQuorum), InSubmission)
	}
	return nil
}

// await waits until the recorded entries are in the state that the caller waits
// for, and replaces their receipts by ones that prove it.
func (s *Appends) await(ctx context.Context, stream *ledger.Stream, wait munimentv1.AppendWait, results []ledger.Result) error {
	if wait != munimentv1.AppendWait_APPEND_WAIT_WITNESSED {
		return nil
	}
	call := ctx
	ctx, cancel := context.WithTimeout(ctx, maxWitnessWait)
	defer cancel()
	go func() { // a shutdown ends the wait
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
			if call.Err() != nil {
				// the caller's own deadline has passed; the log is still
				// available
				return fmt.Errorf("entry %d is recorded, but not witnessed yet: %w", r.Index, call.Err())
			}
			return err
		}
		r.Receipt, r.Err = s.Ledger.Receipt(ctx, stream, r.Index, ledger.ReceiptOptions{Witnessed: true})
	}
	return nil
}

package ingest

import (
	"context"

	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
)

// A Referee decides whether a submission of a typed kind fits what is published
// in the submitter's stream, such as a decision about an exception that has
// been requested.
type Referee interface {
	// Check returns an error if the submission does not fit. It is a
	// *FieldError unless the check itself failed. The header contains the
	// submitter and the idempotency key, with which an implementation
	// recognizes a retry.
	Check(ctx context.Context, who Submitter, h *entry.Header, d Document) error
}

// A Document is the payload of a submission of a typed kind.
type Document struct {
	Message proto.Message
	// Envelope is the signed envelope in which the message was submitted. Nil:
	// it is not signed. Nothing has verified the signature.
	Envelope *dsse.Envelope
}

// ordered has the kinds whose entries decide about later submissions. An entry
// of them changes the rules of its stream. Whatever was checked before the
// entry is published is therefore checked again, so that of two conflicting
// submissions at the same time one is refused.
var ordered = map[string]bool{
	kindname.ControlSet:        true,
	kindname.ExceptionRequest:  true,
	kindname.ExceptionDecision: true,
	kindname.KeyEvent:          true,
}

// runs splits the submissions so that each run has at most one of an ordered
// kind, which must be published before the next one is checked. It returns the
// end of each run.
func (in *Ingester) runs(subs []Submission) []int {
	var ends []int
	seen := false
	for i := range subs {
		if in.Referee == nil || !ordered[subs[i].Kind] {
			continue
		}
		if seen {
			ends = append(ends, i)
		}
		seen = true
	}
	return append(ends, len(subs))
}

// appendRead records the submissions that were read, and skips the invalid
// ones.
func (in *Ingester) appendRead(ctx context.Context, who Submitter, subs []Submission, read []contents, wrong []error) ([]ledger.Result, error) {
	var all []ledger.Result
	from := 0
	for _, to := range in.runs(subs) {
		results, err := in.appendRun(ctx, who, subs[from:to], read[from:to], wrong[from:to])
		if err != nil {
			return nil, err
		}
		all = append(all, results...)
		from = to
	}
	return all, nil
}

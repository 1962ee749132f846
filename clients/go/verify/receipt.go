package verify

import (
	"context"
	"errors"
	"io"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// ReceiptOptions are the inputs for a receipt besides the configuration. The
// zero value requires that the receipt contains the payload, and expects
// nothing of the entry: gates should expect a tenant, a kind and a subject. See
// docs/spec/receipt.md, section 4.
type ReceiptOptions struct {
	// Payload is the payload, if the receipt does not contain it. nil: none.
	Payload []byte
	// PayloadReader is read to its end instead of Payload if it is not nil.
	PayloadReader io.Reader
	// External is the evidence that an entry by reference refers to. It is read
	// to its end. nil: the evidence is not checked.
	External   io.Reader
	HeaderOnly bool // does not require the payload

	// Expectations. nil and false expect nothing. An empty string is an error.
	Tenant          *string
	Kind            *string // of the entry
	Subject         *string // algorithm:value
	PredicateType   *string // of the entry
	Control         *string // one that the entry is about
	Signer          *string // identity or key ID
	Issuer          *string // of the same signer
	StreamID        *string // 64 hexadecimal digits
	RequireVerified bool    // the log verified the evidence's signatures
	Admitted        bool    // by the admission policy
}

// expects reports whether there is an expectation other than the tenant.
func (o *ReceiptOptions) expects() bool {
	return o.Kind != nil || o.Subject != nil || o.PredicateType != nil || o.Control != nil || o.Signer != nil || o.Issuer != nil || o.StreamID != nil || o.RequireVerified || o.Admitted
}

// A ReceiptResult is what a receipt proves, and what it claims. See
// docs/spec/receipt.md, section 5.
type ReceiptResult struct {
	Proven  receipt.Proven  // what follows from the checkpoint and the hashes
	Claimed receipt.Claimed // what the log asserts, and nothing else supports
}

// Receipt verifies a receipt of at most 268,435,456 bytes under the trust
// policies. With a stream key in the configuration, the receipt must be of its
// stream. The codes are those of docs/spec/receipt.md, section 5. The error is
// that of the context.
func (v *Verifier) Receipt(ctx context.Context, f *File, o ReceiptOptions) (*Report, error) {
	s, err := v.receipt(f, o)
	r := receipt.NewReport(f.name, s, err)
	if r.Reason != nil {
		return ended(ctx, refusal(f, Receipt, string(r.Reason.Code), r.Reason.Step, r.Reason.Message))
	}
	return ended(ctx, success(f, Receipt, *r.Warnings, func(out *Report) {
		out.Receipt = &ReceiptResult{*r.Proven, *r.Claimed}
	}))
}

func (v *Verifier) receipt(f *File, o ReceiptOptions) (*receipt.Statement, error) {
	opts := receipt.Options{Payload: o.Payload, PayloadReader: o.PayloadReader, External: o.External, HeaderOnly: o.HeaderOnly, Tenant: o.Tenant, Kind: o.Kind, Subject: o.Subject,
		PredicateType: o.PredicateType, Control: o.Control, Signer: o.Signer, Issuer: o.Issuer, RequireVerified: o.RequireVerified, Admitted: o.Admitted, StreamKey: v.config.streamKey}
	// Faults of the call rank before a file that cannot be read.
	call := opts
	call.Payload, call.PayloadReader, call.External = nil, nil, nil
	var fault *receipt.Error
	if _, err := receipt.Verify(nil, v.config.policies, call); errors.As(err, &fault) && fault.Step == 0 {
		return nil, err
	}
	if o.StreamID != nil {
		var id entry.Hash
		var err error
		if id, err = receipt.ParseStreamID(*o.StreamID); err != nil {
			return nil, err
		}
		opts.StreamID = &id
	}
	data, err := f.read(bounded.Receipt)
	if err != nil {
		return nil, errors.New(reason(err))
	}
	return receipt.Verify(data, v.config.policies, opts)
}

package execute

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/receipt"
)

// A Recorder is a Ledger at a server.
type Recorder struct {
	client *muniment.Client
	policy *receipt.TrustPolicy
}

// NewRecorder returns a recorder. It does not connect until the first call. The
// trust policy is required.
func NewRecorder(o muniment.Options) (*Recorder, error) {
	if o.Policy == nil {
		return nil, errors.New("no trust policy of the ledger: receipts could not be verified")
	}
	o.Reconnect = 0 // the executor repeats calls
	client, err := muniment.New(o)
	if err != nil {
		return nil, err
	}
	return &Recorder{client, o.Policy}, nil
}

// Record implements Ledger.
func (r *Recorder) Record(ctx context.Context, key string, payload []byte) (Reference, error) {
	res, err := r.client.Append(ctx, muniment.Submission{Kind: kindname.TriageAction, Payload: payload, IdempotencyKey: key})
	// Other causes of this code, such as a replica, can pass.
	if connect.CodeOf(err) == connect.CodeFailedPrecondition && strings.Contains(err.Error(), "idempotency key was used") {
		return Reference{}, fmt.Errorf("%w: %w", ErrTaken, err)
	}
	if err != nil {
		return Reference{}, err
	}
	kind := kindname.TriageAction
	proven, err := receipt.Verify(res.Receipt, []*receipt.TrustPolicy{r.policy}, receipt.Options{Payload: payload, Tenant: &r.client.Tenant, Kind: &kind})
	switch {
	case err != nil:
		return Reference{}, err
	case proven.Header == nil:
		return Reference{}, errors.New("the receipt has no header, because the entry was erased")
	case proven.Header.IdempotencyKey != key:
		return Reference{}, fmt.Errorf("the receipt is for an entry with the key %q, not %q", proven.Header.IdempotencyKey, key)
	}
	return Reference{Index: proven.Index, LeafHash: hex.EncodeToString(proven.LeafHash[:])}, nil
}

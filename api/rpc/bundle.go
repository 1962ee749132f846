package rpc

import (
	"bufio"
	"context"
	"errors"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/controls/attest"
	"muniment.dev/muniment/controls/bundle"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/inventory"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

var (
	// ErrNoGateKey reports that a server cannot sign bundles.
	ErrNoGateKey = errors.New("this server has no gate key, which signs bundles: request it from the log itself, or sign the file with cosign")
	// ErrNoPolicy reports that a server cannot create bundles.
	ErrNoPolicy = errors.New("this server has no trust policy, which bundles contain")
)

// Bundles implements BundleService.
type Bundles struct {
	Ledger      *ledger.Ledger
	Decider     *decide.Decider
	Inventories *inventory.Projection
	Policy      *receipt.TrustPolicy // nil: none
	Key         *attest.Signer       // nil: none
	Drain       Drain
	Public      Public
}

// CreateBundle implements BundleService.
func (s *Bundles) CreateBundle(ctx context.Context, req *connect.Request[munimentv1.CreateBundleRequest], stream *connect.ServerStream[munimentv1.CreateBundleResponse]) error {
	ctx, end := s.Drain.whileServing(ctx) // do not delay a shutdown by gigabytes
	defer end()
	signature, err := s.create(ctx, req.Msg, stream)
	switch err = causeOf(ctx, err); {
	case errors.Is(err, inventory.ErrTooMuch):
		return rpcerr.Field(connect.CodeResourceExhausted, "inventory", "%s", err)
	case err != nil:
		return notYet(s.Public, "time", err)
	}
	if signature == nil {
		return nil
	}
	return stream.Send(&munimentv1.CreateBundleResponse{Signature: string(signature)})
}

func (s *Bundles) create(ctx context.Context, req *munimentv1.CreateBundleRequest, stream *connect.ServerStream[munimentv1.CreateBundleResponse]) ([]byte, error) {
	id, err := auth.CallerOf(ctx, req.Tenant)
	switch {
	case err != nil:
		return nil, err
	case s.Policy == nil:
		return nil, ErrNoPolicy
	case req.Sign && s.Key == nil:
		return nil, ErrNoGateKey
	}
	src := &bundle.Source{Ledger: s.Ledger, Stream: id.Tenant.Stream, Tenant: id.Tenant.Name, Decider: s.Decider, Policy: s.Policy, Inventories: s.Inventories}
	w := bufio.NewWriterSize(bundlePieces{stream}, limit.ExportPiece)
	summary, err := bundle.Create(ctx, w, src, bundle.RequestOf(req))
	if err == nil {
		err = w.Flush()
	}
	if err != nil || !req.Sign {
		return nil, err
	}
	return bundle.Sign(s.Key, summary, "")
}

// bundlePieces is a writer that sends each write as messages.
type bundlePieces struct {
	stream *connect.ServerStream[munimentv1.CreateBundleResponse]
}

func (p bundlePieces) Write(b []byte) (int, error) {
	return inPieces(b, func(piece []byte) error {
		return p.stream.Send(&munimentv1.CreateBundleResponse{Data: piece})
	})
}

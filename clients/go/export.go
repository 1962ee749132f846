package muniment

import (
	"context"
	"errors"
	"io"

	"connectrpc.com/connect"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Export writes a delta file (docs/spec/delta.md) to w. The file contains the
// growth of the log since the given tree size, and the tenant's records in it.
// Export does not verify the file.
func (c *Client) Export(ctx context.Context, w io.Writer, since uint64) error {
	_, err := c.export(ctx, w, &munimentv1.ExportRequest{Tenant: c.Tenant, Since: since})
	return err
}

// ExportAttested is Export, and returns the attestation of the file: a Sigstore
// bundle, which is not verified.
func (c *Client) ExportAttested(ctx context.Context, w io.Writer, since uint64) (attestation []byte, err error) {
	attestation, err = c.export(ctx, w, &munimentv1.ExportRequest{Tenant: c.Tenant, Since: since, Attest: true})
	if err == nil && attestation == nil {
		err = errors.New("the server has sent no attestation: upgrade it")
	}
	return attestation, err
}

func (c *Client) export(ctx context.Context, w io.Writer, req *munimentv1.ExportRequest) (attestation []byte, err error) {
	stream, err := c.Exports.Export(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	for stream.Receive() {
		if a := stream.Msg().Attestation; len(a) > 0 {
			attestation = a
		}
		if _, err := w.Write(stream.Msg().Data); err != nil {
			return nil, err
		}
	}
	return attestation, stream.Err()
}

// CreateBundle writes an evidence bundle (docs/spec/bundle.md) to w. It returns
// its signature, a Sigstore bundle in JSON, if the request asks for one. It
// sets the request's tenant, and does not verify the file.
func (c *Client) CreateBundle(ctx context.Context, w io.Writer, req *munimentv1.CreateBundleRequest) (signature string, err error) {
	req.Tenant = c.Tenant
	stream, err := c.Bundles.CreateBundle(ctx, connect.NewRequest(req))
	if err != nil {
		return "", err
	}
	defer stream.Close()
	for stream.Receive() {
		if _, err := w.Write(stream.Msg().Data); err != nil {
			return "", err
		}
		signature += stream.Msg().Signature
	}
	return signature, stream.Err()
}

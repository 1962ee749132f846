package muniment

import (
	"context"
	"io"

	"connectrpc.com/connect"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Export writes a delta file (docs/spec/delta.md) to w. The file contains the
// growth of the log since the given tree size, and the tenant's records in it.
// Export does not verify the file.
func (c *Client) Export(ctx context.Context, w io.Writer, since uint64) error {
	stream, err := c.Exports.Export(ctx, connect.NewRequest(&munimentv1.ExportRequest{Tenant: c.Tenant, Since: since}))
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		if _, err := w.Write(stream.Msg().Data); err != nil {
			return err
		}
	}
	return stream.Err()
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

package api

import (
	"compress/gzip"
	"fmt"
	"io"

	"connectrpc.com/connect"
)

// gzipUpTo returns the option that decompresses messages of at most limit()
// bytes. Connect's own decompressor inflates the rest of a larger message in
// order to discard it, which costs the server a thousand times what it costs
// the sender.
func gzipUpTo(limit func() int64) connect.HandlerOption {
	return connect.WithCompression("gzip",
		func() connect.Decompressor { return &inflater{limit: limit} },
		func() connect.Compressor { return gzip.NewWriter(io.Discard) })
}

// fixed is a limit that does not change.
func fixed(limit int64) func() int64 { return func() int64 { return limit } }

// An inflater decompresses one message after another, and stops with an error
// where one has more bytes than the limit.
type inflater struct {
	gzip.Reader
	limit func() int64
	max   int64 // limit() when the message began
	left  int64 // of the message
}

// Reset implements connect.Decompressor.
func (d *inflater) Reset(r io.Reader) error {
	d.max = d.limit()
	d.left = d.max
	return d.Reader.Reset(r)
}

// Read implements io.Reader.
func (d *inflater) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if d.left < 0 {
		return 0, errInflated(d.max)
	}
	n, err := d.Reader.Read(p[:min(int64(len(p)), d.left+1)])
	if d.left -= int64(n); d.left < 0 {
		return n - 1, errInflated(d.max)
	}
	return n, err
}

func errInflated(limit int64) error {
	return connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("the message has more than %d bytes when it is decompressed", limit))
}

package limit

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"muniment.dev/muniment/api/wire"
	"muniment.dev/muniment/internal/turns"
)

// GzipUpTo returns an option that decompresses the method's messages up to
// limit() bytes, in the owner's turns. Connect's own decompressor inflates the
// rest of a larger message to discard it, which costs the server a thousand
// times what it costs the sender.
func GzipUpTo(owner string, limit func() int64, spec connect.Spec) connect.HandlerOption {
	message := requestOf(spec.Schema)
	return connect.WithCompression("gzip",
		func() connect.Decompressor { return &inflater{owner: owner, limit: limit, message: message} },
		func() connect.Compressor { return gzip.NewWriter(io.Discard) })
}

// Fixed returns a constant limit.
func Fixed(limit int64) func() int64 { return func() int64 { return limit } }

// requestOf returns the type of a method's requests, or nil.
func requestOf(schema any) protoreflect.MessageDescriptor {
	if m, ok := schema.(protoreflect.MethodDescriptor); ok {
		return m.Input()
	}
	return nil
}

// An inflater decompresses one message after another. It fails if a message
// exceeds the limit, or has more elements than its type allows.
type inflater struct {
	gzip.Reader
	owner   string
	limit   func() int64
	message protoreflect.MessageDescriptor // nil: unknown
	max     int64                          // limit() when the message began
	left    int64                          // remaining bytes of the message
	in      int                            // compressed size of the message
	turn    *turns.Turn                    // held during a Read
	scan    *wire.Stream                   // nil: the message is small or of unknown type
}

// Reset implements connect.Decompressor.
func (d *inflater) Reset(r io.Reader) error {
	d.max = d.limit()
	d.left, d.in, d.scan = d.max, 0, nil
	if sized, ok := r.(interface{ Len() int }); ok { // Connect's buffer
		d.in = sized.Len()
	}
	if d.message != nil && d.max > SmallRequest {
		d.scan = wire.NewStream(d.message)
	}
	return d.Reader.Reset(ReaderFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		// Much of a message can decompress to nothing. The context never ends.
		_ = d.turn.Pass(context.Background(), n)
		return n, err
	}))
}

// Read implements io.Reader.
func (d *inflater) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if d.left < 0 {
		return 0, errInflated(d.max)
	}
	turn, err := DecodeTurn(d.owner, max(d.in, int(d.max-d.left)))
	if err != nil {
		return 0, err
	}
	d.turn = turn
	defer turn.End()
	n, err := d.Reader.Read(p[:min(int64(len(p)), d.left+1)])
	if d.left -= int64(n); d.left < 0 {
		return n - 1, errInflated(d.max)
	}
	if d.scan != nil {
		if err := d.scan.Check(p[:n]); err != nil {
			return n, tooMuch(err)
		}
	}
	return n, err
}

// tooMuch returns the codec's error for a message with too many elements.
func tooMuch(err error) *connect.Error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("unmarshal message: %w", err))
}

// A scannedBody is a body that consists of one message. Reading fails if the
// message has more elements than its type allows.
type scannedBody struct {
	io.ReadCloser
	scan *wire.Stream
}

// Read implements io.Reader.
func (b *scannedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err := b.scan.Check(p[:n]); err != nil {
		return n, tooMuch(err)
	}
	return n, err
}

// scanned returns a body that is checked as it arrives, unless it contains
// framed messages.
func scanned(r *http.Request, body io.ReadCloser) io.ReadCloser {
	contentType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if contentType != "application/proto" && contentType != "application/json" {
		return body
	}
	m := methodOf(r.URL.Path)
	if m == nil {
		return body
	}
	return &scannedBody{body, wire.NewStream(m.Input())}
}

// methodOf returns the API method that a path names, or nil.
func methodOf(procedure string) protoreflect.MethodDescriptor {
	name := strings.ReplaceAll(strings.TrimPrefix(procedure, "/"), "/", ".")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil
	}
	m, _ := d.(protoreflect.MethodDescriptor)
	return m
}

func errInflated(limit int64) error {
	return connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("the message has more than %d bytes when decompressed", limit))
}

// A gunzip decompresses a body as it is read. Beyond a small request it takes
// its owner's turns, even for bytes that decompress to nothing. It holds no
// turn while waiting for more of the body.
type gunzip struct {
	body  io.ReadCloser
	ctx   context.Context
	owner string
	busy  func(error) *connect.Error
	r     *gzip.Reader // nil: nothing was read
	in    int64        // bytes received
	out   int64        // bytes decompressed
	turn  *turns.Turn  // held during a Read
}

func newGunzip(r *http.Request, busy func(error) *connect.Error) *gunzip {
	return &gunzip{busy: busy, body: r.Body, ctx: r.Context(), owner: ownerOf(r)}
}

// Read implements io.Reader.
func (g *gunzip) Read(p []byte) (int, error) {
	if g.r == nil {
		r, err := gzip.NewReader(bufio.NewReader(ReaderFunc(g.receive)))
		if err != nil {
			return 0, badGzip(err)
		}
		g.r = r
	}
	if err := g.begin(); err != nil {
		return 0, err
	}
	defer func() { g.turn.End() }() // the last turn
	n, err := g.r.Read(p[:min(len(p), turns.Free)])
	g.out += int64(n)
	return n, badGzip(err)
}

func (g *gunzip) begin() (err error) {
	if g.turn, err = turns.CPU.For(g.ctx, g.owner, max(g.in, g.out)); errors.Is(err, turns.ErrFull) {
		return g.busy(err)
	}
	return err
}

// receive reads from the body while holding no turn.
func (g *gunzip) receive(p []byte) (int, error) {
	g.turn.End()
	n, err := g.body.Read(p)
	g.in += int64(n)
	if err == nil {
		err = g.begin()
	}
	return n, err
}

func badGzip(err error) error {
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, io.ErrUnexpectedEOF) {
		return connect.NewError(connect.CodeInvalidArgument, errors.New("the body is not compressed with gzip, though its header declares it"))
	}
	return err
}

// Close implements io.Closer.
func (g *gunzip) Close() error { return g.body.Close() }

// A ReaderFunc is an io.Reader.
type ReaderFunc func(p []byte) (int, error)

// Read implements io.Reader.
func (f ReaderFunc) Read(p []byte) (int, error) { return f(p) }

// DecodeTurn waits for the owner's turn to decode a message of the size.
// Connect passes no context to codecs and decompressors, so the wait does not
// end with the request. The owner's hold bounds the number of waiting calls.
func DecodeTurn(owner string, bytes int) (*turns.Turn, error) {
	turn, err := turns.CPU.For(context.Background(), owner, int64(bytes))
	if err != nil {
		return nil, connect.NewError(connect.CodeResourceExhausted, err)
	}
	return turn, nil
}

package evidence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/documents"
	"muniment.dev/muniment/verifiers/shape"
)

// readInput reads standard input into memory, or, if it is large, into a file
// that is gone when it is closed.
func readInput(stdin io.Reader) (payload []byte, content *os.File, err error) {
	payload, err = io.ReadAll(io.LimitReader(stdin, streamBytes+1))
	if err != nil || len(payload) <= streamBytes {
		return payload, nil, err
	}
	f, err := os.CreateTemp("", "muniment-append-")
	if err != nil {
		return nil, nil, err
	}
	_, err = io.Copy(f, io.MultiReader(bytes.NewReader(payload), stdin))
	if err := errors.Join(err, os.Remove(f.Name())); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("standard input: %w", err), f.Close())
	}
	return nil, f, nil
}

// largeLines returns the documents of a large file of JSON Lines as pieces of
// their own, by the rule of lines. They are read one by one.
func (c *appendCmd) largeLines(p *piece) []piece {
	f, err := p.openFile()
	if err != nil {
		p.err = err
		return []piece{*p}
	}
	defer f.Close()
	sections, err := documents.Find(f, shape.Signed)
	if err != nil {
		p.err = err
		return []piece{*p}
	}
	return c.split(p, len(sections), func(one *piece, i int) {
		one.section, one.large = &sections[i], false
	})
}

// readSection reads the document of a large file of JSON Lines.
func (p *piece) readSection() ([]byte, error) {
	f, err := p.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return bounded.ReadAll(f, streamBytes)
}

// open opens the content of a large piece at its beginning.
func (p *piece) open() (io.ReadSeekCloser, error) {
	f, err := p.openFile()
	if err != nil || p.section == nil {
		return f, err
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%s: it cannot be read at a position", p.name), f.Close())
	}
	return &sectionOfFile{io.NewSectionReader(at, p.section.Offset, p.section.Size), f}, nil
}

// A sectionOfFile is one document of a file.
type sectionOfFile struct {
	*io.SectionReader
	io.Closer
}

func (p *piece) openFile() (io.ReadSeekCloser, error) {
	if p.root != nil {
		return bounded.OpenIn(p.root, p.path)
	}
	if p.content == nil {
		return interrupt.Open(p.path)
	}
	if _, err := p.content.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return keptOpen{p.content}, nil
}

// keptOpen is a file that is read more than once, and would be gone if it were
// closed.
type keptOpen struct{ *os.File }

func (keptOpen) Close() error { return nil }

// sendLarge sends one piece as a stream, and reports on it. What it returns
// ends the command.
func (c *appendCmd) sendLarge(a *term.App, client *muniment.Client, p *piece, t *tally) error {
	r, err := c.stream(a, client, p, t)
	if err != nil {
		return err
	}
	if r.Err == nil && !c.NoReceipts {
		r.Err = c.writeReceipt(p, r.Receipt)
	}
	t.add(&r)
	if err := c.tell(a, p, &r); err != nil {
		return err
	}
	if r.Err == nil && !c.NoReceipts && !c.Detached && !c.JSON {
		keep := "keep the file"
		if p.section != nil {
			keep = "keep the line in a file of its own"
		}
		fmt.Fprintf(a.Stderr, "%s: its receipt does not hold the payload, which is too large; %s, and verify with --payload\n", term.Quoted(p.name), keep)
	}
	return a.Ctx.Err()
}

// stream returns what became of the piece, or an error that the next piece
// would have, too.
func (c *appendCmd) stream(a *term.App, client *muniment.Client, p *piece, t *tally) (muniment.Result, error) {
	f, err := p.open()
	if err != nil {
		return muniment.Result{Err: err}, nil
	}
	defer f.Close()
	s := muniment.Stream{Kind: c.Kind, MediaType: c.MediaType, IdempotencyKey: c.IdempotencyKey, Payload: f}
	if ingest.IsEvent(c.Kind) && c.IdempotencyKey == "" {
		sum := sha256.New()
		if _, err := io.Copy(sum, f); err != nil {
			return muniment.Result{Err: err}, nil
		}
		s.IdempotencyKey = fmt.Sprintf("sha256:%x", sum.Sum(nil))
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return muniment.Result{Err: err}, nil
	}
	bar := a.ByteProgress(size, "append "+filepath.Base(p.name))
	// a bar that can't be drawn changes nothing
	s.Progress = func(sent int64) { _ = bar.Set64(sent) }
	ctx, cancel := a.Ctx, context.CancelFunc(func() {})
	if t.witnessed {
		ctx, cancel = context.WithTimeout(ctx, c.WaitTime)
	}
	defer cancel()
	r, err := client.AppendStream(ctx, s)
	_ = bar.Finish()
	if t.witnessed && ctx.Err() == context.DeadlineExceeded {
		return r, c.waited(err)
	}
	switch connect.CodeOf(err) {
	case connect.CodeInvalidArgument, connect.CodeResourceExhausted, connect.CodeFailedPrecondition, connect.CodePermissionDenied:
		return muniment.Result{Err: err}, nil // this one is refused, others may not be
	}
	if err != nil && r.Err == nil {
		return r, err
	}
	return r, nil
}

// reference returns the one piece that refers to evidence kept elsewhere.
func (c *appendCmd) reference(files []piece) ([]piece, error) {
	d, err := entry.ParseDigest(c.ByReference)
	digest := d.Value()
	switch {
	case err != nil:
		return nil, fmt.Errorf("--by-reference: %w", err)
	case d.Algorithm() != "sha256":
		return nil, fmt.Errorf("--by-reference: %q is not a digest of sha256", c.ByReference)
	case c.Location == "":
		return nil, errors.New("--by-reference needs --location: say where the evidence is")
	case len(files) > 1 || len(files) == 1 && files[0].path == "":
		return nil, errors.New("--by-reference is for one piece of evidence, and takes one FILE or none")
	case len(files) == 1 && c.Size != nil:
		return nil, errors.New("--size: not with a FILE, whose size is taken")
	case len(files) == 0 && c.Size == nil:
		return nil, errors.New("--by-reference needs the size of the evidence: give --size, or the FILE itself, which is checked and not sent")
	}
	if u, err := url.Parse(c.Location); err != nil || u.Scheme == "" {
		return nil, fmt.Errorf("--location: %q is not a URI such as s3://bucket/key or https://…", c.Location)
	}
	p := piece{name: c.ByReference, receipt: filepath.Join(c.ReceiptDir, "sha256-"+digest[:16]+".receipt.json")}
	ref := ingest.Reference{Digest: map[string]string{"sha256": digest}, Location: c.Location, MediaType: c.MediaType}
	if c.Size != nil {
		ref.Size = *c.Size
	} else {
		p.name, p.receipt = files[0].name, files[0].receipt
		sum, size, err := sumFile(files[0].name)
		if err != nil {
			return nil, err
		}
		if sum != digest {
			return nil, term.ExitWith(term.ExitNo, fmt.Errorf("%s is not the evidence: its digest is sha256:%s", files[0].name, sum))
		}
		ref.Size = size
	}
	p.root, p.path = nil, p.name // it is not read: the payload is here
	p.sub.Payload, p.sub.MediaType = ref.Document(), ingest.ReferenceMediaType
	return []piece{p}, nil
}

// sumFile returns the SHA-256 in hexadecimal, and the size of a file.
func sumFile(path string) (sum string, size uint64, err error) {
	f, err := interrupt.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return "", 0, fmt.Errorf("%s: %w", path, err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), uint64(n), nil
}

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
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/documents"
	"muniment.dev/muniment/verifiers/external"
	"muniment.dev/muniment/verifiers/shape"
)

// readInput reads standard input into memory. Large input goes into a deleted
// temporary file instead, whose space is freed when it is closed.
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

// largeLines splits a large file of JSON Lines by the same rule as lines, one
// document at a time.
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

// readSection reads the piece's document from a large file of JSON Lines.
func (p *piece) readSection() ([]byte, error) {
	f, err := p.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return bounded.ReadAll(f, streamBytes)
}

// open opens the content of a large piece at its start.
func (p *piece) open() (io.ReadSeekCloser, error) {
	f, err := p.openFile()
	if err != nil || p.section == nil {
		return f, err
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%s does not support random access", p.name), f.Close())
	}
	return &sectionOfFile{io.NewSectionReader(at, p.section.Offset, p.section.Size), f}, nil
}

// A sectionOfFile is one document of a file.
type sectionOfFile struct {
	*io.SectionReader
	io.Closer
}

func (p *piece) openFile() (io.ReadSeekCloser, error) {
	if p.harvest != nil {
		return inMemory{bytes.NewReader(p.sub.Payload)}, nil
	}
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

// keptOpen is a deleted file whose Close does nothing: it is read more than
// once, and closing it would lose it.
type keptOpen struct{ *os.File }

func (keptOpen) Close() error { return nil }

// inMemory is the content of an attachment.
type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

// sendLarge streams one piece and reports the result. An error ends the
// command.
func (c *appendCmd) sendLarge(a *term.App, client *muniment.Client, p *piece, t *tally) error {
	r, err := c.stream(a, client, p, t)
	if err != nil {
		return err
	}
	if r.Err == nil && !c.NoReceipts {
		r.Err = c.writeReceipt(p, r.Receipt)
	}
	t.add(&r)
	if err := c.print(a, p, &r); err != nil {
		return err
	}
	if r.Err == nil && !c.NoReceipts && !c.Detached && !c.JSON {
		keep := "keep the file"
		switch {
		case p.section != nil:
			keep = "keep the line as a file of its own"
		case p.harvest != nil:
			keep = fmt.Sprintf("fetch it with 'muniment get %d --payload -o FILE'", r.Index)
		}
		fmt.Fprintf(a.Stderr, "%s: the payload is too large for the receipt: %s, and verify it with --payload\n", term.Quoted(p.name), keep)
	}
	return a.Ctx.Err()
}

// stream returns the result for one piece, or an error that would affect the
// following pieces as well.
func (c *appendCmd) stream(a *term.App, client *muniment.Client, p *piece, t *tally) (muniment.Result, error) {
	f, err := p.open()
	if err != nil {
		return muniment.Result{Err: err}, nil
	}
	defer f.Close()
	s := muniment.Stream{Kind: p.sub.Kind, MediaType: p.sub.MediaType, IdempotencyKey: p.sub.IdempotencyKey, Payload: f}
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
		return muniment.Result{Err: err}, nil // only this piece was refused
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
		return nil, fmt.Errorf("--by-reference: %q is not a SHA-256 digest", c.ByReference)
	case c.Location == "":
		return nil, errors.New("--by-reference requires --location, the URI of the evidence")
	case len(files) > 1 || len(files) == 1 && files[0].path == "":
		return nil, errors.New("--by-reference takes at most one FILE")
	case len(files) == 1 && c.Size != nil:
		return nil, errors.New("--size and FILE exclude each other: the size of FILE is recorded")
	case len(files) == 0 && c.Size == nil:
		return nil, errors.New("--by-reference requires the size of the evidence: use --size, or specify FILE, which is checked but not sent")
	}
	if u, err := url.Parse(c.Location); err != nil || u.Scheme == "" {
		return nil, fmt.Errorf("--location: %q is not a URI such as s3://bucket/key or https://…", c.Location)
	}
	p := piece{name: c.ByReference, receipt: filepath.Join(c.ReceiptDir, "sha256-"+digest[:16]+".receipt.json")}
	ref := external.Reference{Digest: map[string]string{"sha256": digest}, Location: c.Location, MediaType: c.MediaType}
	if c.Size != nil {
		ref.Size = *c.Size
	} else {
		p.name, p.receipt = files[0].name, files[0].receipt
		sum, size, err := sumFile(files[0].name)
		if err != nil {
			return nil, err
		}
		if sum != digest {
			return nil, term.ExitWith(term.ExitNo, fmt.Errorf("%s does not match --by-reference: its digest is sha256:%s", files[0].name, sum))
		}
		ref.Size = size
	}
	p.root, p.path = nil, p.name // the payload is set, so no file is read
	p.sub.Payload, p.sub.MediaType = ref.Document(), external.MediaType
	return []piece{p}, nil
}

// sumFile returns a file's SHA-256, in hexadecimal, and its size.
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

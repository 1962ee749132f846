package verify

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"

	"muniment.dev/muniment/verifiers/export"
)

// ExportOptions are the inputs for an export besides the configuration. A check
// whose input is absent is not performed, and the report has a warning for it.
type ExportOptions struct {
	// Files is the folder with the files of the export and no others. They are
	// streamed. nil: the files are not checked.
	Files fs.FS
	// Receipt is the receipt of the manifest, of at most 4,194,304 bytes. It
	// requires a trust policy. nil: none.
	Receipt *File
	// Stream is an evidence bundle of the tenant. It requires the receipt and
	// the stream key. nil: none.
	Stream *File

	Tenant *string // expected; nil: any
	Export *string // expected ID of the export; nil: any

	// Progress is called with the number of bytes of files that were read. It
	// can be nil.
	Progress func(done, total uint64)
}

// An ExportResult is what an export proves, and what its signers claim. See
// docs/spec/export-manifest.md, section 7.
type ExportResult struct {
	Proven  export.Proven  // what follows from signatures by trusted keys, and from hashes
	Claimed export.Claimed // what the signers or the log assert, and nothing else supports
}

// Export verifies an export manifest with all its proofs by the trusted keys
// and identities, and decides by the requirements of the configuration. It
// needs little memory, however large the files are. The codes are those of
// docs/spec/export-manifest.md, section 7. The error is that of the context.
func (v *Verifier) Export(ctx context.Context, f *File, o ExportOptions) (*Report, error) {
	c := v.config
	opts := export.Options{Keys: c.keys, Trust: c.byIdentity, Files: o.Files, Policies: c.policies, StreamKey: c.streamKey, Tenant: o.Tenant, Export: o.Export,
		Licenses: c.requirements.Licenses, Residency: c.requirements.Residency, Epsilon: c.requirements.Epsilon, Progress: o.Progress}
	data, unread := readInputs(f, &o, &opts)
	if unread != nil {
		data = nil // faults of the call rank before a file that cannot be read
	}
	r, err := export.Verify(ctx, data, opts)
	var e *export.Error
	switch {
	case err == nil:
		return ended(ctx, success(f, Export, r.Warnings, func(out *Report) { out.Export = &ExportResult{r.Proven, r.Claimed} }))
	case !errors.As(err, &e):
		return nil, err
	case unread != nil && e.Step > 0:
		return ended(ctx, failure(f, Export, CodeUnreadable, reason(unread)))
	}
	return ended(ctx, refusal(f, Export, string(e.Code), e.Step, e.Message))
}

// readInputs reads the manifest and the receipt, and opens the stream. Of a
// longer manifest it reads as much as shows that it is too long.
func readInputs(f *File, o *ExportOptions, opts *export.Options) (manifest []byte, unread error) {
	manifest, unread = f.head(export.MaxSize + 1)
	if o.Receipt != nil {
		text, err := o.Receipt.read(export.MaxReceipt)
		if opts.Receipt = text; err != nil {
			opts.Receipt = []byte{} // is given
			unread = errors.Join(unread, err)
		}
	}
	if o.Stream != nil {
		opts.Stream, opts.StreamSize = o.Stream.reader(), o.Stream.size
		unread = errors.Join(unread, o.Stream.err)
	}
	return manifest, unread
}

// reader returns the content of a file, or an empty one if it cannot be read.
func (f *File) reader() io.ReaderAt {
	if f.err != nil {
		return bytes.NewReader(nil)
	}
	return f.content
}

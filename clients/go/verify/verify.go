// Package verify verifies receipts, Sigstore bundles, exports, streams and
// evidence bundles offline, with one configuration, and returns one report. It
// follows docs/spec/verify.md. The SDKs in TypeScript and Python return the
// same reports.
//
// A verification needs no network, no clock and no server. A report is never a
// bare boolean: read its verdict, what is proven, what is only claimed, and the
// warnings. docs/sdk-trust-boundary.md lists what a green report does not
// prove.
//
//	config, err := verify.LoadConfig("verify.json")
//	if err != nil {
//		return err
//	}
//	f := verify.Open("q2.export.sigstore.json")
//	defer f.Close()
//	report, err := verify.New(config).Export(ctx, f, verify.ExportOptions{Files: os.DirFS("q2")})
//	if err != nil {
//		return err // the context has ended
//	}
//	fmt.Print(report.Text())
package verify

import (
	"context"
	"fmt"
	"slices"

	"muniment.dev/muniment/ledger/entry"
)

// A Kind is a kind of verification. See docs/spec/verify.md, section 3.
type Kind string

// The kinds.
const (
	Receipt        Kind = "receipt"         // of an entry
	SigstoreBundle Kind = "sigstore-bundle" // a signature with its proofs
	Export         Kind = "export"          // the manifest of an export
	Stream         Kind = "stream"          // an evidence bundle, as proof of a whole stream
	EvidenceBundle Kind = "evidence-bundle"
)

// Kinds returns all kinds, in the order of docs/spec/verify.md.
func Kinds() []Kind { return []Kind{Receipt, SigstoreBundle, Export, Stream, EvidenceBundle} }

// The codes of errors of the caller that the specifications of the kinds do not
// have. See docs/spec/verify.md, section 3.
const (
	CodeKindUnknown     = "kind-unknown"
	CodeInputUnexpected = "input-unexpected"
	CodeUnreadable      = "unreadable"
)

// A Verifier verifies files with a configuration. Goroutines can share it.
type Verifier struct{ config *Config }

// New returns a verifier.
func New(c *Config) *Verifier { return &Verifier{c} }

// Inputs are the inputs of Verify besides the file. An input of another kind
// than the file's is an error with the code CodeInputUnexpected.
type Inputs struct {
	Receipt ReceiptOptions // of receipts
	Bundle  BundleOptions  // of Sigstore bundles
	Export  ExportOptions  // of exports

	Identity *string // expected identity of an evidence bundle; nil: any
	// Tenant is the expected tenant, for all kinds except SigstoreBundle. nil:
	// the one in Receipt or Export, if any.
	Tenant *string
	// Progress is called with the work done, in bytes. It can be nil.
	Progress func(done, total uint64)
}

// Verify verifies a file of a kind. With the kind "" it recognizes the kind,
// which the sender of the file chooses, so name it if you can. The error is
// that of the context.
func (v *Verifier) Verify(ctx context.Context, f *File, kind Kind, in Inputs) (*Report, error) {
	if kind == "" {
		var failed *Report
		if kind, failed = recognize(f); failed != nil {
			return failed, nil
		}
	}
	if !slices.Contains(Kinds(), kind) {
		return failure(f, "", CodeKindUnknown, fmt.Sprintf("%q is no kind of verification: use one of %q", string(kind), Kinds())), nil
	}
	if name := in.unexpected(kind); name != "" {
		return failure(f, kind, CodeInputUnexpected, fmt.Sprintf("%s: not an input for the kind %s", name, kind)), nil
	}
	if in.Tenant != nil {
		in.Receipt.Tenant, in.Export.Tenant = in.Tenant, in.Tenant
	}
	if in.Progress != nil {
		in.Export.Progress = in.Progress
	}
	switch kind {
	case Receipt:
		return v.Receipt(ctx, f, in.Receipt)
	case SigstoreBundle:
		return v.Bundle(ctx, f, in.Bundle)
	case Export:
		return v.Export(ctx, f, in.Export)
	case Stream:
		return v.Stream(ctx, f, StreamOptions{Tenant: in.Tenant, Progress: in.Progress})
	default:
		return v.EvidenceBundle(ctx, f, EvidenceBundleOptions{Identity: in.Identity, Tenant: in.Tenant, Progress: in.Progress})
	}
}

// unexpected returns the name of an input that does not belong to a kind.
func (in *Inputs) unexpected(kind Kind) string {
	r, b, e := &in.Receipt, &in.Bundle, &in.Export
	for _, i := range []struct {
		name  string
		given bool
		kinds []Kind
	}{
		{"payload", r.Payload != nil || r.PayloadReader != nil, []Kind{Receipt}},
		{"external", r.External != nil, []Kind{Receipt}},
		{"headerOnly", r.HeaderOnly, []Kind{Receipt}},
		{"an expectation about the entry", r.expects(), []Kind{Receipt}},
		{"artifact", b.Artifact != nil || b.ArtifactSHA256 != nil, []Kind{SigstoreBundle}},
		{"files", e.Files != nil, []Kind{Export}},
		{"receipt", e.Receipt != nil, []Kind{Export}},
		{"stream", e.Stream != nil, []Kind{Export}},
		{"export", e.Export != nil, []Kind{Export}},
		{"identity", in.Identity != nil, []Kind{EvidenceBundle}},
		{"tenant", in.Tenant != nil, []Kind{Receipt, Export, Stream, EvidenceBundle}},
		{"tenant", r.Tenant != nil, []Kind{Receipt}},
		{"tenant", e.Tenant != nil, []Kind{Export}},
	} {
		if i.given && !slices.Contains(i.kinds, kind) {
			return i.name
		}
	}
	return ""
}

// ended returns the error of the context instead of a report, if it has ended.
func ended(ctx context.Context, r *Report) (*Report, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return r, nil
}

// hexOf returns 32 bytes in hexadecimal.
func hexOf(h [32]byte) string { return entry.Hash(h).String() }

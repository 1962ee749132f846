package decide

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/attest"
	"muniment.dev/muniment/controls/bundle"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
	"muniment.dev/muniment/verifiers/sigstore"
)

// A bundleRecorder records signatures of bundles in the ledger.
type bundleRecorder struct {
	client *muniment.Client
	caller string // as entries name their submitter
}

// recorder returns the recorder that --record asks for. It refuses what would
// fail only after the bundle was written.
func (c *bundleCreateCmd) recorder(a *term.App) (*bundleRecorder, error) {
	if c.Data != "" {
		return nil, errors.New("--record requires a server: start it and use --server, or record the signature later with 'muniment append'")
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Identity.WhoAmI(a.Ctx, connect.NewRequest(&munimentv1.WhoAmIRequest{}))
	if err != nil {
		return nil, err
	}
	switch m := res.Msg; {
	case m.Replica:
		return nil, term.ExitWith(term.ExitNo, fmt.Errorf("--record: %s is a replica, which records nothing: use --server with the URL of the log itself, or leave --record out and append the signature there with 'muniment append'", c.Server))
	case m.Role == munimentv1.Role_ROLE_READER, len(m.Kinds) > 0 && !slices.Contains(m.Kinds, kindname.Attestation):
		return nil, term.ExitWith(term.ExitNo, fmt.Errorf("--record: %s may not append entries of kind %s: use a token of an appender", m.Identity, kindname.Attestation))
	}
	return &bundleRecorder{client: client, caller: res.Msg.Identity}, nil
}

// again checks that the file of an earlier run is the bundle of the request, as
// of its own size. It returns the signature, if the request asks for one.
func (c *bundleCreateCmd) again(a *term.App, f *os.File, r *munimentv1.CreateBundleRequest) (signature string, err error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	b, err := bundlefile.Open(f, info.Size())
	if err != nil {
		return "", fmt.Errorf("-o: %s exists and is not a bundle: choose another name: %w", c.Output, err)
	}
	other := fmt.Errorf("-o: %s exists and is another bundle: choose another name", c.Output)
	if c.At != 0 && c.At != b.Manifest.Size {
		return "", other
	}
	r.TreeSize = b.Manifest.Size
	if c.Time == "" {
		r.Time = timestamppb.New(millis(b.Manifest.Time))
	}
	if r.Since != nil && b.Manifest.Selection.Since { // how long ago: of the earlier run
		if later, err := sinceTime("--since", c.Since, time.Now().Add(time.Hour)); err == nil && !later.Truncate(time.Millisecond).Equal(r.Since.AsTime()) {
			r.Since = timestamppb.New(millis(*b.Manifest.Since))
		}
	}
	h := sha256.New()
	if signature, err = c.fromServer(a, h, r); err != nil {
		return "", remote.NotFound(err)
	}
	summary, err := bundle.Summarize(b, io.NewSectionReader(f, 0, info.Size()))
	if err == nil && entry.Hash(h.Sum(nil)) != summary.Digest {
		err = other
	}
	return signature, err
}

// sign returns the signature of a bundle with the key of --key.
func (c *bundleCreateCmd) sign(s *bundle.Summary) ([]byte, error) {
	private, err := datadir.ReadPrivateKey(c.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("--key: %w", err)
	}
	key, err := attest.NewSigner(private)
	if err != nil {
		return nil, fmt.Errorf("--key: %w", err)
	}
	return bundle.Sign(key, s, filepath.Base(c.Output))
}

// writeSignature writes the signature beside the bundle. An earlier one stays,
// and is returned, if it is about the same bundle.
func (c *bundleCreateCmd) writeSignature(a *term.App, s *bundle.Summary, signature []byte) (path string, _ []byte, err error) {
	path = c.Output + bundlefile.SignatureSuffix
	earlier, err := bounded.ReadFile(path, bounded.Config)
	switch {
	case err == nil:
		if _, err := bundle.CheckSigned(s, earlier); err != nil {
			return "", nil, fmt.Errorf("%s exists: %w: remove it, or choose another name for the bundle", path, err)
		}
		return path, bytes.TrimSuffix(earlier, []byte("\n")), nil
	case !errors.Is(err, os.ErrNotExist):
		return "", nil, err
	}
	if len(signature) == 0 {
		if signature, err = c.sign(s); err != nil {
			return "", nil, err
		}
	}
	if _, err := bundle.CheckSigned(s, signature); err != nil {
		return "", nil, err
	}
	return path, signature, a.WriteOutput(path, append(slices.Clip(signature), '\n'))
}

// summarize returns the summary of a bundle's file.
func summarizeFile(path string) (*bundle.Summary, error) {
	f, size, err := interrupt.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := bundlefile.Open(f, size)
	if err != nil {
		return nil, err
	}
	return bundle.Summarize(b, io.NewSectionReader(f, 0, size))
}

// A recordedBundle is the entry with a signature of a bundle.
type recordedBundle struct {
	Entry     uint64 `json:"entry"`
	Duplicate bool   `json:"duplicate"` // it was recorded before
}

// record records a signature, unless one by the same signer is recorded.
func (r *bundleRecorder) record(ctx context.Context, s *bundle.Summary, signature []byte) (*recordedBundle, error) {
	signed, err := bundle.CheckSigned(s, signature)
	if err != nil {
		return nil, err
	}
	found, earlier, err := r.find(ctx, s, signed)
	if err != nil || found != nil {
		return found, err
	}
	if earlier != nil { // which the log recognizes, unless it can verify it by now
		signature = earlier
	}
	appended, err := r.client.Append(ctx, muniment.Submission{Kind: kindname.Attestation, Payload: signature})
	if err == nil {
		err = appended.Err
	}
	if isRefusal(err) {
		err = term.ExitWith(term.ExitNo, err)
	}
	return &recordedBundle{appended.Index, appended.Duplicate}, err
}

// maxSignature is the size of the largest recorded signature that is compared.
const maxSignature = 4 << 20

// find returns the entry with a signature of the bundle by the same signer that
// the log has verified. Without one it returns the last signature of that
// signer that the caller has recorded, or nil.
func (r *bundleRecorder) find(ctx context.Context, s *bundle.Summary, signed *sigstore.Bundle) (found *recordedBundle, earlier []byte, err error) {
	filter := &munimentv1.Filter{Kind: kindname.Attestation, Subject: s.Identity, PredicateType: bundlefile.PredicateType}
	err = eachEntry(ctx, r.client, filter, munimentv1.Order_ORDER_OLDEST_FIRST, func(e *munimentv1.Entry) (bool, error) {
		parsed, err := ledgerEntry(e)
		if err != nil || parsed.Header == nil {
			return true, err
		}
		h := parsed.Header
		verified := h.Verification.Result == entry.Verified
		if h.NotAdmitted() || h.Payload.Size > maxSignature || !verified && h.Submitter != r.caller {
			return true, nil
		}
		var payload bytes.Buffer
		if _, err := r.client.ReadPayload(ctx, e.Index, &payload); err != nil {
			if isRefusal(err) { // it was erased
				return true, nil
			}
			return false, err
		}
		other, err := bundle.CheckSigned(s, payload.Bytes())
		if err != nil || !reflect.DeepEqual(other.Signers, signed.Signers) {
			return true, nil
		}
		if earlier = payload.Bytes(); verified {
			found = &recordedBundle{e.Index, true}
		}
		return !verified, nil
	})
	return found, earlier, err
}

package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/ledger/entry"
)

// Options configure the connection to a registry.
type Options struct {
	// use HTTP if the registry has no TLS; always allowed for loopback
	// addresses
	PlainHTTP bool
	Keychain  authn.Keychain    // nil: the one that docker login uses
	Transport http.RoundTripper // nil: the default
	Allowed   []netip.Prefix    // non-public addresses to which the registry may redirect
	Silence   time.Duration     // time without data after which to give up; 0: a minute
}

// A Registry reads from the registry of one reference.
type Registry struct {
	ref       name.Reference
	puller    *remote.Puller
	keychain  authn.Keychain
	transport http.RoundTripper
}

// Open parses a reference such as registry.example.com/app:1.7 or …@sha256:…,
// with or without the prefix oci://. It does not connect.
func Open(reference string, o Options) (*Registry, error) {
	reference = foldDigest(strings.TrimPrefix(reference, "oci://"))
	if scheme, _, ok := strings.Cut(reference, "://"); ok {
		return nil, fmt.Errorf("%q: omit %s://, as in registry.example.com/app:1.7", reference, scheme)
	}
	opts := []name.Option{name.WeakValidation}
	if o.PlainHTTP {
		opts = append(opts, name.Insecure)
	}
	ref, err := name.ParseReference(reference, opts...)
	if err != nil {
		return nil, err
	}
	r := &Registry{ref: ref, keychain: o.Keychain, transport: o.Transport}
	if r.keychain == nil {
		r.keychain = authn.DefaultKeychain
	}
	if r.transport == nil {
		r.transport = remote.DefaultTransport
	}
	if o.Silence == 0 {
		o.Silence = time.Minute
	}
	if r.transport, err = newGuarded(ref.Context().RegistryStr(), r.transport, o.Allowed); err != nil {
		return nil, err
	}
	r.transport = following{capped{r.transport, o.Silence}}
	if r.puller, err = remote.NewPuller(remote.WithTransport(r.transport), remote.WithAuthFromKeychain(r.keychain), remote.WithUserAgent("muniment")); err != nil {
		return nil, err
	}
	return r, nil
}

// Repository returns the name of the reference's repository, with its host.
func (r *Registry) Repository() string { return r.ref.Context().Name() }

// foldDigest returns the reference with its digest in lower case.
func foldDigest(reference string) string {
	name, text, _ := strings.Cut(reference, "@")
	d, err := entry.ParseDigest(text)
	if err != nil {
		return reference
	}
	return name + "@" + d.String()
}

// A manifest is a manifest or index whose digest has been checked.
type manifest struct {
	Digest    string
	MediaType types.MediaType
	Raw       []byte
}

// manifest reads a manifest or index. It returns nil if there is none.
func (r *Registry) manifest(ctx context.Context, ref name.Reference) (*manifest, error) {
	d, err := r.puller.Get(withBound(ctx, MaxManifest), ref)
	if isStatus(err, http.StatusNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ref, answered(err))
	}
	if d.Digest.Algorithm != "sha256" {
		return nil, fmt.Errorf("read %s: digest algorithm %s is not supported: only sha256 is", ref, d.Digest.Algorithm)
	}
	return &manifest{d.Digest.String(), d.MediaType, d.Manifest}, nil
}

// Digest returns the digest of what the reference stands for in the registry.
func (r *Registry) Digest(ctx context.Context) (string, error) {
	m, err := r.manifest(ctx, r.ref)
	if err == nil && m == nil {
		err = fmt.Errorf("read %s: %w", r.ref, ErrNotFound)
	}
	if err != nil {
		return "", err
	}
	return m.Digest, nil
}

// Manifest reads the manifest or index with the digest (sha256:…) from the
// reference's repository.
func (r *Registry) Manifest(ctx context.Context, digest string) ([]byte, error) {
	if _, err := v1.NewHash(digest); err != nil {
		return nil, err
	}
	m, err := r.manifest(ctx, r.ref.Context().Digest(digest))
	if err == nil && m == nil {
		err = fmt.Errorf("read manifest %s: %w", r.ref.Context().Digest(digest), ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return m.Raw, nil
}

// Blob reads the blob with the digest (sha256:…) from the reference's
// repository.
func (r *Registry) Blob(ctx context.Context, digest string) ([]byte, error) {
	if _, err := v1.NewHash(digest); err != nil {
		return nil, err
	}
	ref := r.ref.Context().Digest(digest)
	l, err := r.puller.Layer(withBound(ctx, MaxBlob), ref)
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", ref, answered(err))
	}
	// The digest is that of the stored form and is checked while reading.
	body, err := l.Compressed()
	if err == nil {
		defer body.Close()
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(body, MaxBlob+1)); err == nil && len(data) > MaxBlob {
			err = fmt.Errorf("%w: %d bytes of a blob", ErrTooMuch, MaxBlob)
		}
		if err == nil {
			return data, nil
		}
	}
	if isStatus(err, http.StatusNotFound) {
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return nil, fmt.Errorf("read blob %s: %w", ref, answered(err))
}

// referrers lists the referrers of a manifest. It falls back from the
// registry's API to the fallback tag.
func (r *Registry) referrers(ctx context.Context, digest string) ([]descriptor, Source, error) {
	list, ok, err := r.listReferrers(ctx, digest)
	if err != nil || ok {
		return list, SourceReferrers, err
	}
	m, err := r.manifest(ctx, r.ref.Context().Tag(strings.Replace(digest, ":", "-", 1)))
	if err != nil || m == nil {
		return nil, SourceReferrersTag, err
	}
	list, err = readIndex(m.Raw)
	return list, SourceReferrersTag, err
}

// readIndex reads a list of referrers. Its descriptors may lack a digest.
func readIndex(data []byte) ([]descriptor, error) {
	index, err := parseLoosely(data)
	if err != nil {
		return nil, fmt.Errorf("list of referrers: %w", err)
	}
	return index.Manifests, nil
}

// listReferrers reads all pages of the referrers API. It returns false if the
// registry does not support the API.
func (r *Registry) listReferrers(ctx context.Context, digest string) ([]descriptor, bool, error) {
	repo := r.ref.Context()
	auth, err := authn.Resolve(ctx, r.keychain, repo)
	if err != nil {
		return nil, false, err
	}
	rt, err := transport.NewWithContext(ctx, repo.Registry, auth, r.transport, []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, false, fmt.Errorf("referrers of %s: %w", digest, answered(err))
	}
	client := &http.Client{Transport: rt}
	next := &url.URL{Scheme: repo.Scheme(), Host: repo.RegistryStr(), Path: fmt.Sprintf("/v2/%s/referrers/%s", repo.RepositoryStr(), digest)}
	var all []descriptor
	for page := 0; next != nil; page++ {
		if page == MaxPages {
			return nil, false, fmt.Errorf("referrers of %s: %w: %d pages", digest, ErrTooMuch, MaxPages)
		}
		list, following, ok, err := referrersPage(withBound(ctx, MaxManifest), client, next)
		if err != nil {
			return nil, false, fmt.Errorf("referrers of %s: %w", digest, answered(err))
		}
		if !ok && page == 0 {
			return nil, false, nil
		}
		if all = append(all, list...); len(all) > MaxAttestations {
			return nil, false, fmt.Errorf("referrers of %s: %w: %d referrers", digest, ErrTooMuch, MaxAttestations)
		}
		next = following
	}
	return all, true, nil
}

func referrersPage(ctx context.Context, client *http.Client, page *url.URL) (list []descriptor, next *url.URL, ok bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page.String(), nil)
	if err != nil {
		return nil, nil, false, err
	}
	req.Header.Set("Accept", string(types.OCIImageIndex))
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, false, err
	}
	defer resp.Body.Close()
	// Registries without this API return different status codes.
	if err := transport.CheckError(resp, http.StatusOK, http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable); err != nil {
		return nil, nil, false, err
	}
	mediaType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	if resp.StatusCode != http.StatusOK || !strings.EqualFold(strings.TrimSpace(mediaType), string(types.OCIImageIndex)) {
		return nil, nil, false, nil
	}
	body, err := bounded.ReadAll(resp.Body, MaxManifest)
	if err != nil {
		return nil, nil, false, err
	}
	if list, err = readIndex(body); err != nil {
		return nil, nil, false, err
	}
	next, err = nextPage(page, resp.Header)
	return list, next, true, err
}

func isStatus(err error, status int) bool {
	var t *transport.Error
	return errors.As(err, &t) && t.StatusCode == status
}

// answered rewords an error response of a registry. It quotes the registry's
// own text, up to a limit.
func answered(err error) error {
	var t *transport.Error
	if !errors.As(err, &t) {
		return err
	}
	text := fmt.Sprintf("the registry answered %d %s", t.StatusCode, http.StatusText(t.StatusCode))
	for i, d := range t.Errors {
		if i == maxQuotedErrors {
			break
		}
		text += fmt.Sprintf(", %.100q", d.Code)
		if d.Message != "" {
			text += fmt.Sprintf(": %.200q", d.Message)
		}
	}
	return &answerError{text, err}
}

// maxQuotedErrors is the number of a registry's errors that a message quotes.
const maxQuotedErrors = 3

type answerError struct {
	text  string
	cause error
}

func (e *answerError) Error() string { return e.text }
func (e *answerError) Unwrap() error { return e.cause }

var errSilent = errors.New("the registry sent nothing")

// A capped transport cuts off responses that stall or exceed the request's
// limit. The limit is in the context, so that it also applies to redirects.
type capped struct {
	http.RoundTripper
	silence time.Duration
}

type boundKey struct{}

func withBound(ctx context.Context, bytes int64) context.Context {
	return context.WithValue(ctx, boundKey{}, bytes)
}

func (b capped) RoundTrip(req *http.Request) (*http.Response, error) {
	bound, ok := req.Context().Value(boundKey{}).(int64)
	if !ok {
		bound = MaxManifest
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(b.silence, func() { cancel(fmt.Errorf("%w for %s", errSilent, b.silence)) })
	resp, err := b.RoundTripper.RoundTrip(req.WithContext(ctx))
	if err != nil {
		timer.Stop()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
		return nil, err
	}
	resp.Body = &boundedBody{resp.Body, bound, bound, ctx, cancel, timer, b.silence}
	return resp, nil
}

type boundedBody struct {
	io.ReadCloser
	left, bound int64
	ctx         context.Context // of the request; ends with the body
	cancel      context.CancelCauseFunc
	timer       *time.Timer
	silence     time.Duration
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n - 1, fmt.Errorf("%w: the registry's answer has more than %d bytes", ErrTooMuch, b.bound)
	}
	if cause := context.Cause(b.ctx); err != nil && err != io.EOF && cause != nil {
		err = cause
	}
	if err == nil {
		b.timer.Reset(b.silence)
	}
	return n, err
}

func (b *boundedBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

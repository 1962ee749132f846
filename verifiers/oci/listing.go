package oci

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sync/errgroup"
)

// Bounds of a listing.
const (
	MaxRepositories = 10_000
	MaxTags         = 100_000 // of all repositories
	maxListPages    = 1000    // of repositories, or of the tags of one
	listWorkers     = 8
)

// A Form is what a tag names.
type Form string

const (
	FormImage      Form = "image"
	FormChart      Form = "chart"
	FormOther      Form = "other"
	FormAttachment Form = "attachment" // evidence about another artifact
)

// A Listed is a tag of a registry.
type Listed struct {
	Repository string // with its host
	Tag        string
	Form       Form
	// Artifacts has what the tag names, and for an index the manifests of its
	// platforms.
	Artifacts []*Artifact
	Err       error // why it cannot be read; nil: it can
}

// List calls f for each tag of the repositories in a registry, in their order.
// Without repositories it lists those of the registry's catalog. A tag that
// cannot be read is passed with the error, because it may name an artifact.
// Registries do not list manifests without a tag.
func List(ctx context.Context, host string, repositories []string, o Options, f func(*Listed) error) error {
	first, err := Open(host+"/any:tag", o)
	if err != nil {
		return err
	}
	if len(repositories) == 0 {
		if repositories, err = first.catalog(ctx); err != nil {
			return err
		}
	}
	total := 0
	for _, repository := range repositories {
		r, err := Open(host+"/"+repository+":tag", o)
		if err != nil {
			return err
		}
		tags, err := r.tags(ctx)
		if err != nil {
			return err
		}
		if total += len(tags); total > MaxTags {
			return fmt.Errorf("%s: %w: more than %d tags", host, ErrTooMuch, MaxTags)
		}
		for group := range slices.Chunk(tags, 16*listWorkers) {
			if err := r.listed(ctx, group, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// listed reads a group of tags, several at a time.
func (r *Registry) listed(ctx context.Context, tags []string, f func(*Listed) error) error {
	all := make([]*Listed, len(tags))
	var group errgroup.Group
	group.SetLimit(listWorkers)
	for i, tag := range tags {
		group.Go(func() error {
			at := *r
			at.ref = r.ref.Context().Tag(tag)
			one := &Listed{Repository: r.Repository(), Tag: tag}
			one.Form, one.Artifacts, one.Err = at.form(ctx)
			all[i] = one
			return nil
		})
	}
	_ = group.Wait() // no error is returned
	for _, one := range all {
		if one.Err != nil && ended(ctx, one.Err) {
			return one.Err
		}
		if err := f(one); err != nil {
			return err
		}
	}
	return nil
}

// attachmentTag matches the tags under which evidence is kept: those of cosign,
// and of registries without the referrers API.
var attachmentTag = regexp.MustCompile(`^sha256-[0-9a-f]{64}(\.(sig|att|sbom))?$`)

// form returns what the reference names.
func (r *Registry) form(ctx context.Context) (Form, []*Artifact, error) {
	m, err := r.manifest(ctx, r.ref)
	if err == nil && m == nil {
		err = ErrNotFound
	}
	if err != nil {
		return "", nil, err
	}
	named := attachmentTag.MatchString(r.ref.Identifier())
	if m.MediaType.IsIndex() {
		attached, err := r.listsAttachments(ctx, m, named)
		if err != nil || attached {
			return FormAttachment, nil, err
		}
	} else if attaches(m.Raw, named) {
		return FormAttachment, nil, nil
	}
	all, err := r.Artifacts(ctx)
	switch {
	case err != nil:
		return "", nil, err
	case all[0].Chart != nil:
		return FormChart, all, nil
	case m.MediaType.IsIndex() || isImage(m.Raw):
		return FormImage, all, nil
	}
	return FormOther, all, nil
}

// attaches reports whether a manifest is evidence about another artifact: it
// has a subject, or such a tag, and documents only. Neither proves anything: a
// runtime ignores both.
func attaches(raw []byte, named bool) bool {
	d, err := parse(raw)
	if err != nil || !named && d.Subject.Digest == "" {
		return false
	}
	return d.Config.MediaType != mediaTypeChartConfig && !slices.ContainsFunc(d.Layers, func(l descriptor) bool { return !isDocument(string(l.MediaType)) })
}

// listsAttachments reports whether an index lists the referrers of another
// manifest, and nothing else.
func (r *Registry) listsAttachments(ctx context.Context, m *manifest, named bool) (bool, error) {
	d, err := parse(m.Raw)
	if err != nil {
		return false, fmt.Errorf("index %s: %w", m.Digest, err)
	}
	if !named {
		return false, nil
	}
	if len(d.Manifests) > MaxAttestations {
		return false, fmt.Errorf("index %s: %w: more than %d manifests", m.Digest, ErrTooMuch, MaxAttestations)
	}
	for _, below := range d.Manifests {
		one, err := r.manifest(ctx, r.ref.Context().Digest(string(below.Digest)))
		if err == nil && one == nil {
			err = fmt.Errorf("index %s: the registry does not have its manifest %s", m.Digest, below.Digest)
		}
		if err != nil {
			return false, err
		}
		if one.MediaType.IsIndex() || !attaches(one.Raw, false) {
			return false, nil
		}
	}
	return true, nil
}

// documentType matches the media types of evidence. Nothing of these can be
// run, as file systems and WebAssembly modules can.
var documentType = regexp.MustCompile(`^(text/[^;]+|application/(.+\+)?(json|xml|yaml|cbor|cose|jose|pgp-signature|pkcs7-signature|pkcs7-mime|timestamp-reply))(;.*)?$`)

func isDocument(mediaType string) bool { return documentType.MatchString(strings.ToLower(mediaType)) }

// isFilesystem reports whether a layer is part of a file system.
func isFilesystem(mediaType string) bool { return strings.Contains(mediaType, "tar") }

func isImage(raw []byte) bool {
	d, err := parse(raw)
	if err != nil {
		return true // what cannot be read may run
	}
	config := string(d.Config.MediaType)
	return strings.HasPrefix(config, "application/vnd.oci.image.config.") || strings.HasPrefix(config, "application/vnd.docker.container.image.") ||
		slices.ContainsFunc(d.Layers, func(l descriptor) bool { return isFilesystem(string(l.MediaType)) })
}

// catalog returns the repositories of the registry.
func (r *Registry) catalog(ctx context.Context) (all []string, err error) {
	host := r.ref.Context().Registry
	pages, err := r.puller.Catalogger(withBound(ctx, MaxManifest), host)
	for page := 0; err == nil && pages.HasNext(); page++ {
		if page == maxListPages {
			return nil, fmt.Errorf("%s: %w: more than %d pages of repositories", host, ErrTooMuch, maxListPages)
		}
		list, next := pages.Next(withBound(ctx, MaxManifest))
		if err = next; err != nil {
			break
		}
		if all = append(all, list.Repos...); len(all) > MaxRepositories {
			return nil, fmt.Errorf("%s: %w: more than %d repositories", host, ErrTooMuch, MaxRepositories)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list the repositories of %s: %w", host, answered(err))
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("list the repositories of %s: %w", host, errNothingListed)
	}
	return all, nil
}

var errNothingListed = errors.New("the registry lists none to this user: log in, or name repositories")

// tags returns the tags of the reference's repository.
func (r *Registry) tags(ctx context.Context) (all []string, err error) {
	repository := r.ref.Context()
	pages, err := r.puller.Lister(withBound(ctx, MaxManifest), repository)
	for page := 0; err == nil && pages.HasNext(); page++ {
		if page == maxListPages {
			return nil, fmt.Errorf("%s: %w: more than %d pages of tags", repository, ErrTooMuch, maxListPages)
		}
		list, next := pages.Next(withBound(ctx, MaxManifest))
		if err = next; err != nil {
			break
		}
		if all = append(all, list.Tags...); len(all) > MaxTags {
			return nil, fmt.Errorf("%s: %w: more than %d tags", repository, ErrTooMuch, MaxTags)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list the tags of %s: %w", repository, answered(err))
	}
	for _, tag := range all {
		if _, err := name.NewTag(repository.Name() + ":" + tag); err != nil {
			return nil, fmt.Errorf("%s: the registry lists the tag %.100q, which is not one", repository, tag)
		}
	}
	return all, nil
}

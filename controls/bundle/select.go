package bundle

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
)

// selectArtifacts determines the artifacts that the bundle is about.
func (c *creation) selectArtifacts(ctx context.Context) error {
	r, m := c.request, &c.manifest
	switch {
	case r.Release != "" && len(r.Artifacts) > 0:
		return fmt.Errorf("%w clearly: select either a release or artifacts", ErrSelection)
	case r.Previous != "" && r.Previous == r.Release:
		return fmt.Errorf("%w to compare with: the previous release must have another name than the release", ErrSelection)
	case r.Incident != "" && (r.Release != "" || r.Previous != "" || len(r.Artifacts) > 0 || !r.Since.IsZero()):
		return fmt.Errorf("%w clearly: select an incident alone", ErrSelection)
	case r.Release == "" && len(r.Artifacts) == 0 && r.Since.IsZero() && r.Incident == "":
		return fmt.Errorf("%w: select a release, artifacts, a time, or an incident", ErrSelection)
	}
	m.Selection = bundlefile.Selection{Release: r.Release, Since: !r.Since.IsZero(), Previous: r.Previous, Incident: r.Incident}
	for i := range r.Artifacts {
		m.Artifacts = append(m.Artifacts, manifestArtifact(&r.Artifacts[i]))
		m.Selection.Subjects = append(m.Selection.Subjects, digestsOf(r.Artifacts[i].Digest)...)
	}
	if !r.Since.IsZero() {
		ms := uint64(max(0, r.Since.UnixMilli()))
		m.Since = &ms
	}
	var err error
	if m.Artifacts, m.Since, err = c.reporting.choose(ctx); err != nil {
		return err
	}
	if n := len(m.Artifacts); n > bundlefile.MaxArtifacts {
		return fmt.Errorf("%w that a bundle can hold: %d artifacts, more than %d", ErrSelection, n, bundlefile.MaxArtifacts)
	}
	return nil
}

// choose determines the artifacts and the time of the manifest that follow from
// its selection, and those that the reports are about.
func (p *reporting) choose(ctx context.Context) (artifacts []bundlefile.Artifact, since *uint64, err error) {
	sel := &p.manifest.Selection
	artifacts = p.manifest.Artifacts
	if sel.Release != "" {
		found, _, err := p.release(ctx, sel.Release)
		if err != nil {
			return nil, nil, err
		}
		artifacts = nil
		for i := range found {
			artifacts = append(artifacts, manifestArtifact(&found[i]))
		}
	}
	if sel.Since {
		since = p.manifest.Since
	}
	if sel.Previous != "" {
		found, at, err := p.release(ctx, sel.Previous)
		if err != nil {
			return nil, nil, err
		}
		p.previous = found
		if since == nil && len(artifacts) > 0 {
			ms := uint64(max(0, at.UnixMilli()))
			since = &ms
		}
	}
	p.artifacts = nil
	for i := range artifacts {
		p.artifacts = append(p.artifacts, artifactOf(&artifacts[i]))
	}
	return artifacts, since, nil
}

// artifactOf returns an artifact of a manifest.
func artifactOf(a *bundlefile.Artifact) decide.Artifact {
	out := decide.Artifact{Subject: evaluate.Subject{Type: a.Type, Name: a.Name, Digest: a.Digest}}
	for _, p := range a.Parts {
		out.Parts = append(out.Parts, evaluate.Part{Name: p.Name, Digest: p.Digest})
	}
	return out
}

func manifestArtifact(a *decide.Artifact) bundlefile.Artifact {
	out := bundlefile.Artifact{Name: a.Name, Type: a.Type, Digest: a.Digest}
	for _, p := range a.Parts {
		out.Parts = append(out.Parts, bundlefile.Part{Name: p.Name, Digest: p.Digest})
	}
	return out
}

// digestsOf returns the digests of a set in canonical form, sorted.
func digestsOf(set map[string]string) (all []string) {
	for alg, value := range set {
		all = append(all, entry.CanonicalDigest(alg, value).String())
	}
	slices.Sort(all)
	return all
}

// release returns the artifacts of a release, and the time of the last of its
// inventories.
func (p *reporting) release(ctx context.Context, name string) ([]decide.Artifact, time.Time, error) {
	wrong := func(err error) error { return fmt.Errorf("release %q: %w", name, err) }
	var at time.Time
	observations, err := p.inventories.Release(ctx, p.stream, p.manifest.Size, name)
	if err != nil {
		return nil, at, wrong(err)
	}
	var entries []*ledger.Entry
	for _, o := range observations {
		for _, index := range o.Entries {
			e, err := p.log.Entry(ctx, p.stream, index)
			if err != nil {
				return nil, at, wrong(err)
			}
			entries = append(entries, e)
		}
		if o.Recorded.After(at) {
			at = o.Recorded
		}
	}
	found, err := p.artifactsIn(ctx, entries)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%w: its inventory lists no artifacts", ErrSelection)
	}
	if err != nil {
		return nil, at, wrong(err)
	}
	return found, at, nil
}

// artifactsIn returns the artifacts that the entries of an inventory list, each
// once, sorted by name and digest.
func (p *reporting) artifactsIn(ctx context.Context, entries []*ledger.Entry) ([]decide.Artifact, error) {
	byKey := map[string]*decide.Artifact{}
	for _, e := range entries {
		payload, err := p.log.Payload(ctx, e)
		switch {
		case err != nil:
			return nil, err
		case payload == nil:
			return nil, fmt.Errorf("its inventory (entry %d) was %w", e.Index, ledger.ErrErased)
		}
		m := &munimentv1.Inventory{}
		if err := protojson.Unmarshal(payload.Content, m); err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.Index, plain.DecodeError(err))
		}
		for _, item := range m.Items {
			a := &decide.Artifact{Subject: evaluate.Subject{Type: cmp.Or(item.Type, artifact.Image), Name: item.Artifact.GetName(), Digest: item.Artifact.GetDigest()}}
			for _, p := range item.Parts {
				a.Parts = append(a.Parts, evaluate.Part{Name: p.Platform, Digest: p.Digest})
			}
			key := fmt.Sprintf("%s\n%s\n%s", a.Name, a.Type, digestsOf(a.Digest))
			if known := byKey[key]; known == nil || len(known.Parts) == 0 {
				byKey[key] = a
			}
		}
	}
	all := make([]decide.Artifact, 0, len(byKey))
	for _, key := range sortedKeys(byKey) {
		all = append(all, *byKey[key])
	}
	return all, nil
}

package decide

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/baseline"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/oci"
)

type baselineExplainCmd struct {
	Images   []string `arg:"" name:"image" help:"Images in registries: HOST/NAME:TAG or HOST/NAME@sha256:…."`
	Baseline string   `help:"Baseline file." default:"baselines.yaml" placeholder:"FILE" predictor:"file"`
	NoLedger bool     `help:"Do not ask the ledger for provenance."`
	remote.Flags
	remote.RegistryFlags
	JSON bool `help:"Print one JSON object for each image."`
}

func (baselineExplainCmd) Help() string {
	return `Finds what images are built on, and whether the baseline allows it. There are three sources: the images among the materials of verified provenance in the
ledger; the annotation or label org.opencontainers.image.base.digest; and the layers, by comparing the digests of their uncompressed contents with those of the
baseline's images. Sources that contradict each other are reported. An annotation alone proves nothing, and squashed layers match no base: the command then
could not decide. An index is examined platform by platform.

Gates do not use this command: they enforce a baseline from the ledger alone, by the control that 'muniment baseline control' prints.

Exit code: 0 every base is allowed; 1 a base is not allowed; 2 could not decide, or no answer.

Examples:
  muniment baseline explain registry.example.com/app:1.7.0
  muniment baseline explain registry.example.com/app@sha256:2cf24dba… --baseline deploy/baselines.yaml --json`
}

// An explainedImage is the result for one image. Its JSON is stable.
type explainedImage struct {
	Reference string           `json:"reference"`
	Outcome   string           `json:"outcome"` // as in BaseOutcome
	Bases     []*baseline.Base `json:"platforms"`
	Unread    []string         `json:"unread,omitempty"` // candidates that are gone
}

func (c *baselineExplainCmd) Run(a *term.App) error {
	f, err := readBaseline(c.Baseline)
	if err != nil {
		return err
	}
	x := &explainer{lookup: &lookup{RegistryFlags: &c.RegistryFlags, file: f}, listed: map[string][]*oci.Image{}}
	if !c.NoLedger {
		if x.client, err = c.Client(nil, nil); err != nil {
			return fmt.Errorf("%w, or use --no-ledger", err)
		}
	}
	no, undecided := false, false
	for _, reference := range c.Images {
		out, err := x.explain(a, reference)
		if err != nil {
			return err
		}
		if c.JSON {
			err = term.WriteJSON(a.Stdout, out)
		} else {
			_, err = io.WriteString(a.Stdout, out.Text())
		}
		if err != nil {
			return err
		}
		no = no || out.Outcome == notAllowed
		undecided = undecided || out.Outcome == outcomeUndecided
	}
	switch {
	case no:
		return term.ExitWith(term.ExitNo, nil)
	case undecided:
		return term.ExitWith(term.ExitFailed, nil)
	}
	return nil
}

// Outcomes for an image, besides undecided.
const (
	allowed    = "allowed"
	notAllowed = "not-allowed"
)

// An explainer finds the bases of images.
type explainer struct {
	*lookup
	client *muniment.Client        // nil: without provenance
	listed map[string][]*oci.Image // images of the baseline, by their references
	unread []string                // of those
}

func (x *explainer) explain(a *term.App, reference string) (*explainedImage, error) {
	r, err := x.Open(reference)
	if err != nil {
		return nil, err
	}
	images, err := r.Images(a.Ctx, nil)
	if err != nil {
		return nil, err
	}
	if err := x.readListed(a); err != nil {
		return nil, fmt.Errorf("could not decide: %w", err)
	}
	out := &explainedImage{Reference: reference, Bases: []*baseline.Base{}, Unread: x.unread}
	for _, image := range images {
		base, err := x.base(a.Ctx, r.Repository(), image)
		if err != nil {
			return nil, err
		}
		out.Bases = append(out.Bases, base)
	}
	out.Outcome = outcomeUndecided
	switch ok, decided := baseline.BaseOutcome(out.Bases); {
	case ok:
		out.Outcome = allowed
	case decided:
		out.Outcome = notAllowed
	}
	return out, nil
}

// readListed reads the images of the baseline, once. Of one that cannot be read
// the layers are not known, so nothing can be decided.
func (x *explainer) readListed(a *term.App) error {
	if len(x.listed) > 0 {
		return nil
	}
	return x.each(a, "read", func(ctx context.Context, _ int, i *baseline.Image) error {
		r, err := x.Open(pinned(i))
		if err != nil {
			return err
		}
		images, err := r.Images(ctx, nil)
		x.mu.Lock()
		defer x.mu.Unlock()
		if errors.Is(err, oci.ErrNotFound) {
			x.unread = append(x.unread, pinned(i))
			err = nil
		}
		x.listed[i.Reference] = images
		return err
	})
}

func (x *explainer) base(ctx context.Context, repository string, image *oci.Image) (*baseline.Base, error) {
	q := &baseline.Question{Image: image, File: x.file, Now: time.Now()}
	for _, i := range x.file.Images {
		for _, c := range x.listed[i.Reference] {
			if c.Runs(image) {
				q.Candidates = append(q.Candidates, &baseline.Candidate{Image: c, Reference: i.Reference})
			}
		}
	}
	var err error
	if x.client != nil {
		if q.Materials, err = x.materials(ctx, image); err != nil {
			return nil, err
		}
	}
	for _, named := range x.named(repository, image, q.Materials) {
		found, err := x.candidates(ctx, named, image)
		if err != nil {
			return nil, err
		}
		q.Candidates = append(q.Candidates, found...)
	}
	return q.Base(), nil
}

// maxNamed is the number of images, named by other sources, whose layers are
// compared.
const maxNamed = 16

// named returns the references of images that the annotation and the provenance
// name, at registries that the image or the baseline names. What others name
// must not direct this program to any host.
func (x *explainer) named(repository string, image *oci.Image, materials []baseline.Material) (all []string) {
	trusted := map[string]bool{hostOf(repository): true}
	listed := map[string]bool{}
	for _, i := range x.file.Images {
		trusted[hostOf(i.Reference)], listed[i.Digest] = true, true
	}
	add := func(name, digest string) {
		reference := name + "@" + digest
		if name != "" && trusted[hostOf(name)] && !listed[digest] && len(all) < maxNamed && !slices.Contains(all, reference) {
			all = append(all, reference)
		}
	}
	for _, from := range []map[string]string{image.Annotations, image.Labels} {
		name, _, _ := strings.Cut(from[baseline.AnnotationBaseName], "@")
		if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
			name = name[:i]
		}
		if digest := from[baseline.AnnotationBaseDigest]; digest != "" {
			add(name, digest)
		}
	}
	for _, m := range materials {
		add(repositoryOf(m.URI), m.Digest)
	}
	return all
}

func hostOf(reference string) string {
	host, _, _ := strings.Cut(reference, "/")
	return host
}

// repositoryOf returns the repository that the URI of a material names, with
// its host, or "".
func repositoryOf(uri string) string {
	_, name, _ := strings.Cut(uri, ":")
	if rest, ok := strings.CutPrefix(uri, "pkg:"); ok {
		_, name, _ = strings.Cut(rest, "/")
		name, query, _ := strings.Cut(name, "?")
		if v, err := url.ParseQuery(query); err == nil && v.Get("repository_url") != "" {
			return v.Get("repository_url")
		}
		name, _, _ = strings.Cut(name, "@")
		if name, err := url.PathUnescape(name); err == nil {
			return hosted(name)
		}
		return ""
	}
	name, _, _ = strings.Cut(strings.TrimPrefix(name, "//"), "@")
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name = name[:i]
	}
	return hosted(name)
}

// hosted adds the host that Docker leaves out.
func hosted(name string) string {
	host, _, path := strings.Cut(name, "/")
	switch {
	case !path:
		return "docker.io/library/" + name
	case !strings.ContainsAny(host, ".:") && host != "localhost":
		return "docker.io/" + name
	}
	return name
}

// candidates reads an image that another source names. One that the registry
// does not have is no candidate.
func (x *explainer) candidates(ctx context.Context, reference string, image *oci.Image) ([]*baseline.Candidate, error) {
	r, err := x.Open(reference)
	if err != nil {
		return nil, nil //nolint:nilerr // what others name can be malformed
	}
	found, err := r.Images(ctx, nil)
	if err != nil {
		return nil, ctx.Err()
	}
	var all []*baseline.Candidate
	for _, c := range found {
		if c.Runs(image) {
			all = append(all, &baseline.Candidate{Image: c})
		}
	}
	return all, nil
}

// maxProvenance is the number of entries about an image that are read.
const maxProvenance = 100

// materials returns the images among the materials of verified provenance.
func (x *explainer) materials(ctx context.Context, image *oci.Image) (all []baseline.Material, err error) {
	for _, digest := range []string{image.Digest, image.Index} {
		if digest == "" {
			continue
		}
		entries, more, err := source{x.client}.Entries(ctx, &munimentv1.Filter{Subject: digest}, maxProvenance)
		if err != nil {
			return nil, err
		}
		if more {
			return nil, fmt.Errorf("more than %d entries are about %s: could not decide", maxProvenance, digest)
		}
		for _, e := range entries {
			if e.Verification != entry.Verified || intoto.CategoryOf(e.PredicateType) != intoto.BuiltBy {
				continue
			}
			if len(e.Materials) >= intoto.MaxMaterials {
				return nil, connect.NewError(connect.CodeOutOfRange, fmt.Errorf("the provenance in entry %d has too many materials to decide", e.Index))
			}
			var materials []entry.Subject
			for _, m := range e.Materials {
				materials = append(materials, entry.Subject{Name: m.Name, Digest: m.Digest})
			}
			all = append(all, baseline.Materials(e.Index, materials)...)
		}
	}
	return all, nil
}

// explainMarks are the marks of outcomes.
var explainMarks = map[string]string{allowed: "✓ ALLOWED", notAllowed: "✗ NOT ALLOWED", outcomeUndecided: "? COULD NOT DECIDE"}

// Text returns the result for people.
func (i *explainedImage) Text() string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "  %-12s%s\n", label, term.Quoted(strings.TrimSpace(fmt.Sprintf(format, args...))))
	}
	fmt.Fprintf(&b, "%s  %s\n", explainMarks[i.Outcome], term.Quoted(i.Reference))
	for _, base := range i.Bases {
		line("image", "%s %s", base.Image, base.Platform)
		if base.Digest != "" {
			line("base", "%s %s", base.Digest, strings.Join(base.Listed, ", "))
		} else {
			line("base", "%s", base.Result)
		}
		line("reason", "%s", base.Reason)
		if base.Allowed != nil && !*base.Allowed && len(base.Listed) == 0 {
			line("", "the baseline does not list it")
		}
		for _, s := range base.Sources {
			line(s.Source, "%s %s: %s", s.Digest, s.Name, s.Text)
		}
	}
	for _, u := range i.Unread {
		line("unread", "%s: the registry does not have it", u)
	}
	return b.String()
}

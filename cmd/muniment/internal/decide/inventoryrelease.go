package decide

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/inventory"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/strictyaml"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

type inventoryReleaseCmd struct {
	Manifest string `arg:"" help:"Manifest of the release, in YAML or JSON." predictor:"file"`
	recordFlags
	Offline bool `help:"Do not contact registries: references must contain digests, and the platforms of an index are not listed."`
	remote.RegistryFlags
}

func (inventoryReleaseCmd) Help() string {
	return `The manifest lists what the release consists of. Paths are relative to its folder, can be globs, and must match a file:

  name: shop
  version: 1.7.0
  artifacts:
    - image: registry.example.com/shop/web:1.7.0
    - chart: dist/*.tgz
    - chart: oci://registry.example.com/charts/web:1.7.0
    - delta: out/*.delta
    - export-manifest: exports/*.json
    - file: dist/shop.tar.xz
    - {image: registry.example.com/shop/base, digest: "sha256:2cf24dba…"}

A file must be of the type under which it is listed. Of an index each platform must be attested, and of a chart in a registry its archive.

The version is recorded with the inventory, so that muniment bundle create --release finds each version that was recorded: by the version, or by name and version.
Coverage counts the newest version only: without --source the inventory is named after the release, and replaces the last one of its environment.

Exit code: 0 recorded; 1 refused; 2 the manifest, a file, a registry or the server failed.

Examples:
  muniment inventory release release.yaml --environment production/eu
  muniment bundle create --release "shop 1.7.0" --previous "shop 1.6.0" -o shop.bundle.tar`
}

// Bounds of a release manifest.
const (
	maxReleaseBytes = 4 << 20
	maxListed       = 10_000 // artifacts in the manifest
)

// A release is a manifest.
type release struct {
	name, version string
	artifacts     []releaseArtifact
}

// A releaseArtifact is one row of a manifest.
type releaseArtifact struct {
	typ, value, digest string
	line               int
}

func (c *inventoryReleaseCmd) Run(a *term.App) error {
	text, err := bounded.ReadFile(c.Manifest, maxReleaseBytes)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: no such file", c.Manifest)
	}
	if err != nil {
		return err
	}
	r, err := parseRelease(text)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Manifest, err)
	}
	var client *muniment.Client
	if !c.DryRun {
		if client, err = c.Client(nil, nil); err != nil {
			return err
		}
	}
	if c.Source == "" {
		c.Source = inventory.ReleaseSource(r.name)
	}
	o := &observed{scope: scopeExists, release: r.name, version: r.version, at: time.Now()}
	resolver := &resolver{flags: &subjectFlags{Offline: c.Offline, RegistryFlags: c.RegistryFlags}, app: a, byRef: map[[2]string]*subject{}}
	for i := range r.artifacts {
		one := &r.artifacts[i]
		if err := c.resolve(resolver, one); err != nil {
			return fmt.Errorf("%s: line %d: %w", c.Manifest, one.line, err)
		}
	}
	for _, s := range resolver.subjects {
		item := &munimentv1.InventoryItem{Type: s.Type, Artifact: s.Artifact}
		for _, p := range s.Parts {
			item.Parts = append(item.Parts, &munimentv1.InventoryPart{Digest: p.Digest, Platform: p.Platform})
		}
		o.items = append(o.items, item)
	}
	o.notes = append(o.notes, strings.TrimSpace("release "+r.name+" "+r.version))
	report, err := c.record(a.Ctx, client, o)
	if err != nil {
		return err
	}
	return c.Print(a, report)
}

// resolve adds what a row stands for to the resolver's subjects.
func (c *inventoryReleaseCmd) resolve(r *resolver, one *releaseArtifact) error {
	if one.digest != "" {
		d, err := entry.ParseDigest(one.digest)
		if err != nil {
			return fmt.Errorf("digest: %w", err)
		}
		r.add(one.typ, one.value, digestOf(d.String()))
		return nil
	}
	if one.typ == artifact.Image || one.typ == artifact.Chart && strings.HasPrefix(one.value, "oci://") {
		s, err := r.lookUp(r.app.Ctx, one.typ, one.value)
		if err == nil && one.typ == artifact.Chart && !c.Offline && !isChart(s) {
			err = fmt.Errorf("%s is not a chart", one.value)
		}
		return err
	}
	pattern := one.value
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(c.Manifest), pattern)
	}
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return fmt.Errorf("%s: %w", one.value, err)
	}
	if len(paths) == 0 {
		return fmt.Errorf("%s: no such file", one.value)
	}
	for _, path := range paths {
		if err := checkType(path, one.typ); err != nil {
			return err
		}
		r.flags.Type = one.typ
		if err := r.file(path); err != nil {
			return err
		}
	}
	return nil
}

// isChart reports whether a subject in a registry has a chart's archive.
func isChart(s *subject) bool {
	return slices.ContainsFunc(s.Parts, func(p *munimentv1.GatePart) bool { return p.Platform == archivePart })
}

// checkType returns an error unless the file is of the type. Controls about
// files of another type would not apply to it.
func checkType(path, typ string) error {
	f, err := interrupt.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return fmt.Errorf("%s: a folder: list its files", path)
	}
	head := make([]byte, maxHead+1)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", path, err)
	}
	got, err := typeOf(f, head[:n])
	if err == nil && got != typ {
		err = fmt.Errorf("it is of type %s, and not %s", got, typ)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// parseRelease parses a release manifest.
func parseRelease(text []byte) (*release, error) {
	p := &releaseParser{Document: strictyaml.Document{Noun: "release manifest"}}
	if root := p.ParseText(text, maxReleaseBytes); root != nil {
		p.read(root)
	}
	return &p.release, p.Err()
}

type releaseParser struct {
	strictyaml.Document
	release release
}

func (p *releaseParser) read(root *yaml.Node) {
	listed := false
	p.Members(root, "", map[string]func(*yaml.Node, string){
		"name":    func(n *yaml.Node, f string) { p.release.name = p.Text(n, f) },
		"version": func(n *yaml.Node, f string) { p.release.version = p.Text(n, f) },
		"artifacts": func(n *yaml.Node, f string) {
			listed = true
			p.List(n, f, maxListed, p.artifact)
			if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
				p.Wrong(n, f, "must not be empty")
			}
		},
	})
	if p.release.name == "" {
		p.Wrong(root, "name", "is required")
	}
	if !listed {
		p.Wrong(root, "artifacts", "is required")
	}
}

func (p *releaseParser) artifact(n *yaml.Node, field string) {
	one := releaseArtifact{line: n.Line}
	types := 0
	members := map[string]func(*yaml.Node, string){"digest": func(n *yaml.Node, f string) { one.digest = p.Text(n, f) }}
	for _, typ := range artifact.Types {
		members[typ] = func(n *yaml.Node, f string) { one.typ, one.value, types = typ, p.Text(n, f), types+1 }
	}
	p.Members(n, field, members)
	switch {
	case types != 1:
		p.Wrong(n, field, "must have exactly one of %s", strings.Join(artifact.Types, ", "))
	case one.value == "":
		p.Wrong(n, strictyaml.Join(field, one.typ), "must not be empty")
	default:
		p.release.artifacts = append(p.release.artifacts, one)
	}
}

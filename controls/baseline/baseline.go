// Package baseline reads lists of allowed base images, and compares them with
// what registries and the ledger contain.
//
// docs/spec/baselines.md specifies them.
package baseline

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/go-containerregistry/pkg/name"
	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/controls/catalog"
	"muniment.dev/muniment/internal/strictyaml"
)

// Bounds of a file.
const (
	MaxSize      = 1 << 20 // bytes
	MaxImages    = 512
	maxSigners   = 64 // of a vetting
	maxVersion   = 128
	maxReason    = 1024
	maxReference = 1024
)

// A File is a valid baseline.
type File struct {
	Version string
	Signers []*catalog.Signer
	Require []*catalog.Requirement // of images without their own; can be empty
	Images  []*Image

	text []byte
}

// An Image is a base image that builds may use.
type Image struct {
	Reference string                 // REGISTRY/NAME:TAG
	Digest    string                 // in use: "sha256:" and hexadecimal digits
	Require   []*catalog.Requirement // its own; can be empty
	Vetted    *Vetted                // nil: it needs provenance

	digits int // offset of the digest's hexadecimal digits in the file
}

// A Vetted takes the place of provenance.
type Vetted struct {
	Expires time.Time
	Signers []string
	Reason  string
}

// prefix is the algorithm of digests.
const prefix = "sha256:"

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Parse parses a file. The error is a *strictyaml.Error with its problems.
func Parse(text []byte) (*File, error) {
	p := &parser{catalog.Reader{Document: &strictyaml.Document{Noun: "baseline", Columns: true}}, &File{text: text}}
	if root := p.ParseText(text, MaxSize); root != nil {
		p.read(root)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	p.check()
	if err := p.Err(); err != nil {
		return nil, err
	}
	return p.file, nil
}

type parser struct {
	catalog.Reader
	file *File
}

type member = func(n *yaml.Node, field string)

func (p *parser) read(root *yaml.Node) {
	f := p.file
	images := false
	p.Members(root, "", map[string]member{
		"version": func(n *yaml.Node, field string) { f.Version = p.short(n, field, maxVersion) },
		"signers": func(n *yaml.Node, field string) { f.Signers = p.Signers(n, field) },
		"require": func(n *yaml.Node, field string) { f.Require = p.Requirements(n, field) },
		"images": func(n *yaml.Node, field string) {
			images = true
			p.List(n, field, MaxImages, p.image)
		},
	})
	p.required(root, "version", f.Version != "")
	p.required(root, "signers", len(f.Signers) > 0)
	p.required(root, "images", images)
}

// required reports a member that is absent, unless there is a problem already.
func (p *parser) required(n *yaml.Node, field string, present bool) {
	if !present && len(p.Problems) == 0 {
		p.Wrong(n, field, "missing")
	}
}

// short reads a string of limited length in characters.
func (p *parser) short(n *yaml.Node, field string, limit int) string {
	s := p.Text(n, field)
	if n := utf8.RuneCountInString(s); n > limit {
		p.Wrong(p.At(field), field, "%d characters, above the limit of %d", n, limit)
	}
	return s
}

func (p *parser) image(n *yaml.Node, field string) {
	i := &Image{}
	p.Members(n, field, map[string]member{
		"image":   func(n *yaml.Node, f string) { i.Reference = p.reference(n, f) },
		"digest":  func(n *yaml.Node, f string) { p.digest(i, n, f) },
		"require": func(n *yaml.Node, f string) { i.Require = p.Requirements(n, f) },
		"vetted":  func(n *yaml.Node, f string) { i.Vetted = p.vetted(n, f) },
	})
	p.required(n, field+".image", i.Reference != "")
	p.required(n, field+".digest", i.Digest != "")
	if i.Vetted != nil && len(i.Require) > 0 {
		p.Wrong(n, field, "has require and vetted: a vetting replaces provenance, so omit one of them")
	}
	p.file.Images = append(p.file.Images, i)
}

// reference reads a reference with registry and tag.
func (p *parser) reference(n *yaml.Node, field string) string {
	s := p.Text(n, field)
	if s == "" {
		return ""
	}
	if len(s) > maxReference {
		p.Wrong(n, field, "%d bytes, above the limit of %d", len(s), maxReference)
		return ""
	}
	registry, _, _ := strings.Cut(s, "/")
	switch _, err := name.NewTag(s, name.StrictValidation); {
	case strings.Contains(s, "@"):
		p.Wrong(n, field, "must be REGISTRY/NAME:TAG: move the digest to the member digest")
	case err != nil || registry == s || !strings.ContainsAny(registry, ".:") && registry != "localhost":
		p.Wrong(n, field, "must be REGISTRY/NAME:TAG, such as registry.example.com/base:1.7 or docker.io/library/debian:13")
	default:
		return s
	}
	return ""
}

// digest reads a digest, and remembers its place. A change replaces its bytes,
// so the text of the file must be the digest itself.
func (p *parser) digest(i *Image, n *yaml.Node, field string) {
	s := p.Text(n, field)
	if s == "" {
		return
	}
	if !digestPattern.MatchString(s) {
		p.Wrong(n, field, "must be sha256: and 64 lowercase hexadecimal digits")
		return
	}
	if n.Style&yaml.TaggedStyle != 0 {
		p.Wrong(n, field, "must not have a tag such as !!str")
		return
	}
	at := p.Offset(n)
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		at++
	}
	text := p.file.text
	if at+len(s) > len(text) || string(text[at:at+len(s)]) != s {
		p.Wrong(n, field, "must be written on one line without escape sequences")
		return
	}
	i.Digest, i.digits = s, at+len(prefix)
}

func (p *parser) vetted(n *yaml.Node, field string) *Vetted {
	v := &Vetted{}
	p.Members(n, field, map[string]member{
		"expires": func(n *yaml.Node, f string) { v.Expires = p.time(n, f) },
		"signers": func(n *yaml.Node, f string) {
			v.Signers = p.Texts(n, f, maxSigners, func(string) error { return nil })
		},
		"reason": func(n *yaml.Node, f string) { v.Reason = p.short(n, f, maxReason) },
	})
	p.required(n, field+".expires", !v.Expires.IsZero())
	p.required(n, field+".signers", len(v.Signers) > 0)
	return v
}

// time reads a day or a time.
func (p *parser) time(n *yaml.Node, field string) time.Time {
	s := p.Text(n, field)
	if s == "" {
		return time.Time{}
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339Nano} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() >= 1970 {
			return t.UTC()
		}
	}
	p.Wrong(n, field, "must be a day such as 2027-02-01, or a time in RFC 3339")
	return time.Time{}
}

// check checks what depends on several members.
func (p *parser) check() {
	seen := map[string]int{}
	for i, image := range p.file.Images {
		field := fmt.Sprintf("images[%d]", i)
		tag, err := name.NewTag(image.Reference, name.StrictValidation)
		if err != nil {
			p.Wrong(p.At(field+".image"), field+".image", "%s", err)
			continue
		}
		if first, twice := seen[tag.Name()]; twice {
			p.Wrong(p.At(field+".image"), field+".image", "duplicate reference: images[%d] has it, too", first)
		}
		seen[tag.Name()] = i
		if image.Vetted == nil && len(image.Require)+len(p.file.Require) == 0 {
			p.Wrong(p.At(field), field, "needs no evidence: add require here or to the file, or list it as vetted")
		}
	}
	if len(p.Problems) > 0 {
		return
	}
	p.checkSet()
}

package catalog

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/internal/strictyaml"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Bounds of a file. Those of the entries apply, too.
const (
	maxSigners    = 256
	maxControls   = 1024
	maxItems      = 1024     // in one list
	maxDepth      = 32       // of parameters
	maxParameters = 16 << 10 // values in the parameters of a control
)

// Parse parses a file. The error is an *Error with the problems of the file.
func Parse(text []byte) (*Set, error) {
	r := &parser{Reader{&strictyaml.Document{Noun: "control set", Columns: true}}, &Set{}}
	if root := r.ParseText(text, MaxSize); root != nil {
		r.read(root)
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	for _, p := range r.set.Problems() {
		at := r.At(p.Field)
		if p.Line > 0 {
			at = r.Place(at, p.Line, p.Column)
		}
		r.Wrong(at, p.Field, "%s", p.Message)
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	return r.set, nil
}

type parser struct {
	Reader
	set *Set
}

// A Reader reads parts of control sets. Baselines contain some of them, too.
type Reader struct{ *strictyaml.Document }

type reader = func(n *yaml.Node, field string)

func (r *parser) read(root *yaml.Node) {
	s := r.set
	r.Members(root, "", map[string]reader{
		"version": r.into(&s.Version),
		"stages":  r.all(&s.Stages),
		"environments": func(n *yaml.Node, f string) {
			if r.all(&s.Environments)(n, f); n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
				r.Wrong(n, f, "must not be empty: omit it, and decisions can be about any environment")
			}
		},
		"signers":  func(n *yaml.Node, f string) { s.Signers = r.Signers(n, f) },
		"controls": func(n *yaml.Node, f string) { r.List(n, f, maxControls, r.control) },
		"valid_for": func(n *yaml.Node, f string) {
			s.ValidSeconds = r.seconds(n, f, time.Minute, 720*time.Hour)
		},
		"unknown_image_fields": r.into(&s.UnknownImageFields),
		"image_paths": func(n *yaml.Node, f string) {
			r.List(n, f, maxItems, func(n *yaml.Node, f string) {
				p := &ImagePath{}
				r.Members(n, f, map[string]reader{"api_version": r.into(&p.ApiVersion), "kind": r.into(&p.Kind), "path": r.into(&p.Path)})
				s.ImagePaths = append(s.ImagePaths, p)
			})
		},
	})
}

// Signers reads a map from names to signers.
func (r Reader) Signers(n *yaml.Node, field string) (all []*Signer) {
	r.Each(n, field, maxSigners, func(name string, _, n *yaml.Node, f string) { all = append(all, r.signer(name, n, f)) })
	return all
}

func (r Reader) signer(name string, n *yaml.Node, field string) *Signer {
	s := &Signer{Name: name}
	r.Members(n, field, map[string]reader{
		"identity":        r.into(&s.Identity),
		"identity_regexp": r.into(&s.IdentityRegexp),
		"issuer":          r.into(&s.Issuer),
		"issuer_regexp":   r.into(&s.IssuerRegexp),
		"keys":            r.all(&s.KeyIds),
		"submitters":      r.all(&s.Submitters),
	})
	return s
}

func (r *parser) control(n *yaml.Node, field string) {
	c := &Control{State: active}
	r.Members(n, field, map[string]reader{
		"id":         r.into(&c.Id),
		"title":      r.into(&c.Title),
		"text":       r.into(&c.Description),
		"frameworks": r.all(&c.Frameworks),
		"owner":      r.into(&c.Owner),
		"severity":   r.into(&c.Severity),
		"sla_days": func(n *yaml.Node, f string) {
			c.SlaDays = &munimentv1.SlaDays{}
			days := func(to **uint32) reader { return r.number(to, 0, 3650) }
			r.Members(n, f, map[string]reader{
				"critical": days(&c.SlaDays.Critical), "high": days(&c.SlaDays.High),
				"medium": days(&c.SlaDays.Medium), "low": days(&c.SlaDays.Low),
			})
		},
		"applies_to": func(n *yaml.Node, f string) {
			c.AppliesTo = &munimentv1.ControlTarget{}
			r.Members(n, f, map[string]reader{"types": r.all(&c.AppliesTo.Types), "names": r.all(&c.AppliesTo.Names)})
		},
		"check": func(n *yaml.Node, f string) {
			c.Check = &Check{}
			r.Members(n, f, map[string]reader{
				"require":   func(n *yaml.Node, f string) { c.Check.Require = r.Requirements(n, f) },
				"condition": r.into(&c.Check.Condition),
			})
		},
		"includes": r.all(&c.Includes),
		"modes":    func(n *yaml.Node, f string) { r.List(n, f, maxItems, r.mode(c)) },
		"exceptions": func(n *yaml.Node, f string) {
			c.Exceptions = &munimentv1.ExceptionRules{}
			r.Members(n, f, map[string]reader{
				"max_days":  r.number(&c.Exceptions.MaxDays, 0, 366),
				"approvers": r.number(&c.Exceptions.Approvers, 1, 8),
				"wildcard":  r.boolean(&c.Exceptions.Wildcard),
			})
		},
		"parameters": func(n *yaml.Node, f string) { c.Parameters = r.parameters(n, f) },
	})
	r.set.Controls = append(r.set.Controls, c)
}

// Requirements reads a list of requirements.
func (r Reader) Requirements(n *yaml.Node, field string) (all []*Requirement) {
	r.List(n, field, maxItems, func(n *yaml.Node, field string) {
		q := &Requirement{}
		r.Members(n, field, map[string]reader{
			"name":            r.into(&q.Name),
			"kinds":           r.all(&q.Kinds),
			"predicate_types": r.all(&q.PredicateTypes),
			"signers":         r.all(&q.Signers),
			"unsigned":        r.boolean(&q.Unsigned),
			"min_signers":     r.number(&q.MinSigners, 1, 16),
			"max_age": func(n *yaml.Node, f string) {
				age := r.seconds(n, f, time.Second, 366*24*time.Hour)
				q.MaxAgeSeconds = &age
			},
			"optional": r.boolean(&q.Optional),
		})
		all = append(all, q)
	})
	return all
}

func (r *parser) mode(of *Control) reader {
	return func(n *yaml.Node, field string) {
		m := &Mode{}
		r.Members(n, field, map[string]reader{"stage": r.into(&m.Stage), "environments": r.all(&m.Environments), "mode": r.into(&m.Mode)})
		of.Modes = append(of.Modes, m)
	}
}

func (r Reader) into(to *string) reader {
	return func(n *yaml.Node, f string) { *to = r.Text(n, f) }
}

func (r Reader) all(to *[]string) reader {
	return func(n *yaml.Node, f string) {
		*to = r.Texts(n, f, maxItems, func(string) error { return nil })
	}
}

func (r Reader) boolean(to *bool) reader {
	return func(n *yaml.Node, f string) { *to = r.Boolean(n, f) }
}

func (r Reader) number(to **uint32, low, high int) reader {
	return func(n *yaml.Node, f string) {
		v := uint32(r.Number(n, f, low, high))
		*to = &v
	}
}

// seconds reads a duration.
func (r Reader) seconds(n *yaml.Node, field string, low, high time.Duration) uint64 {
	text := r.Text(n, field)
	if text == "" {
		return 0
	}
	d, ok := duration(text)
	if !ok || d < low || d > high {
		r.Wrong(n, field, "must be a duration from %s to %s, such as 90s, 30m or 24h", written(low), written(high))
		return 0
	}
	return uint64(d / time.Second)
}

var durationPattern = regexp.MustCompile(`^([0-9]{1,9})([smh])$`)

func duration(text string) (time.Duration, bool) {
	m := durationPattern.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[m[2]]
	return time.Duration(n) * unit, err == nil && n <= math.MaxInt64/int64(unit)
}

// written returns a duration as a file has it.
func written(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "m"}} {
		if d >= unit.of && d%unit.of == 0 {
			return fmt.Sprintf("%d%s", d/unit.of, unit.name)
		}
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// parameters reads a map of any values.
func (r *parser) parameters(n *yaml.Node, field string) *structpb.Struct {
	if !r.Is(n, field, yaml.MappingNode, "a map") {
		return nil
	}
	return r.Value(n, field, maxDepth, maxParameters).GetStructValue()
}

// fieldOf returns the field of a file for a path in an entry.
func fieldOf(path string) string {
	parts := strings.Split(path, ".")
	for i, p := range parts {
		name, index, _ := strings.Cut(p, "[")
		if i := slices.IndexFunc(renamed, func(r [2]string) bool { return r[0] == name }); i >= 0 {
			name = renamed[i][1]
		}
		if index != "" {
			name += "[" + index
		}
		parts[i] = name
	}
	return strings.Join(parts, ".")
}

// renamed has the names of members that differ between entries and files.
var renamed = [][2]string{
	{"description", "text"}, {"key_ids", "keys"}, {"max_age_seconds", "max_age"}, {"valid_seconds", "valid_for"},
}

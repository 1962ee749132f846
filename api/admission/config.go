package admission

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/glob"
	"muniment.dev/muniment/internal/identity"
	"muniment.dev/muniment/internal/publicaddr"
	"muniment.dev/muniment/internal/strictyaml"
)

// MaxConfig is the size limit of admission.yaml in bytes.
const MaxConfig = 1 << 20

// A Mode is what becomes of a Pod with an image that may not run.
type Mode string

// The modes.
const (
	Enforce Mode = "enforce" // it is denied
	Warn    Mode = "warn"    // its creator is warned
	Audit   Mode = "audit"   // it is only counted, and noted in the audit log
)

// A Config is the content of admission.yaml.
type Config struct {
	Namespaces []Row
	Registry   RegistryConfig
	Persons    []PersonRow
}

// A PersonRow maps users of the cluster to persons.
type PersonRow struct {
	User   string // name of one user
	Person string // in the form of a submitter
	Prefix string // of the names of users. The rest is the subject of the issuer
	Issuer string
}

// Person returns the person that a user of the cluster is, in the form of a
// submitter, or "" if no row names one. The first matching row counts. Without
// any, ISSUER#SUBJECT is a person, as API servers name users by default.
func (c *Config) Person(user string) string {
	for _, r := range c.Persons {
		if r.User != "" && r.User == user {
			return r.Person
		}
		if subject, ok := strings.CutPrefix(user, r.Prefix); r.Prefix != "" && ok && subject != "" {
			return "oidc:" + r.Issuer + "#" + subject
		}
	}
	if strings.HasPrefix(user, "https://") && identity.Person("oidc:"+user) != "" {
		return "oidc:" + user
	}
	return ""
}

// RegistryConfig is how registries are reached, which resolve tags.
type RegistryConfig struct {
	PlainHTTP      bool
	AllowAddresses []string
}

// A Row maps namespaces to an environment.
type Row struct {
	Names       []string // globs
	Stage       string
	Environment string // can contain {namespace}
	Mode        Mode
	Resolve     bool // tags: they are resolved, instead of refused
	WarnStale   bool // beyond the largest age: warn, instead of denying
}

// placeholder stands for the name of the namespace.
const placeholder = "{namespace}"

// Row returns the row of a namespace with its environment, or nil if it has
// none.
func (c *Config) Row(namespace string) *Row {
	for i := range c.Namespaces {
		for _, name := range c.Namespaces[i].Names {
			if glob.Match(name, namespace) {
				row := c.Namespaces[i]
				row.Environment = strings.ReplaceAll(row.Environment, placeholder, namespace)
				return &row
			}
		}
	}
	return nil
}

const (
	maxRows  = 1000
	maxNames = 256
	maxText  = 256
)

// ParseConfig reads admission.yaml. An error lists all problems, each with its
// line and column.
func ParseConfig(text []byte) (*Config, error) {
	p := &configParser{doc: &strictyaml.Document{Noun: "configuration", Columns: true}, config: &Config{}}
	root := p.doc.Parse(text)
	if root == nil {
		return nil, p.doc.Err()
	}
	version, stage := 0, ""
	p.doc.Members(root, "", map[string]func(*yaml.Node, string){
		"version":    func(n *yaml.Node, f string) { version = p.doc.Number(n, f, 1, 1) },
		"stage":      func(n *yaml.Node, f string) { stage = p.stage(n, f) },
		"namespaces": func(n *yaml.Node, f string) { p.doc.List(n, f, maxRows, p.row) },
		"registry":   p.registry,
		"persons":    func(n *yaml.Node, f string) { p.doc.List(n, f, maxRows, p.person) },
	})
	if version == 0 && root.Kind == yaml.MappingNode {
		p.doc.Wrong(root, "version", "is required: must be 1")
	}
	if len(p.config.Namespaces) == 0 && len(p.doc.Problems) == 0 {
		p.doc.Wrong(root, "namespaces", "is required: without a row every Pod is denied")
	}
	for i := range p.config.Namespaces {
		r := &p.config.Namespaces[i]
		if r.Stage == "" {
			r.Stage = stage
		}
		if r.Stage == "" && len(p.doc.Problems) == 0 {
			field := fmt.Sprintf("namespaces[%d]", i)
			p.doc.Wrong(p.doc.At(field), field, "has no stage: set stage here, or for all rows")
		}
	}
	if err := p.doc.Err(); err != nil {
		return nil, err
	}
	return p.config, nil
}

type configParser struct {
	doc    *strictyaml.Document
	config *Config
}

func (p *configParser) stage(n *yaml.Node, f string) string {
	s := p.doc.Text(n, f)
	if s != "" && !evaluate.StageName.MatchString(s) {
		p.doc.Wrong(n, f, "must be 1 to 64 lowercase letters, digits and hyphens")
	}
	return s
}

func (p *configParser) row(n *yaml.Node, field string) {
	r := Row{Mode: Enforce}
	p.doc.Members(n, field, map[string]func(*yaml.Node, string){
		"names": func(n *yaml.Node, f string) { r.Names = p.doc.Texts(n, f, maxNames, glob.Check) },
		"stage": func(n *yaml.Node, f string) { r.Stage = p.stage(n, f) },
		"environment": func(n *yaml.Node, f string) {
			r.Environment = p.doc.Text(n, f)
			if len([]rune(r.Environment)) > maxText-63+len(placeholder) {
				p.doc.Wrong(n, f, "must be at most %d characters", maxText-63+len(placeholder))
			}
			if strings.ContainsAny(strings.ReplaceAll(r.Environment, placeholder, ""), "*{}") {
				p.doc.Wrong(n, f, "must be one environment, in which %s can stand for the name of the namespace", placeholder)
			}
		},
		"mode":  func(n *yaml.Node, f string) { r.Mode = Mode(p.one(n, f, string(Enforce), string(Warn), string(Audit))) },
		"tags":  func(n *yaml.Node, f string) { r.Resolve = p.one(n, f, "refuse", "resolve") == "resolve" },
		"stale": func(n *yaml.Node, f string) { r.WarnStale = p.one(n, f, "deny", "warn") == "warn" },
	})
	if len(r.Names) == 0 && n.Kind == yaml.MappingNode {
		p.doc.Wrong(n, field, "has no names: add names: [NAMESPACE], in which * matches any characters")
	}
	p.config.Namespaces = append(p.config.Namespaces, r)
}

func (p *configParser) person(n *yaml.Node, field string) {
	var r PersonRow
	p.doc.Members(n, field, map[string]func(*yaml.Node, string){
		"user":        func(n *yaml.Node, f string) { r.User = p.doc.Text(n, f) },
		"user_prefix": func(n *yaml.Node, f string) { r.Prefix = p.doc.Text(n, f) },
		"issuer":      func(n *yaml.Node, f string) { r.Issuer = p.doc.Text(n, f) },
		"person": func(n *yaml.Node, f string) {
			if r.Person = p.doc.Text(n, f); r.Person != "" && identity.Person(r.Person) == "" {
				p.doc.Wrong(n, f, "must be a person: oidc:, the issuer, # and the subject")
			}
		},
	})
	one, many := r.User != "" && r.Person != "", r.Prefix != "" && r.Issuer != ""
	if (one == many || one && r.Prefix+r.Issuer != "" || many && r.User+r.Person != "") && n.Kind == yaml.MappingNode {
		p.doc.Wrong(n, field, "must have user and person, or user_prefix and issuer")
	}
	p.config.Persons = append(p.config.Persons, r)
}

// one reads a text that is one of several.
func (p *configParser) one(n *yaml.Node, field string, values ...string) string {
	s := p.doc.Text(n, field)
	for _, v := range values {
		if s == v {
			return s
		}
	}
	if s != "" {
		p.doc.Wrong(n, field, "must be %s or %s", strings.Join(values[:len(values)-1], ", "), values[len(values)-1])
	}
	return values[0]
}

func (p *configParser) registry(n *yaml.Node, field string) {
	c := &p.config.Registry
	p.doc.Members(n, field, map[string]func(*yaml.Node, string){
		"plain_http": func(n *yaml.Node, f string) { c.PlainHTTP = p.doc.Boolean(n, f) },
		"allow_addresses": func(n *yaml.Node, f string) {
			c.AllowAddresses = p.doc.Texts(n, f, maxNames, func(s string) error {
				_, err := publicaddr.Parse([]string{s})
				return err
			})
		},
	})
}

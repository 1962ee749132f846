package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/internal/glob"
	"muniment.dev/muniment/internal/strictyaml"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/helm"
	"muniment.dev/muniment/verifiers/sigstore"
)

// Bounds of a policy.
const (
	MaxSize    = 1 << 20 // bytes of text
	maxSigners = 256
	maxRules   = 1024
	maxItems   = 1024 // in one list
)

// DefaultRoot is the trusted root of signers that specify none.
const DefaultRoot = "public-good"

var (
	namePattern     = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9 ._-]{0,126}[a-zA-Z0-9])?$`)
	rootNamePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$`)
	digestPattern   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$`)
)

// A Problem is an error at one place of a policy.
type Problem = strictyaml.Problem

// An Error lists all problems of a policy.
type Error = strictyaml.Error

var errEmptyPolicy = errors.New("missing: a policy without rules admits nothing, so add one, such as {name: everything, unsigned: true}")

// CheckRootName returns an error if the name is not valid for a trusted root.
func CheckRootName(name string) error {
	if !rootNamePattern.MatchString(name) {
		return fmt.Errorf("invalid name %q: use 1 to 64 of the characters a-z, 0-9 and ._-, with a letter or digit at both ends", name)
	}
	return nil
}

// Parse parses a policy. Its rules can only name the given kinds. The error is
// an *Error with all problems of the policy.
func Parse(text []byte, kinds []string) (*AdmissionPolicy, error) {
	p := &AdmissionPolicy{text: slices.Clone(text), digest: Digest(text)}
	r := &parser{Document: strictyaml.Document{Noun: "policy"}, policy: p, kinds: kinds, signers: map[string]*Signer{}}
	if root := r.ParseText(text, MaxSize); root != nil {
		r.read(root)
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

type parser struct {
	strictyaml.Document
	policy  *AdmissionPolicy
	kinds   []string
	signers map[string]*Signer
	version int
	weight  int // total of the regular expressions so far
}

func (r *parser) read(root *yaml.Node) {
	var rules *yaml.Node // read after the signers, which can follow them
	r.Members(root, "", map[string]func(*yaml.Node, string){
		"version": func(n *yaml.Node, f string) { r.version = r.Number(n, f, 1, 1) },
		"mode": func(n *yaml.Node, f string) {
			if r.policy.Mode = r.Text(n, f); r.policy.Mode != "" && r.policy.Mode != Enforce && r.policy.Mode != Record {
				r.Wrong(n, f, "unknown mode %q: use enforce or record", r.policy.Mode)
			}
		},
		"signers": func(n *yaml.Node, f string) { r.Each(n, f, maxSigners, r.signer) },
		"rules":   func(n *yaml.Node, _ string) { rules = n },
	})
	if root.Kind != yaml.MappingNode {
		return
	}
	if r.version == 0 {
		r.Wrong(root, "version", "missing: must be 1")
	}
	if r.policy.Mode == "" && !slices.ContainsFunc(r.Problems, func(p Problem) bool { return p.Field == "mode" }) {
		r.Wrong(root, "mode", "missing: must be enforce or record")
	}
	if rules == nil {
		r.Wrong(root, "rules", "%s", errEmptyPolicy)
		return
	}
	r.List(rules, "rules", maxRules, r.rule)
}

func (r *parser) signer(name string, key, n *yaml.Node, field string) {
	s := &Signer{Name: name, Threshold: 1, line: key.Line}
	if !namePattern.MatchString(name) {
		r.Wrong(key, field, "invalid name: use 1 to 128 letters, digits, spaces and ._-, with a letter or digit at both ends")
	}
	before := len(r.Problems)
	given := map[string]*yaml.Node{}
	text := func(to *string) func(*yaml.Node, string) {
		return func(n *yaml.Node, f string) { given[f] = n; *to = r.Text(n, f) }
	}
	pattern := func(to **regexp.Regexp) func(*yaml.Node, string) {
		return func(n *yaml.Node, f string) {
			given[f] = n
			if source := r.Text(n, f); source != "" {
				re, weight, err := condition.Anchored(source)
				if err != nil {
					r.Wrong(n, f, "%s", err)
				}
				*to = re
				s.weight += weight
				r.weighed(n, f, weight)
			}
		}
	}
	need := map[string]int{}
	var signedStamps, currentTime bool
	var require *yaml.Node
	r.Members(n, field, map[string]func(*yaml.Node, string){
		"identity":        text(&s.Identity.Name),
		"identity_regexp": pattern(&s.Identity.NameRegexp),
		"issuer":          text(&s.Identity.Issuer),
		"issuer_regexp":   pattern(&s.Identity.IssuerRegexp),
		"keys": func(n *yaml.Node, f string) {
			given[f] = n
			r.List(n, f, sigstore.MaxKeys, func(n *yaml.Node, f string) {
				if pem := r.Text(n, f); pem != "" {
					k, err := dsse.ParseKey(name, []byte(pem))
					if err != nil {
						r.Wrong(n, f, "%s", err)
						return
					}
					s.Keys = append(s.Keys, k)
				}
			})
		},
		"threshold": func(n *yaml.Node, f string) { given[f] = n; s.Threshold = r.Number(n, f, 1, sigstore.MaxKeys) },
		"pgp_keys": func(n *yaml.Node, f string) {
			given[f] = n
			if ring := r.Text(n, f); ring != "" {
				var err error
				if s.PGP, err = helm.ParseKeyring([]byte(ring)); err != nil {
					r.Wrong(n, f, "%s", err)
				}
			}
		},
		"trusted_root": func(n *yaml.Node, f string) {
			given[f] = n
			if s.Root = r.Text(n, f); s.Root != "" {
				if err := CheckRootName(s.Root); err != nil {
					r.Wrong(n, f, "%s", err)
				}
			}
		},
		"require": func(n *yaml.Node, f string) {
			given[f], require = n, n
			count := func(name string) func(*yaml.Node, string) {
				return func(n *yaml.Node, f string) { need[name] = r.Number(n, f, 0, 32) }
			}
			r.Members(n, f, map[string]func(*yaml.Node, string){
				"log_entries": count("log_entries"), "timestamps": count("timestamps"), "scts": count("scts"),
				"signed_timestamps": func(n *yaml.Node, f string) { signedStamps = r.Boolean(n, f) },
				"current_time":      func(n *yaml.Node, f string) { currentTime = r.Boolean(n, f) },
			})
		},
	})
	// Invalid signers are added too, so that rules which name them cause no
	// further problems.
	r.signers[name] = s
	r.policy.Signers = append(r.policy.Signers, s)
	if len(r.Problems) > before {
		return
	}
	has := func(names ...string) string {
		for _, name := range names {
			if given[strictyaml.Join(field, name)] != nil {
				return name
			}
		}
		return ""
	}
	certificate, keys, pgp := has("identity", "identity_regexp", "issuer", "issuer_regexp"), has("keys"), has("pgp_keys")
	switch {
	case certificate == "" && keys == "" && pgp == "":
		r.Wrong(n, field, "not identified: specify identity and issuer of a certificate, keys, or pgp_keys")
		return
	case certificate != "" && keys+pgp != "", keys != "" && pgp != "":
		r.Wrong(n, field, "must be identified by only one of a certificate, keys and pgp_keys: define two signers and list both in the rule")
		return
	}
	switch {
	case pgp != "":
		if other := has("threshold", "trusted_root", "require"); other != "" {
			r.Wrong(given[strictyaml.Join(field, other)], strictyaml.Join(field, other), "not allowed with pgp_keys")
		}
	case keys != "":
		s.Need = sigstore.ForKeys
		if s.Threshold > len(s.Keys) {
			r.Wrong(given[strictyaml.Join(field, "threshold")], strictyaml.Join(field, "threshold"), "%d exceeds the number of keys, %d", s.Threshold, len(s.Keys))
		}
	default:
		s.Need = sigstore.ForCertificates
		switch {
		case s.Identity.Name != "" && s.Identity.NameRegexp != nil:
			r.Wrong(n, strictyaml.Join(field, "identity_regexp"), "not allowed together with identity")
		case s.Identity.Issuer != "" && s.Identity.IssuerRegexp != nil:
			r.Wrong(n, strictyaml.Join(field, "issuer_regexp"), "not allowed together with issuer")
		case has("identity", "identity_regexp") == "":
			r.Wrong(n, strictyaml.Join(field, "identity"), "missing: an issuer without an identity matches every account there")
		case has("issuer", "issuer_regexp") == "":
			r.Wrong(n, strictyaml.Join(field, "issuer"), "missing: another issuer could assign the same identity to someone else")
		case has("threshold") != "":
			r.Wrong(given[strictyaml.Join(field, "threshold")], strictyaml.Join(field, "threshold"), "only allowed with keys")
		}
	}
	if pgp != "" {
		return
	}
	if v, ok := need["log_entries"]; ok {
		s.Need.LogEntries = sigstore.AtLeast(v)
	}
	if v, ok := need["timestamps"]; ok {
		s.Need.Timestamps = sigstore.AtLeast(v)
	}
	if v, ok := need["scts"]; ok {
		s.Need.SCTs = sigstore.AtLeast(v)
	}
	s.Need.SignedTimestamps = signedStamps
	if s.Need.CurrentTime = currentTime; currentTime {
		if v, ok := need["timestamps"]; !ok || v == 0 {
			s.Need.Timestamps = sigstore.None
		}
	}
	if err := s.Need.Check(len(s.Keys) > 0); err != nil {
		r.Wrong(require, strictyaml.Join(field, "require"), "%s", strings.TrimPrefix(err.Error(), "requirements: "))
	}
	if s.Root == "" {
		s.Root = DefaultRoot
	}
}

// weighed adds the weight of a regular expression. It reports an excessive
// total only once.
func (r *parser) weighed(n *yaml.Node, field string, weight int) {
	before := r.weight
	if r.weight += weight; r.weight > condition.MaxWeights && before <= condition.MaxWeights {
		r.Wrong(n, field, "the policy's regular expressions are too large in total: use fewer repetitions")
	}
}

func (r *parser) condition(n *yaml.Node, field, source string) *condition.Condition[view] {
	env, err := environment()
	if err != nil {
		r.Wrong(n, field, "%s", err)
		return nil
	}
	c, err := env.Compile(source)
	if err != nil {
		var at *condition.Error
		if errors.As(err, &at) {
			line := n.Line + at.Line
			if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
				line-- // a plain scalar starts on the line of its name
			}
			n = &yaml.Node{Line: max(line, n.Line)}
		}
		r.Wrong(n, field, "%s", err)
		return nil
	}
	r.weighed(n, field, c.Weight())
	return c
}

func (r *parser) rule(n *yaml.Node, field string) {
	rule := &Rule{line: n.Line}
	var unsigned, deny, conformance *yaml.Node
	before := len(r.Problems)
	globs := func(to *[]string) func(*yaml.Node, string) {
		return func(n *yaml.Node, f string) { *to = r.Texts(n, f, maxItems, glob.Check) }
	}
	r.Members(n, field, map[string]func(*yaml.Node, string){
		"name": func(n *yaml.Node, f string) {
			if rule.Name = r.Text(n, f); rule.Name == "" {
				return
			}
			if !namePattern.MatchString(rule.Name) {
				r.Wrong(n, f, "invalid name: use 1 to 128 letters, digits, spaces and ._-, with a letter or digit at both ends")
			}
			if slices.ContainsFunc(r.policy.Rules, func(o *Rule) bool { return o.Name == rule.Name }) {
				r.Wrong(n, f, "duplicate rule name %q", rule.Name)
			}
		},
		"deny": func(n *yaml.Node, f string) { deny = n; rule.Deny = r.Boolean(n, f) },
		"kinds": func(n *yaml.Node, f string) {
			rule.Kinds = r.Texts(n, f, maxItems, func(k string) error {
				if !slices.Contains(r.kinds, k) {
					return fmt.Errorf("%q is not a kind: use one of %s", k, strings.Join(r.kinds, ", "))
				}
				return nil
			})
		},
		"media_types":     globs(&rule.MediaTypes),
		"predicate_types": globs(&rule.PredicateTypes),
		"submitters":      globs(&rule.Submitters),
		"subjects": func(n *yaml.Node, f string) {
			r.Members(n, f, map[string]func(*yaml.Node, string){
				"names": globs(&rule.SubjectNames),
				"digests": func(n *yaml.Node, f string) {
					rule.DigestTypes = r.Texts(n, f, maxItems, func(alg string) error {
						if !digestPattern.MatchString(alg) {
							return fmt.Errorf("%q is not the name of a digest algorithm, such as sha256", alg)
						}
						return nil
					})
				},
			})
		},
		"signers": func(n *yaml.Node, f string) {
			for _, name := range r.Texts(n, f, maxItems, func(name string) error {
				if r.signers[name] == nil {
					return fmt.Errorf("%q is not a signer of this policy", name)
				}
				return nil
			}) {
				rule.Signers = append(rule.Signers, r.signers[name])
			}
		},
		"unsigned": func(n *yaml.Node, f string) { unsigned = n; rule.Unsigned = r.Boolean(n, f) },
		"conformance": func(n *yaml.Node, f string) {
			conformance = n
			switch v := r.Text(n, f); v {
			case "", "any":
			case "required":
				rule.Conforming = true
			default:
				r.Wrong(n, f, "invalid value %q: use required or any", v)
			}
		},
		"condition": func(n *yaml.Node, f string) {
			if source := r.Text(n, f); source != "" {
				rule.Condition = r.condition(n, f, source)
			}
		},
	})
	if n.Kind != yaml.MappingNode {
		return
	}
	r.policy.Rules = append(r.policy.Rules, rule)
	if len(r.Problems) > before {
		return
	}
	switch {
	case rule.Name == "":
		r.Wrong(n, strictyaml.Join(field, "name"), "missing: every rule must have a name")
	case rule.Deny && (rule.Unsigned || len(rule.Signers) > 0):
		r.Wrong(deny, strictyaml.Join(field, "deny"), "not allowed together with signers or unsigned: a rule that denies requires no signatures")
	case rule.Deny && rule.Conforming:
		r.Wrong(conformance, strictyaml.Join(field, "conformance"), "a rule that denies cannot require conformance: use condition: size(deviations) > 0")
	case rule.Unsigned && len(rule.Signers) > 0:
		r.Wrong(unsigned, strictyaml.Join(field, "unsigned"), "not allowed together with signers")
	case rule.Deny:
		for _, g := range rule.SubjectNames {
			rule.foldedNames = append(rule.foldedNames, foldGlob(g))
		}
	case !rule.Unsigned && len(rule.Signers) == 0:
		r.Wrong(n, strictyaml.Join(field, "signers"), "missing: list the required signers, or set unsigned: true")
	}
}

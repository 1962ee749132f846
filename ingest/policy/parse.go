package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/ingest/glob"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/helm"
	"muniment.dev/muniment/verifiers/sigstore"
)

// Bounds of a policy.
const (
	MaxSize    = 1 << 20 // bytes of text
	maxSigners = 256
	maxRules   = 1024
	maxItems   = 1024 // of one list
)

// DefaultRoot is the trusted root of signers that name none.
const DefaultRoot = "public-good"

var (
	namePattern     = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9 ._-]{0,126}[a-zA-Z0-9])?$`)
	rootNamePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$`)
	digestPattern   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$`)
)

// CheckRootName returns an error if a trusted root can't have the name.
func CheckRootName(name string) error {
	if !rootNamePattern.MatchString(name) {
		return fmt.Errorf("%q is not a name of 1 to 64 of a-z, 0-9 and ._-", name)
	}
	return nil
}

// Parse reads a policy. kinds are the kinds that there are. The error is an
// *Error.
func Parse(text []byte, kinds []string) (*AdmissionPolicy, error) {
	p := &AdmissionPolicy{text: slices.Clone(text), digest: Digest(text)}
	r := &parser{policy: p, kinds: kinds, signers: map[string]*Signer{}}
	switch {
	case len(text) > MaxSize:
		r.wrong(nil, "", "%d bytes, more than %d", len(text), MaxSize)
	case !utf8.Valid(text):
		r.wrong(nil, "", "not UTF-8")
	default:
		if root := r.parse(text); root != nil {
			r.read(root)
		}
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return p, nil
}

type parser struct {
	document
	policy  *AdmissionPolicy
	kinds   []string
	signers map[string]*Signer
	version int
	weight  int // of the regular expressions so far
}

func (r *parser) read(root *yaml.Node) {
	var rules *yaml.Node // after the signers, wherever they stand
	r.members(root, "", map[string]func(*yaml.Node, string){
		"version": func(n *yaml.Node, f string) { r.version = r.number(n, f, 1, 1) },
		"mode": func(n *yaml.Node, f string) {
			if r.policy.Mode = r.text(n, f); r.policy.Mode != "" && r.policy.Mode != Enforce && r.policy.Mode != Record {
				r.wrong(n, f, "%q is neither enforce nor record", r.policy.Mode)
			}
		},
		"signers": func(n *yaml.Node, f string) { r.each(n, f, maxSigners, r.signer) },
		"rules":   func(n *yaml.Node, _ string) { rules = n },
	})
	if root.Kind != yaml.MappingNode {
		return
	}
	if r.version == 0 {
		r.wrong(root, "version", "missing; it is 1")
	}
	if r.policy.Mode == "" && !slices.ContainsFunc(r.problems, func(p Problem) bool { return p.Field == "mode" }) {
		r.wrong(root, "mode", "missing; it is enforce or record")
	}
	if rules == nil {
		r.wrong(root, "rules", "%s", errEmptyPolicy)
		return
	}
	r.list(rules, "rules", maxRules, r.rule)
}

func (r *parser) signer(name string, key, n *yaml.Node, field string) {
	s := &Signer{Name: name, Threshold: 1, line: key.Line}
	if !namePattern.MatchString(name) {
		r.wrong(key, field, "not a name: letters, digits, spaces and ._-, at most 128")
	}
	before := len(r.problems)
	given := map[string]*yaml.Node{}
	text := func(to *string) func(*yaml.Node, string) {
		return func(n *yaml.Node, f string) { given[f] = n; *to = r.text(n, f) }
	}
	pattern := func(to **regexp.Regexp) func(*yaml.Node, string) {
		return func(n *yaml.Node, f string) {
			given[f] = n
			if source := r.text(n, f); source != "" {
				re, weight, err := anchored(source)
				if err != nil {
					r.wrong(n, f, "%s", err)
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
	r.members(n, field, map[string]func(*yaml.Node, string){
		"identity":        text(&s.Identity.Name),
		"identity_regexp": pattern(&s.Identity.NameRegexp),
		"issuer":          text(&s.Identity.Issuer),
		"issuer_regexp":   pattern(&s.Identity.IssuerRegexp),
		"keys": func(n *yaml.Node, f string) {
			given[f] = n
			r.list(n, f, sigstore.MaxKeys, func(n *yaml.Node, f string) {
				if pem := r.text(n, f); pem != "" {
					k, err := dsse.ParseKey(name, []byte(pem))
					if err != nil {
						r.wrong(n, f, "%s", err)
						return
					}
					s.Keys = append(s.Keys, k)
				}
			})
		},
		"threshold": func(n *yaml.Node, f string) { given[f] = n; s.Threshold = r.number(n, f, 1, sigstore.MaxKeys) },
		"pgp_keys": func(n *yaml.Node, f string) {
			given[f] = n
			if ring := r.text(n, f); ring != "" {
				var err error
				if s.PGP, err = helm.ParseKeyring([]byte(ring)); err != nil {
					r.wrong(n, f, "%s", err)
				}
			}
		},
		"trusted_root": func(n *yaml.Node, f string) {
			given[f] = n
			if s.Root = r.text(n, f); s.Root != "" {
				if err := CheckRootName(s.Root); err != nil {
					r.wrong(n, f, "%s", err)
				}
			}
		},
		"require": func(n *yaml.Node, f string) {
			given[f], require = n, n
			count := func(name string) func(*yaml.Node, string) {
				return func(n *yaml.Node, f string) { need[name] = r.number(n, f, 0, 32) }
			}
			r.members(n, f, map[string]func(*yaml.Node, string){
				"log_entries": count("log_entries"), "timestamps": count("timestamps"), "scts": count("scts"),
				"signed_timestamps": func(n *yaml.Node, f string) { signedStamps = r.boolean(n, f) },
				"current_time":      func(n *yaml.Node, f string) { currentTime = r.boolean(n, f) },
			})
		},
	})
	// known, even if it is wrong, so that rules which name it aren't wrong as
	// well
	r.signers[name] = s
	r.policy.Signers = append(r.policy.Signers, s)
	if len(r.problems) > before {
		return
	}
	has := func(names ...string) string {
		for _, name := range names {
			if given[join(field, name)] != nil {
				return name
			}
		}
		return ""
	}
	certificate, keys, pgp := has("identity", "identity_regexp", "issuer", "issuer_regexp"), has("keys"), has("pgp_keys")
	switch {
	case certificate == "" && keys == "" && pgp == "":
		r.wrong(n, field, "nobody: give identity and issuer of a certificate, or keys, or pgp_keys")
		return
	case certificate != "" && keys+pgp != "", keys != "" && pgp != "":
		r.wrong(n, field, "two ways to sign in one signer; make two signers, and name both in the rule")
		return
	}
	switch {
	case pgp != "":
		if other := has("threshold", "trusted_root", "require"); other != "" {
			r.wrong(given[join(field, other)], join(field, other), "not for PGP keys, which have no such thing")
		}
	case keys != "":
		s.Need = sigstore.ForKeys
		if s.Threshold > len(s.Keys) {
			r.wrong(given[join(field, "threshold")], join(field, "threshold"), "%d of %d keys", s.Threshold, len(s.Keys))
		}
	default:
		s.Need = sigstore.ForCertificates
		switch {
		case s.Identity.Name != "" && s.Identity.NameRegexp != nil:
			r.wrong(n, join(field, "identity_regexp"), "give it or identity, not both")
		case s.Identity.Issuer != "" && s.Identity.IssuerRegexp != nil:
			r.wrong(n, join(field, "issuer_regexp"), "give it or issuer, not both")
		case has("identity", "identity_regexp") == "":
			r.wrong(n, join(field, "identity"), "missing; an issuer alone lets everybody in who has an account there")
		case has("issuer", "issuer_regexp") == "":
			r.wrong(n, join(field, "issuer"), "missing; other issuers could give the same identity to somebody else")
		case has("threshold") != "":
			r.wrong(given[join(field, "threshold")], join(field, "threshold"), "for keys only")
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
		r.wrong(require, join(field, "require"), "%s", strings.TrimPrefix(err.Error(), "requirements: "))
	}
	if s.Root == "" {
		s.Root = DefaultRoot
	}
}

// weighed adds the weight of a regular expression. It complains once.
func (r *parser) weighed(n *yaml.Node, field string, weight int) {
	before := r.weight
	if r.weight += weight; r.weight > maxWeights && before <= maxWeights {
		r.wrong(n, field, "the regular expressions of the policy are too large together; repeat less in them")
	}
}

func (r *parser) rule(n *yaml.Node, field string) {
	rule := &Rule{line: n.Line}
	var unsigned, deny, conformance *yaml.Node
	before := len(r.problems)
	globs := func(to *[]string) func(*yaml.Node, string) {
		return func(n *yaml.Node, f string) { *to = r.texts(n, f, maxItems, glob.Check) }
	}
	r.members(n, field, map[string]func(*yaml.Node, string){
		"name": func(n *yaml.Node, f string) {
			if rule.Name = r.text(n, f); rule.Name == "" {
				return
			}
			if !namePattern.MatchString(rule.Name) {
				r.wrong(n, f, "not a name: letters, digits, spaces and ._-, at most 128")
			}
			if slices.ContainsFunc(r.policy.Rules, func(o *Rule) bool { return o.Name == rule.Name }) {
				r.wrong(n, f, "another rule is called %q, too", rule.Name)
			}
		},
		"deny": func(n *yaml.Node, f string) { deny = n; rule.Deny = r.boolean(n, f) },
		"kinds": func(n *yaml.Node, f string) {
			rule.Kinds = r.texts(n, f, maxItems, func(k string) error {
				if !slices.Contains(r.kinds, k) {
					return fmt.Errorf("%q is not a kind; it is one of %s", k, strings.Join(r.kinds, ", "))
				}
				return nil
			})
		},
		"media_types":     globs(&rule.MediaTypes),
		"predicate_types": globs(&rule.PredicateTypes),
		"submitters":      globs(&rule.Submitters),
		"subjects": func(n *yaml.Node, f string) {
			r.members(n, f, map[string]func(*yaml.Node, string){
				"names": globs(&rule.SubjectNames),
				"digests": func(n *yaml.Node, f string) {
					rule.DigestTypes = r.texts(n, f, maxItems, func(alg string) error {
						if !digestPattern.MatchString(alg) {
							return fmt.Errorf("%q is not the name of a digest algorithm, such as sha256", alg)
						}
						return nil
					})
				},
			})
		},
		"signers": func(n *yaml.Node, f string) {
			for _, name := range r.texts(n, f, maxItems, func(name string) error {
				if r.signers[name] == nil {
					return fmt.Errorf("%q is none of the policy's signers", name)
				}
				return nil
			}) {
				rule.Signers = append(rule.Signers, r.signers[name])
			}
		},
		"unsigned": func(n *yaml.Node, f string) { unsigned = n; rule.Unsigned = r.boolean(n, f) },
		"conformance": func(n *yaml.Node, f string) {
			conformance = n
			switch v := r.text(n, f); v {
			case "", "any":
			case "required":
				rule.Conforming = true
			default:
				r.wrong(n, f, "%q is neither required nor any", v)
			}
		},
		"condition": func(n *yaml.Node, f string) {
			if source := r.text(n, f); source != "" {
				c, err := compile(source)
				if err != nil {
					var at *conditionError
					if errors.As(err, &at) && n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
						at.line-- // the text begins on the line of its name
					}
					if at != nil {
						n = &yaml.Node{Line: n.Line + max(at.line, 0)}
					}
					r.wrong(n, f, "%s", err)
				}
				if rule.Condition = c; c != nil {
					r.weighed(n, f, c.weight)
				}
			}
		},
	})
	if n.Kind != yaml.MappingNode {
		return
	}
	r.policy.Rules = append(r.policy.Rules, rule)
	if len(r.problems) > before {
		return
	}
	switch {
	case rule.Name == "":
		r.wrong(n, join(field, "name"), "missing; decisions name their rule")
	case rule.Deny && (rule.Unsigned || len(rule.Signers) > 0):
		r.wrong(deny, join(field, "deny"), "a rule that denies asks for no signatures; leave out signers and unsigned")
	case rule.Deny && rule.Conforming:
		r.wrong(conformance, join(field, "conformance"), "a rule that denies can't require it; use condition: size(deviations) > 0")
	case rule.Unsigned && len(rule.Signers) > 0:
		r.wrong(unsigned, join(field, "unsigned"), "it has signers, too; give one of them")
	case rule.Deny:
		for _, g := range rule.SubjectNames {
			rule.foldedNames = append(rule.foldedNames, foldGlob(g))
		}
	case !rule.Unsigned && len(rule.Signers) == 0:
		r.wrong(n, join(field, "signers"), "missing; name who must have signed, or say unsigned: true")
	}
}

package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/internal/fieldrules"
	"muniment.dev/muniment/internal/glob"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/similar"
	"muniment.dev/muniment/proto/kinds"
)

// active is the state of a control in force. The set determines which controls
// are in force, so files have no states.
const active = "active"

// A problem is an error at a field of a set, as it is named in files.
type problem struct {
	field        string
	line, column int // in the text of the field; 0: the field itself
	message      string
}

type checker struct {
	set      *Set
	problems []problem
	weight   int // of all regular expressions
}

func (k *checker) wrong(field, format string, args ...any) {
	k.problems = append(k.problems, problem{field: field, message: fmt.Sprintf(format, args...)})
}

// Problems returns what in the set contradicts docs/spec/controls.md. Lines and
// columns are those in the text of the field, and 0 for the field itself.
func (s *Set) Problems() []Problem {
	var all []Problem
	for _, p := range check(s) {
		all = append(all, Problem{Field: p.field, Line: p.line, Column: p.column, Message: p.message})
	}
	return all
}

func check(s *Set) []problem {
	k := &checker{set: s}
	k.fields()
	if len(k.problems) > 0 {
		return k.problems
	}
	k.names()
	k.globs(s.Environments, "environments")
	for i, signer := range s.Signers {
		k.signer(signer, fmt.Sprintf("signers.%s", s.Signers[i].Name))
	}
	for i, c := range s.Controls {
		k.control(c, fmt.Sprintf("controls[%d]", i))
	}
	k.cycles()
	return k.problems
}

// fields checks the rules of the messages, which bound texts and lists.
func (k *checker) fields() {
	for i, c := range k.set.Controls {
		k.message(c, fmt.Sprintf("controls[%d].", i))
	}
	k.message(k.set.head(), "")
}

func (k *checker) message(m proto.Message, prefix string) {
	var v *protovalidate.ValidationError
	switch err := fieldrules.Validate(m); {
	case err == nil:
	case !errors.As(err, &v):
		k.wrong(strings.TrimSuffix(prefix, "."), "%s", err)
	default:
		for _, violation := range v.Violations {
			path := protovalidate.FieldPathString(violation.Proto.GetField())
			k.wrong(strings.TrimSuffix(prefix+k.named(fieldOf(path)), "."), "%s", violation.Proto.GetMessage())
		}
	}
}

// named replaces the index of a signer by its name, as in files.
func (k *checker) named(field string) string {
	var i int
	if n, _ := fmt.Sscanf(field, "signers[%d]", &i); n == 1 && i < len(k.set.Signers) {
		_, rest, _ := strings.Cut(field, "]")
		return "signers." + k.set.Signers[i].Name + rest
	}
	return field
}

// names checks that names are unique.
func (k *checker) names() {
	seen := map[string]int{}
	for i, c := range k.set.Controls {
		if first, twice := seen[c.Id]; twice {
			k.wrong(fmt.Sprintf("controls[%d].id", i), "duplicate ID %q: controls[%d] has it, too", c.Id, first)
			continue
		}
		seen[c.Id] = i
	}
	for i, s := range k.set.Signers {
		if k.set.Signer(s.Name) != s {
			k.wrong(fmt.Sprintf("signers.%s", k.set.Signers[i].Name), "duplicate name")
		}
	}
}

func (k *checker) signer(s *Signer, field string) {
	certificate := s.Identity+s.IdentityRegexp+s.Issuer+s.IssuerRegexp != ""
	forms := 0
	for _, has := range []bool{certificate, len(s.KeyIds) > 0, len(s.Submitters) > 0} {
		if has {
			forms++
		}
	}
	switch {
	case forms == 0:
		k.wrong(field, "matches nothing: add an identity with its issuer, keys, or submitters")
	case forms > 1:
		k.wrong(field, "must be exactly one of an identity, keys and submitters: define two signers and list both")
	case certificate && (s.Identity == "") == (s.IdentityRegexp == ""):
		k.wrong(field+".identity", "must have exactly one of identity and identity_regexp")
	case certificate && (s.Issuer == "") == (s.IssuerRegexp == ""):
		k.wrong(field+".issuer", "must have exactly one of issuer and issuer_regexp: another issuer could assign the same identity to someone else")
	}
	k.globs(s.Submitters, field+".submitters")
	for _, e := range []struct {
		name, pattern string
	}{{"identity_regexp", s.IdentityRegexp}, {"issuer_regexp", s.IssuerRegexp}} {
		if e.pattern == "" {
			continue
		}
		_, weight, err := condition.Anchored(e.pattern)
		if err != nil {
			k.wrong(field+"."+e.name, "%s", err)
		}
		k.weigh(weight, field+"."+e.name)
	}
}

// weigh adds the weight of a regular expression. It reports an excessive total
// once.
func (k *checker) weigh(weight int, field string) {
	before := k.weight
	if k.weight += weight; k.weight > condition.MaxWeights && before <= condition.MaxWeights {
		k.wrong(field, "the set's regular expressions are too large in total: use fewer repetitions")
	}
}

func (k *checker) globs(all []string, field string) {
	for i, g := range all {
		if err := glob.Check(g); err != nil {
			k.wrong(fmt.Sprintf("%s[%d]", field, i), "%s", err)
		}
	}
}

func (k *checker) control(c *Control, field string) {
	k.globs(c.GetAppliesTo().GetNames(), field+".applies_to.names")
	for i, m := range c.Modes {
		at := fmt.Sprintf("%s.modes[%d]", field, i)
		if !slices.Contains(k.set.Stages, m.Stage) {
			k.wrong(at+".stage", "stage %q is not defined%s", m.Stage, among(m.Stage, k.set.Stages))
		}
		k.environments(m, at+".environments")
	}
	k.references(c, field)
	seen := map[string]bool{}
	for i, r := range c.GetCheck().GetRequire() {
		at := fmt.Sprintf("%s.check.require[%d]", field, i)
		if seen[r.Name] {
			k.wrong(at+".name", "duplicate name %q in this control", r.Name)
		}
		seen[r.Name] = true
		k.requirement(r, at)
	}
	if c.GetCheck().GetCondition() != "" {
		k.condition(c, field+".check.condition")
	}
}

// environments checks the patterns of a mode, which must match an environment
// of the set.
func (k *checker) environments(m *Mode, field string) {
	before := len(k.problems)
	k.globs(m.Environments, field)
	if len(k.problems) > before || len(k.set.Environments) == 0 {
		return
	}
	for i, g := range m.Environments {
		if !slices.ContainsFunc(k.set.Environments, func(e string) bool { return glob.Check(e) == nil && glob.Overlap(g, e) }) {
			k.wrong(fmt.Sprintf("%s[%d]", field, i), "%q matches no environment of the set%s", g, among(g, k.set.Environments))
		}
	}
}

// references checks the controls that a control includes.
func (k *checker) references(c *Control, field string) {
	ids := make([]string, len(k.set.Controls))
	for i, other := range k.set.Controls {
		ids[i] = other.Id
	}
	for i, id := range c.Includes {
		if k.set.Control(id) == nil {
			k.wrong(fmt.Sprintf("%s.includes[%d]", field, i), "no control has the ID %q%s", id, similar.DidYouMean(id, ids))
		}
	}
}

// among returns a hint at the names that exist.
func among(name string, names []string) string {
	if hint := similar.DidYouMean(name, names); hint != "" {
		return hint
	}
	return ": use one of " + strings.Join(names, ", ")
}

// requirement refuses requirements that no evidence can meet.
func (k *checker) requirement(r *Requirement, field string) {
	predicates := len(r.Kinds) == 0
	for i, name := range r.Kinds {
		kind, ok := kinds.Lookup(name)
		at := fmt.Sprintf("%s.kinds[%d]", field, i)
		switch {
		case !ok:
			k.wrong(at, "%q is not a kind%s", name, among(name, evidenceKinds()))
		case !isEvidence(kind):
			k.wrong(at, "only the log records entries of kind %s, which are not about artifacts", name)
		case kind.HasPredicates():
			predicates = true
		}
	}
	if len(r.PredicateTypes) > 0 && !predicates {
		k.wrong(field+".predicate_types", "entries of kind %s have no predicate type, so none is selected: omit predicate_types, or add the kind %s", strings.Join(r.Kinds, " and "), kindname.Attestation)
	}
	k.globs(r.PredicateTypes, field+".predicate_types")
	var signers []*Signer
	for i, name := range r.Signers {
		s := k.set.Signer(name)
		if s == nil {
			k.wrong(fmt.Sprintf("%s.signers[%d]", field, i), "%q is not a signer of this set%s", name, k.signersLike(name))
			return
		}
		signers = append(signers, s)
	}
	if most, bounded := parties(signers); !r.Unsigned && bounded && int(r.GetMinSigners()) > most {
		k.wrong(field+".min_signers", "can never be met: the listed signers can have at most %d distinct identities and keys", most)
	}
}

func (k *checker) signersLike(name string) string {
	var names []string
	for _, s := range k.set.Signers {
		names = append(names, s.Name)
	}
	return similar.DidYouMean(name, names)
}

// isEvidence reports whether requirements can select entries of the kind.
func isEvidence(k *kinds.Kind) bool { return !k.ByServer() || k.Name == kindname.GateDecision }

func evidenceKinds() (names []string) {
	for _, k := range kinds.All() {
		if isEvidence(k) {
			names = append(names, k.Name)
		}
	}
	return names
}

// parties returns the largest number of distinct parties that signers match, if
// it is bounded.
func parties(signers []*Signer) (most int, bounded bool) {
	distinct := map[string]bool{}
	for _, s := range signers {
		switch {
		case len(s.KeyIds) > 0:
			for _, id := range s.KeyIds {
				distinct["key "+id] = true
			}
		case len(s.Submitters) > 0:
			for _, g := range s.Submitters {
				if strings.Contains(g, "*") {
					return 0, false
				}
				distinct["submitter "+g] = true
			}
		case s.Identity == "" || s.Issuer == "":
			return 0, false
		default:
			distinct["identity "+s.Issuer+" "+s.Identity] = true
		}
	}
	return len(distinct), true
}

func (k *checker) condition(c *Control, field string) {
	wrong := func(line, column int, format string, args ...any) {
		k.problems = append(k.problems, problem{field, line, column, fmt.Sprintf(format, args...)})
	}
	env, err := evaluate.Environment()
	if err != nil {
		k.wrong(field, "%s", err)
		return
	}
	compiled, err := env.Compile(c.Check.Condition)
	if err != nil {
		var at *condition.Error
		if errors.As(err, &at) {
			wrong(at.Line, max(at.Column, 1), "%s", at.Message)
		} else {
			k.wrong(field, "%s", err)
		}
		return
	}
	k.weigh(compiled.Weight(), field)
	var names []string
	for _, r := range c.Check.Require {
		names = append(names, r.Name)
	}
	for _, variable := range []string{"evidence", "vulnerabilities"} {
		if len(names) == 0 && compiled.Reads(variable) {
			k.wrong(field, "reads %s, which comes from evidence, but the control requires none: add check.require", variable)
			return
		}
	}
	if compiled.Reads("evidence") {
		for _, l := range compiled.ComparedWith("requirement") {
			if !slices.Contains(names, l.Value) {
				wrong(l.Line, l.Column, "no requirement of the control has the name %q%s", l.Value, among(l.Value, names))
				return
			}
		}
	}
	if err := compiled.Never(map[string]any{"parameters": c.Parameters.AsMap()}); err != nil {
		k.wrong(field, "the control can never be satisfied: %s", err)
	}
}

// cycles refuses controls that include themselves.
func (k *checker) cycles() {
	const visiting, done = 1, 2
	state := map[string]int{}
	reported := false
	var visit func(id string, path []string)
	visit = func(id string, path []string) {
		c := k.set.Control(id)
		if c == nil || state[id] == done || reported {
			return
		}
		if state[id] == visiting {
			i := slices.IndexFunc(k.set.Controls, func(o *Control) bool { return o == c })
			cycle := append(path[slices.Index(path, id):], id)
			k.wrong(fmt.Sprintf("controls[%d].includes", i), "cycle: %s", strings.Join(cycle, " includes "))
			reported = true
			return
		}
		state[id] = visiting
		for _, next := range c.Includes {
			visit(next, append(slices.Clone(path), id))
		}
		state[id] = done
	}
	for _, c := range k.set.Controls {
		visit(c.Id, nil)
	}
}

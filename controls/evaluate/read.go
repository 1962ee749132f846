package evaluate

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// ParseSet reads a control set from the payloads of its entries. controls has
// the payload of each control that the set lists, in its order.
func ParseSet(set []byte, controls [][]byte) (*Set, error) {
	m := &munimentv1.ControlSet{}
	if err := unmarshal(set, m); err != nil {
		return nil, fmt.Errorf("control set: %w", err)
	}
	if len(controls) != len(m.Controls) {
		return nil, fmt.Errorf("control set: %d of %d controls", len(controls), len(m.Controls))
	}
	s := &Set{Digest: entry.SHA256(set), Stages: m.Stages, Environments: m.Environments, ValidFor: time.Duration(m.GetValidSeconds()) * time.Second}
	signers, err := readSigners(m.Signers)
	if err != nil {
		return nil, fmt.Errorf("control set: %w", err)
	}
	byID := map[string]*Control{}
	var includes [][]string
	for i, listed := range m.Controls {
		c := &munimentv1.Control{}
		if err := unmarshal(controls[i], c); err != nil {
			return nil, fmt.Errorf("control %s: %w", listed.Id, err)
		}
		switch {
		case entry.SHA256(controls[i]) != listed.Digest || c.Id != listed.Id:
			return nil, fmt.Errorf("control %s: not the one that the set lists", listed.Id)
		case byID[c.Id] != nil:
			return nil, fmt.Errorf("control %s: listed twice", c.Id)
		}
		read, err := s.readControl(c, signers)
		if err != nil {
			return nil, fmt.Errorf("control %s: %w", c.Id, err)
		}
		byID[c.Id] = read
		s.Controls = append(s.Controls, read)
		includes = append(includes, c.Includes)
	}
	for i, c := range s.Controls {
		for _, id := range includes[i] {
			in := byID[id]
			if in == nil {
				return nil, fmt.Errorf("control %s: includes %s, which is not in the set", c.ID, id)
			}
			c.Includes = append(c.Includes, in)
		}
	}
	return s, s.checkCycles()
}

func unmarshal(payload []byte, m proto.Message) error {
	if err := protojson.Unmarshal(payload, m); err != nil {
		return plain.DecodeError(err)
	}
	return nil
}

// checkCycles returns an error if a control includes itself.
func (s *Set) checkCycles() error {
	const visiting, done = 1, 2
	state := map[*Control]int{}
	var visit func(c *Control) error
	visit = func(c *Control) error {
		switch state[c] {
		case visiting:
			return fmt.Errorf("control %s includes itself", c.ID)
		case done:
			return nil
		}
		state[c] = visiting
		for _, in := range c.Includes {
			if err := visit(in); err != nil {
				return err
			}
		}
		state[c] = done
		return nil
	}
	for _, c := range s.Controls {
		if err := visit(c); err != nil {
			return err
		}
	}
	return nil
}

func readSigners(all []*munimentv1.NamedSigner) (map[string]*Signer, error) {
	byName := map[string]*Signer{}
	for _, m := range all {
		s := &Signer{Name: m.Name, Keys: m.KeyIds, Submitters: m.Submitters}
		var err error
		if s.Identity, err = readText(m.Identity, m.IdentityRegexp); err == nil {
			s.Issuer, err = readText(m.Issuer, m.IssuerRegexp)
		}
		forms := 0
		for _, has := range []bool{s.Identity.isSet() && s.Issuer.isSet(), len(s.Keys) > 0, len(s.Submitters) > 0} {
			if has {
				forms++
			}
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("signer %s: %w", m.Name, err)
		case forms != 1 || s.Identity.isSet() != s.Issuer.isSet():
			return nil, fmt.Errorf("signer %s: must have exactly one of identity with issuer, keys, and submitters", m.Name)
		case byName[m.Name] != nil:
			return nil, fmt.Errorf("signer %s: defined twice", m.Name)
		}
		byName[m.Name] = s
	}
	return byName, nil
}

// maxPattern is the size limit of a regular expression of a signer, in bytes.
const maxPattern = 2048

func readText(exact, pattern string) (t Text, err error) {
	switch {
	case exact != "" && pattern != "":
		return t, errors.New("a text and a regular expression for the same")
	case len(pattern) > maxPattern:
		return t, fmt.Errorf("a regular expression of %d bytes, above the limit of %d", len(pattern), maxPattern)
	case pattern != "":
		if _, err := regexp.Compile(pattern); err != nil { // it must be whole by itself
			return t, err
		}
		t.Pattern, err = regexp.Compile(`\A(?:` + pattern + `)\z`)
	}
	t.Exact = exact
	return t, err
}

func (t *Text) isSet() bool { return t.Exact != "" || t.Pattern != nil }

func (s *Set) readControl(m *munimentv1.Control, signers map[string]*Signer) (*Control, error) {
	c := &Control{ID: m.Id, Title: m.Title, Severity: m.Severity, SLA: readSLA(m.SlaDays), Types: m.GetAppliesTo().GetTypes(), Names: m.GetAppliesTo().GetNames(), Exceptions: exception.LimitsOf(m.Exceptions)}
	if m.State == "retired" {
		return nil, errors.New("it is retired")
	}
	if m.Parameters != nil {
		c.Parameters = m.Parameters.AsMap()
	}
	for _, row := range m.Modes {
		mode := Mode(row.Mode)
		if _, ok := strictness[mode]; !ok || !slices.Contains(s.Stages, row.Stage) {
			return nil, fmt.Errorf("mode %q at stage %q: undefined", row.Mode, row.Stage)
		}
		c.Modes = append(c.Modes, ModeRow{row.Stage, row.Environments, mode})
	}
	if m.Check == nil && len(m.Includes) == 0 {
		return nil, errors.New("it has no check and includes no control")
	}
	for _, r := range m.GetCheck().GetRequire() {
		read, err := readRequirement(r, signers)
		if err != nil {
			return nil, fmt.Errorf("requirement %s: %w", r.Name, err)
		}
		c.Require = append(c.Require, read)
	}
	if source := m.GetCheck().GetCondition(); source != "" {
		env, err := Environment()
		if err != nil {
			return nil, err
		}
		if c.Condition, err = env.Compile(source); err != nil {
			return nil, fmt.Errorf("condition: %w", err)
		}
	}
	return c, nil
}

func readRequirement(m *munimentv1.Requirement, signers map[string]*Signer) (*Requirement, error) {
	r := &Requirement{Name: m.Name, Kinds: m.Kinds, PredicateTypes: m.PredicateTypes, Submitters: m.Submitters, MinSigners: 1, MaxAge: time.Duration(m.GetMaxAgeSeconds()) * time.Second, Optional: m.Optional}
	if len(r.Kinds) == 0 {
		r.Kinds = []string{kindname.Attestation}
	}
	if m.MinSigners != nil {
		r.MinSigners = int(*m.MinSigners)
	}
	if (len(m.Signers) > 0) == m.Unsigned || r.MinSigners < 1 {
		return nil, errors.New("must have either signers or unsigned, and at least one signer")
	}
	for _, name := range m.Signers {
		s := signers[name]
		if s == nil {
			return nil, fmt.Errorf("signer %s is not defined", name)
		}
		r.Signers = append(r.Signers, s)
	}
	return r, nil
}

func readSLA(m *munimentv1.SlaDays) map[string]time.Duration {
	sla := map[string]time.Duration{}
	if m == nil {
		return sla
	}
	for severity, days := range map[string]*uint32{"critical": m.Critical, "high": m.High, "medium": m.Medium, "low": m.Low} {
		if days != nil {
			sla[severity] = time.Duration(*days) * 24 * time.Hour
		}
	}
	return sla
}

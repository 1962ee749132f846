package evaluate

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/internal/glob"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// DefaultValidFor is the longest validity of a decision if the control set has
// none.
const DefaultValidFor = 24 * time.Hour

// StageName matches the names of stages.
var StageName = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// A Set is a control set as it is applied. It does not change, so goroutines
// can share it.
type Set struct {
	Digest string // "sha256:" and hexadecimal digits
	Stages []string
	// Environments are patterns of the environments that decisions can be
	// about; empty: any.
	Environments []string
	Controls     []*Control
	ValidFor     time.Duration
}

// A Mode determines what a control's result means for a decision.
type Mode string

// The modes, the strictest first.
const (
	Enforce Mode = "enforce"
	Warn    Mode = "warn"
	Audit   Mode = "audit"
)

// A Control is a control of a set, with everything that it names.
type Control struct {
	ID       string
	Title    string
	Severity string
	// SLA is the time to resolve a vulnerability or finding of each severity.
	SLA          map[string]time.Duration
	Types, Names []string // that it applies to; empty: all
	Require      []*Requirement
	Condition    *condition.Condition[*Case] // nil: none
	Includes     []*Control                  // without cycles
	Modes        []ModeRow
	Exceptions   exception.Limits
	Parameters   map[string]any
}

// A ModeRow is the mode of a control at a stage.
type ModeRow struct {
	Stage        string
	Environments []string // patterns; empty: every environment
	Mode         Mode
}

// A Requirement selects evidence.
type Requirement struct {
	Name           string
	Kinds          []string
	PredicateTypes []string  // patterns; empty: any, and none
	Signers        []*Signer // empty: unsigned evidence counts
	Submitters     []string  // patterns; empty: any
	MinSigners     int
	MaxAge         time.Duration // 0: any age
	Optional       bool
}

// A Signer is a party whose evidence counts. It has an identity, keys or
// submitters.
type Signer struct {
	Name             string
	Identity, Issuer Text
	Keys             []string
	Submitters       []string // patterns
}

// A Text matches one text, or those that a regular expression matches as a
// whole.
type Text struct {
	Exact   string
	Pattern *regexp.Regexp // anchored; nil: Exact
}

func (t *Text) matches(s string) bool {
	if t.Pattern != nil {
		return s != "" && t.Pattern.MatchString(s)
	}
	return s != "" && t.Exact == s
}

// A Party is a signer or the submitter of an entry.
type Party struct {
	entry.Signer
	Submitter string // of a party that is a submitter
}

func (s *Signer) matches(p *Party) bool {
	switch {
	case p.Submitter != "":
		return anyMatch(s.Submitters, p.Submitter)
	case len(s.Keys) > 0:
		return p.KeyID != "" && slices.Contains(s.Keys, p.KeyID)
	case len(s.Submitters) > 0:
		return false
	}
	return s.Identity.matches(p.Identity) && s.Issuer.matches(p.Issuer)
}

func anyMatch(globs []string, s string) bool {
	return slices.ContainsFunc(globs, func(g string) bool { return glob.Match(g, s) })
}

// hasEnvironment reports whether decisions can be about an environment.
func (s *Set) hasEnvironment(environment string) bool {
	return environment == "" || len(s.Environments) == 0 || anyMatch(s.Environments, environment)
}

// strictness orders modes, the strictest first.
var strictness = map[Mode]int{Enforce: 0, Warn: 1, Audit: 2}

// mode returns the control's mode, or "" if the control is left out.
func (c *Control) mode(stage, environment string) (mode Mode) {
	for i := range c.Modes {
		row := &c.Modes[i]
		switch {
		case row.Stage != stage:
		case environment == "":
			if mode == "" || strictness[row.Mode] < strictness[mode] {
				mode = row.Mode
			}
		case len(row.Environments) == 0 || anyMatch(row.Environments, environment):
			return row.Mode
		}
	}
	return mode
}

// ModeOf returns the mode of a control of a stored set, or "" if the control is
// left out.
func ModeOf(m *munimentv1.Control, stage, environment string) Mode {
	c := &Control{}
	for _, row := range m.Modes {
		c.Modes = append(c.Modes, ModeRow{row.Stage, row.Environments, Mode(row.Mode)})
	}
	return c.mode(stage, environment)
}

// visit calls f with the control and with those that it includes, each once.
func (c *Control) visit(f func(*Control)) {
	seen := map[*Control]bool{}
	var visit func(c *Control)
	visit = func(c *Control) {
		if seen[c] {
			return
		}
		seen[c] = true
		f(c)
		for _, in := range c.Includes {
			visit(in)
		}
	}
	visit(c)
}

// Only returns a set in which one control is enforced in every environment, at
// the stage of its first mode, and nothing else. It is nil if the set does not
// have the control.
func (s *Set) Only(id string) (set *Set, stage string) {
	for _, c := range s.Controls {
		if c.ID != id {
			continue
		}
		one, only := *c, *s
		stage = c.Modes[0].Stage
		one.Modes = []ModeRow{{Stage: stage, Mode: Enforce}}
		only.Controls = []*Control{&one}
		return &only, stage
	}
	return nil, ""
}

// appliesTo reports whether the control applies to a subject.
func (c *Control) appliesTo(s *Subject) bool {
	return (len(c.Types) == 0 || slices.Contains(c.Types, s.Type)) &&
		(len(c.Names) == 0 || s.Name == "" || slices.ContainsFunc(s.names(), func(name string) bool { return anyMatch(c.Names, name) }))
}

// names returns the name, and other spellings of the same repository
// (docs/spec/decision.md, section 3). A reference with a digest can have any
// tag, so a tag must not lead past a control.
func (s *Subject) names() []string {
	if s.Type != artifact.Image && s.Type != artifact.Chart {
		return []string{s.Name}
	}
	host, rest, ok := strings.Cut(s.Name, "/")
	if !ok {
		host, rest = "", s.Name
	} else {
		host = strings.TrimSuffix(strings.Map(lowerASCII, host), ":443") + "/"
	}
	last := rest[strings.LastIndex(rest, "/")+1:]
	_, tag, _ := strings.Cut(last, ":")
	return []string{s.Name, host + rest, host + strings.TrimSuffix(rest, ":"+tag)}
}

func lowerASCII(r rune) rune {
	if r >= 'A' && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

// Kinds returns the kinds of entries about a subject that matter for decisions:
// those that requirements select, and findings.
func (s *Set) Kinds() map[string]bool {
	kinds := map[string]bool{kindname.Finding: true}
	for _, c := range s.Controls {
		for _, r := range c.Require {
			for _, k := range r.Kinds {
				kinds[k] = true
			}
		}
	}
	return kinds
}

// ReadsFindings reports whether the control's condition reads findings.
func (c *Control) ReadsFindings() bool { return c.Condition != nil && c.Condition.Reads("findings") }

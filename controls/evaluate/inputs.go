package evaluate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
)

// Inputs returns the digest of what a decision depends on besides the time, as
// docs/spec/decision.md, section 7, defines it.
func Inputs(in *Input) string {
	var b strings.Builder
	line := func(name string, values ...string) {
		b.WriteString(name)
		for _, v := range values {
			b.WriteByte(' ')
			b.WriteString(v)
		}
		b.WriteByte('\n')
	}
	line("muniment/decision-inputs/v1")
	set := none
	if in.Set != nil {
		set = in.Set.Digest
	}
	line("set", set)
	line("subject", append([]string{in.Subject.Type}, digests(in.Subject.Digest)...)...)
	var parts []string
	for i := range in.Parts {
		parts = append(parts, strings.Join(digests(in.Parts[i].Digest), " "))
	}
	slices.Sort(parts)
	for _, p := range parts {
		line("part", p)
	}
	line("name", Escape(in.Subject.Name))
	line("stage", Escape(in.Stage))
	line("environment", Escape(in.Environment))
	n := newestOf(in)
	line("evidence", n.evidence.String())
	line(kindname.Finding, n.finding.String())
	line("exception", n.exception.String())
	line(kindname.KeyEvent, n.keyEvent.String())
	return entry.SHA256([]byte(b.String()))
}

const none = "none"

// A newest is the largest index seen, plus one.
type newest uint64

func (n *newest) see(in *Input, index uint64) {
	if index < in.Size {
		*n = max(*n, newest(index)+1)
	}
}

func (n newest) String() string {
	if n == 0 {
		return none
	}
	return strconv.FormatUint(uint64(n)-1, 10)
}

// newestOf finds the newest entries that a decision depends on.
func newestOf(in *Input) (n struct{ evidence, finding, exception, keyEvent newest }) {
	if in.Set == nil {
		return n
	}
	kinds, ids := in.Set.Kinds(), map[string]bool{}
	reading := map[string]bool{}
	for _, c := range in.Set.Controls {
		ids[c.ID] = true
		reading[c.ID] = c.ReadsFindings()
	}
	all := in.Digests()
	for i := len(in.Evidence) - 1; i >= 0 && n.evidence == 0; i-- {
		e := &in.Evidence[i]
		if e.Header != nil && kinds[e.Header.Kind] && !RecentOnly(e.Header.Kind) && artifact.Mentioned(all, e.Header.Subjects) {
			n.evidence.see(in, e.Index)
		}
	}
	for i := range in.Findings {
		e := &in.Findings[i]
		if e.Header != nil && e.Header.Kind == kindname.Finding && len(e.Header.Subjects) == 0 && slices.ContainsFunc(e.Header.Controls, func(id string) bool { return reading[id] }) {
			n.finding.see(in, e.Index)
		}
	}
	for _, x := range in.Exceptions {
		if !ids[x.Control] {
			continue
		}
		n.exception.see(in, x.Index)
		for i := range x.Decisions {
			n.exception.see(in, x.Decisions[i].Index)
		}
	}
	for i := range in.KeyEvents {
		n.keyEvent.see(in, in.KeyEvents[i].Index)
	}
	return n
}

// digests returns a digest set as sorted texts.
func digests(set map[string]string) []string {
	var all []string
	for alg, v := range set {
		all = append(all, entry.CanonicalDigest(alg, v).String())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Escape returns a text with the bytes below 0x21, "%" and 0x7F as %XX.
func Escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c == '%' || c == 0x7f {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

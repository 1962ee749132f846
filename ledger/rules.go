package ledger

import (
	"errors"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// A stream's rules are its config entries: the admission policy, trusted roots,
// grants, retention rules and legal holds. A draft that was decided under rules
// names their version, and is recorded only if that is in force at its place.
// Any server can have changed them in between.

// Rules are a version of a stream's rules, for this process. The zero value is
// no version: a draft that names it was decided under no rules.
type Rules struct {
	known bool
	next  uint64 // index of the newest change since the log was opened, plus 1; 0 if there is none
}

// ErrOvertaken is the error of an append whose drafts were decided under rules
// that are not in force at their place. Nothing was recorded. The drafts must
// be decided again.
var ErrOvertaken = errors.New("the rules changed before the entry was recorded")

// Rules returns the version in force in the stream. What is published contains
// all that this version has changed.
func (l *Ledger) Rules(s *Stream) Rules {
	if v, ok := l.rules.Load(s.ID); ok {
		return v.(Rules)
	}
	return Rules{known: true}
}

// Governs reports whether an entry with the header changes the rules of its
// stream. It is the default of Config.Governs.
func Governs(h *entry.Header) bool { return h.Kind == kindname.Config }

// checkRules returns ErrOvertaken if a draft of the group was decided under
// other rules than those at its place.
func (l *Ledger) checkRules(g *group) error {
	var last *Draft
	for i := range g.entries {
		d := g.entries[i].draft
		if d == nil || !d.Rules.known || last != nil && d.Stream == last.Stream && d.Rules == last.Rules {
			continue
		}
		if d.Rules != l.tip.head(d.Stream).version() {
			return ErrOvertaken
		}
		last = d
	}
	return nil
}

// version returns the version of the stream's rules at the tip.
func (h *head) version() Rules { return Rules{known: true, next: h.ruled} }

// govern takes note of an entry of the stream.
func (l *Ledger) govern(h *head, header *entry.Header, index uint64) {
	if l.cfg.Governs(header) {
		h.ruled = index + 1
	}
	if header.Kind == kindname.Config {
		h.configured = index + 1
	}
}

// governStored is govern for an entry that another server has recorded.
func (l *Ledger) governStored(h *head, index uint64, opening *receipt.HeaderOpening) error {
	header, err := parseHeader(index, opening)
	if err != nil || header == nil { // erased, which the log's own entries can't be
		return err
	}
	l.govern(h, header, index)
	return nil
}

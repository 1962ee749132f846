// Package shape recognizes statements, envelopes and bundles by their outermost
// members, whatever media type is claimed for them.
//
// It accepts more than the readers of these formats: alternative spellings of
// members, duplicate members and broken JSON. A document that another program
// could read as a statement must not pass as an unknown one. The readers refuse
// it later.
package shape

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// BundleMediaType is the prefix of the media type of every bundle version.
const BundleMediaType = "application/vnd.dev.sigstore.bundle"

// A Set is a set of formats whose members a document has.
type Set uint8

// The formats.
const (
	Statement Set = 1 << iota // in-toto
	Envelope                  // DSSE
	Bundle                    // Sigstore
	UTF16                     // or UTF-32, beside the format of a document in it

	None Set = 0
)

// Of returns the formats of a whole document.
func Of(document []byte) Set {
	var s Scanner
	s.Write(document)
	return s.Set()
}

// maxText is the length limit in bytes of the names and values that are
// compared. Those of the formats are shorter.
const maxText = 256

// A Scanner recognizes a document of any size, written to it in pieces.
type Scanner struct {
	started bool
	done    bool // the outermost object has ended, or the document is not an object
	depth   int
	quoted  bool
	escaped bool
	value   bool // at depth 1, the next string is a member's value rather than its name
	text    []byte
	name    string
	offset  int   // of the first brace
	first   bool  // the next byte follows the first brace
	wide    *wide // the document may be UTF-16 or UTF-32

	found   Set
	members map[string]bool
}

// Write scans the next bytes. It never fails.
func (s *Scanner) Write(p []byte) (int, error) {
	n := len(p)
	if !s.started {
		p = s.start(p)
	}
	for i := 0; i < len(p) && !s.done; i++ {
		s.step(p[i])
	}
	return n, nil
}

// start skips white space and byte order marks before the first brace.
func (s *Scanner) start(p []byte) []byte {
	for i, c := range p {
		switch {
		case c == '{':
			s.started, s.depth, s.first = true, 1, true
			s.offset += i
			return p[i+1:]
		case strings.IndexByte("\x00 \t\r\n\v\f\xEF\xBB\xBF\xFE\xFF", c) < 0:
			s.started, s.done = true, true
			return nil
		}
	}
	s.offset += len(p)
	return nil
}

func (s *Scanner) step(c byte) {
	if s.first {
		s.first = false
		if c == 0 {
			s.wide = &wide{brace: s.offset}
		}
	}
	if s.wide == nil {
		s.narrow(c)
		return
	}
	if err := s.wide.decode(c, s.narrow); err != nil {
		s.done = true
	}
}

// narrow scans the next byte of a document in UTF-8.
func (s *Scanner) narrow(c byte) {
	switch {
	case s.quoted && s.escaped:
		s.escaped = false
		s.keep(c)
	case s.quoted && c == '"':
		s.quoted = false
		if s.depth == 1 {
			s.string(unquote(s.text))
		}
	case s.quoted:
		s.escaped = c == '\\'
		s.keep(c)
	case c == '"':
		s.quoted, s.text = true, s.text[:0]
	case c == '{' || c == '[':
		s.depth++
	case c == '}' || c == ']':
		s.depth--
		s.done = s.depth == 0
	case c == ':' && s.depth == 1:
		s.value = true
	case c == ',' && s.depth == 1:
		s.value = false
	}
}

func (s *Scanner) keep(c byte) {
	if s.depth == 1 && len(s.text) <= maxText {
		s.text = append(s.text, c)
	}
}

func unquote(raw []byte) string {
	if len(raw) > maxText {
		return ""
	}
	text, err := jsontext.AppendUnquote(nil, append(append([]byte{'"'}, raw...), '"'))
	if err != nil && len(text) == 0 {
		return string(raw)
	}
	return string(text)
}

// string evaluates a string in the outermost object.
func (s *Scanner) string(text string) {
	text = strings.ToLower(text)
	if s.value {
		switch {
		case s.name == "type" && strings.Contains(text, "in-toto.io/statement"):
			s.found |= Statement
		case s.name == "mediatype" && strings.HasPrefix(strings.TrimSpace(text), BundleMediaType):
			s.found |= Bundle
		}
		return
	}
	// Some readers ignore case, and ProtoJSON also accepts snake_case.
	s.name = strings.NewReplacer("_", "", "-", "").Replace(text)
	switch s.name {
	case "payload", "payloadtype", "signatures", "verificationmaterial", "dsseenvelope", "messagesignature":
		if s.members == nil {
			s.members = map[string]bool{}
		}
		s.members[s.name] = true
	}
}

// Set returns the formats seen so far.
func (s *Scanner) Set() Set {
	found := s.found
	if s.members["payload"] && s.members["payloadtype"] && s.members["signatures"] {
		found |= Envelope
	}
	if s.members["verificationmaterial"] && (s.members["dsseenvelope"] || s.members["messagesignature"]) {
		found |= Bundle
	}
	if s.wide != nil && found != None {
		found |= UTF16
	}
	return found
}

// Package intake receives the messages of monitoring systems over the network.
// See docs/spec/triage.md, section 12.
package intake

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/internal/strictyaml"
)

// MaxSenders is the size limit of the file of senders in bytes.
const MaxSenders = 64 << 10

// minToken is the number of characters of the shortest token.
const minToken = 16

// Senders are the programs that may send messages, by their tokens.
type Senders struct {
	hashes [][sha256.Size]byte
	names  []string
}

var senderName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// ParseSenders reads a file of senders: a YAML document that maps the name of
// each to its token, or to sha256: and the SHA-256 of the token in hexadecimal
// digits. Errors contain no tokens.
func ParseSenders(text []byte) (*Senders, error) {
	s := &Senders{}
	d := &strictyaml.Document{Noun: "file of senders", Columns: true}
	if root := d.ParseText(text, MaxSenders); root != nil {
		d.Each(root, "", 256, func(name string, key, n *yaml.Node, field string) {
			if !senderName.MatchString(name) {
				d.Wrong(key, "", "the name of a sender must be 1 to 64 lowercase letters, digits, hyphens, dots and underscores")
				return
			}
			hash, err := tokenHash(d.Text(n, field))
			if err != nil {
				d.Wrong(n, field, "%s", err)
				return
			}
			for i, other := range s.hashes {
				if other == hash {
					d.Wrong(n, field, "the same token as that of %s", s.names[i])
				}
			}
			s.hashes, s.names = append(s.hashes, hash), append(s.names, name)
		})
		if len(s.names) == 0 && len(d.Problems) == 0 {
			d.Wrong(root, "", "must not be empty")
		}
	}
	if err := d.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

// tokenHash returns the hash of a token as a file has it.
func tokenHash(token string) (hash [sha256.Size]byte, err error) {
	if digits, ok := strings.CutPrefix(token, "sha256:"); ok {
		raw, err := hex.DecodeString(digits)
		if err != nil || len(raw) != len(hash) {
			return hash, errors.New("after sha256: there must be 64 hexadecimal digits")
		}
		return [sha256.Size]byte(raw), nil
	}
	if len(token) < minToken {
		return hash, errors.New("a token must have at least 16 characters")
	}
	return sha256.Sum256([]byte(token)), nil
}

// Names returns the names of all senders.
func (s *Senders) Names() []string { return s.names }

// Of returns the name of the sender of a request, and whether it has a valid
// token. The time does not depend on the tokens.
func (s *Senders) Of(h http.Header) (name string, ok bool) {
	scheme, token, found := strings.Cut(h.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	hash := sha256.Sum256([]byte(token))
	for i := range s.hashes {
		if subtle.ConstantTimeCompare(hash[:], s.hashes[i][:]) == 1 {
			name, ok = s.names[i], true
		}
	}
	return name, ok
}

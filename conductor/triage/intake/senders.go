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

const (
	// defaultRate is the number of messages that a sender may send in a second,
	// unless the file limits it. It is far above what monitoring systems send,
	// and keeps a sender in a loop from occupying the router.
	defaultRate = 20_000
	maxRate     = 1_000_000
)

// Senders are the programs that may send messages, by their tokens.
type Senders struct {
	hashes [][sha256.Size]byte
	names  []string
	rates  map[string]int // messages in a second, by name
}

var senderName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// ParseSenders reads a file of senders: a YAML document that maps the name of
// each to its token, or to sha256: and the SHA-256 of the token in hexadecimal
// digits, or to a map with the token and a rate. Errors contain no tokens.
func ParseSenders(text []byte) (*Senders, error) {
	s := &Senders{rates: map[string]int{}}
	d := &strictyaml.Document{Noun: "file of senders", Columns: true}
	if root := d.ParseText(text, MaxSenders); root != nil {
		d.Each(root, "", 256, func(name string, key, n *yaml.Node, field string) {
			if !senderName.MatchString(name) {
				d.Wrong(key, "", "the name of a sender must be 1 to 64 lowercase letters, digits, hyphens, dots and underscores")
				return
			}
			s.rates[name] = defaultRate
			if n.Kind != yaml.MappingNode {
				s.token(d, name, n, field)
				return
			}
			given := false
			d.Members(n, field, map[string]func(*yaml.Node, string){
				"token":               func(n *yaml.Node, f string) { given = true; s.token(d, name, n, f) },
				"messages_per_second": func(n *yaml.Node, f string) { s.rates[name] = int(d.Number(n, f, 1, maxRate)) },
			})
			if !given {
				d.Wrong(n, field+".token", "must be specified")
			}
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

// token reads the token of a sender.
func (s *Senders) token(d *strictyaml.Document, name string, n *yaml.Node, field string) {
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

// bearer returns the hash of the token of a request, and whether it has one.
func bearer(h http.Header) (hash [sha256.Size]byte, ok bool) {
	scheme, token, found := strings.Cut(h.Get("Authorization"), " ")
	return sha256.Sum256([]byte(token)), found && strings.EqualFold(scheme, "Bearer")
}

// Of returns the name of the sender of a request, and whether it has a valid
// token. The time does not depend on the tokens.
func (s *Senders) Of(h http.Header) (name string, ok bool) {
	hash, bears := bearer(h)
	if !bears {
		return "", false
	}
	for i := range s.hashes {
		if subtle.ConstantTimeCompare(hash[:], s.hashes[i][:]) == 1 {
			name, ok = s.names[i], true
		}
	}
	return name, ok
}

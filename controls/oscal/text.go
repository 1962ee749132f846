package oscal

import (
	"crypto/sha1" // a UUID of version 5 is made with it
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// NS is the namespace of properties of this project.
const NS = "https://muniment.dev/ns/oscal"

// absent stands for a text that is empty, where OSCAL requires one.
const absent = "–"

// namespace is that of the UUIDs of this package: the UUID of version 5 of NS
// in the namespace for URLs of RFC 9562.
var namespace = uuidIn([]byte{0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8}, []byte(NS))

// uuidIn returns the bytes of a UUID of version 5.
func uuidIn(namespace, name []byte) []byte {
	h := sha1.New()
	h.Write(namespace)
	h.Write(name)
	u := h.Sum(nil)[:16]
	u[6], u[8] = u[6]&0x0F|0x50, u[8]&0x3F|0x80
	return u
}

// uuid returns the UUID of the thing that the parts identify. Different parts
// have different UUIDs.
func uuid(parts ...string) string {
	var name []byte
	for _, p := range parts {
		name = binary.AppendUvarint(name, uint64(len(p)))
		name = append(name, p...)
	}
	x := hex.EncodeToString(uuidIn(namespace, name))
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}

// String returns a text as an OSCAL string: one line that neither begins nor
// ends with space, and has no invisible characters.
func String(s string) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "\ufffd"), isGap), " ")
	if s == "" {
		return absent
	}
	return s
}

// isGap reports whether a character separates words or is invisible. ECMAScript
// and Python count more characters as space than Go does.
func isGap(r rune) bool {
	return unicode.IsSpace(r) || unicode.In(r, unicode.Z, unicode.C)
}

// Line returns a text as one line of OSCAL's markup, in which nothing is
// markup.
func Line(s string) string { return escape(String(s)) }

// Lines returns a text as markup of several paragraphs, in which nothing is
// markup.
func Lines(s string) string {
	var all []string
	for line := range strings.SplitSeq(strings.ReplaceAll(s, "\r\n", "\n"), "\n") {
		if line = String(line); line != absent {
			all = append(all, escape(line))
		}
	}
	if len(all) == 0 {
		return absent
	}
	return strings.Join(all, "\n\n")
}

// escape escapes what is markup in a line
// (https://pages.nist.gov/metaschema/specification/datatypes/#markup-line).
func escape(s string) string {
	var b strings.Builder
	var before rune
	for i, r := range s {
		next, _ := utf8.DecodeRuneInString(s[i+utf8.RuneLen(r):])
		switch {
		case strings.ContainsRune("\\`*~^<>[]{}\"&|", r),
			r == '_' && !(isWord(before) && isWord(next)),
			r == '\'' && !(isWord(before) && isWord(next)),
			i == 0 && strings.ContainsRune("#+-=", r),
			i > 0 && (r == '.' || r == ')') && isNumber(s[:i]):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
		before = r
	}
	return b.String()
}

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }

func isNumber(s string) bool { return strings.Trim(s, "0123456789") == "" }

var (
	plainID  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]*$`)
	numberID = regexp.MustCompile(`^[0-9][A-Za-z0-9._-]*$`)
)

// Token returns an ID as an OSCAL token. Different IDs have different tokens.
// The IDs of controls remain as they are, except that one which begins with a
// digit is preceded by _.
func Token(id string) string {
	switch {
	case plainID.MatchString(id):
		return id
	case numberID.MatchString(id):
		return "_" + id
	}
	var b strings.Builder
	b.WriteString("_x")
	for i := range len(id) {
		if c := id[i]; c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '.' || c == '-' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02X", c)
		}
	}
	return b.String()
}

// DateTime returns a time as OSCAL writes it. Its years are from 1900 to 2999.
func DateTime(t time.Time) string {
	t = t.UTC()
	switch {
	case t.Year() < 1900:
		t = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)
	case t.Year() > 2999:
		t = time.Date(2999, 12, 31, 23, 59, 59, 0, time.UTC)
	}
	return t.Format("2006-01-02T15:04:05.000Z")
}

// root leads from a document to the root of the bundle, because the documents
// are in a folder of it.
const root = "../"

// href returns a reference to a file of the bundle.
func href(name string) string { return (&url.URL{Path: root + name}).String() }

func prop(name, value string) Prop { return Prop{Name: name, NS: NS, Value: String(value)} }

// addProp adds a property, unless its value is empty.
func addProp(props []Prop, name, value string) []Prop {
	if strings.TrimSpace(value) == "" {
		return props
	}
	return append(props, prop(name, value))
}

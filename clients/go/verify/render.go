package verify

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/internal/safetext"
)

// warnings.json is docs/spec/tables/verify-warnings.json.
//
//go:embed warnings.json
var warningsFile []byte

var sentences = sync.OnceValue(func() map[string]string {
	var m map[string]string
	if err := json.Unmarshal(warningsFile, &m); err != nil {
		panic(err) // it is embedded in the program
	}
	return m
})

// WarningText returns the sentence about a warning of a report, or "" if there
// is no such warning.
func WarningText(code string) string { return sentences()[code] }

// Boundary is the page that lists what a report does not prove.
const Boundary = "docs/sdk-trust-boundary.md"

// anchors are the sections of the page.
var anchors = map[Kind]string{Receipt: "#receipts", SigstoreBundle: "#sigstore-bundles", Export: "#exports", Stream: "#streams", EvidenceBundle: "#evidence-bundles"}

func (r *Report) boundary() string {
	return "What this report does not prove: " + Boundary + anchors[r.Kind]
}

// Mark returns the verdict for people, such as "✓ VERIFIED".
func (r *Report) Mark() string {
	switch r.Verdict {
	case Verified:
		return "✓ VERIFIED"
	case NotVerified:
		return "✗ NOT VERIFIED"
	}
	return "? ERROR"
}

// An item is a row of a section of the report for people.
type item struct{ label, value string }

// A section is a part of the report for people.
type section struct {
	title string
	items []item
}

// sections returns the parts of a verified report that are not empty, escaped.
// See docs/spec/verify.md, section 5.
func (r *Report) sections() []section {
	if r.Verdict != Verified {
		return nil
	}
	proven, claimed := r.results()
	var warnings []item
	for _, code := range r.Warnings {
		warnings = append(warnings, item{code, WarningText(code)})
	}
	all := []section{{"Proven", itemsOf(proven)}, {"Claimed, not proven", itemsOf(claimed)}, {"Warnings", warnings}}
	return slices.DeleteFunc(all, func(s section) bool { return len(s.items) == 0 })
}

// Text returns the report for people, in lines.
func (r *Report) Text() string {
	var b strings.Builder
	b.WriteString(r.Mark())
	if r.Kind != "" {
		b.WriteString("  " + string(r.Kind))
	}
	b.WriteString("  " + visible(r.File) + "\n")
	if r.Verdict != Verified {
		fmt.Fprintf(&b, "  step %d: %s (%s)\n", r.Step, visible(r.Message), r.Code)
	}
	for _, s := range r.sections() {
		b.WriteString(s.title + "\n")
		width := 0
		for _, i := range s.items {
			width = max(width, utf8.RuneCountInString(i.label))
		}
		for _, i := range s.items {
			b.WriteString("  " + i.label + strings.Repeat(" ", width-utf8.RuneCountInString(i.label)+2) + i.value + "\n")
		}
	}
	b.WriteString(r.boundary() + "\n")
	return b.String()
}

// visible escapes untrusted text for one line.
func visible(s string) string {
	return strings.NewReplacer("\n", `\u000a`, "\t", `\u0009`).Replace(safetext.Escape(s))
}

// A node is a JSON value whose members have an order.
type node struct {
	kind     jsontext.Kind
	text     string   // of a string, number or boolean
	names    []string // of the members of an object
	children []node
}

// itemsOf returns the items of a result.
func itemsOf(result any) (all []item) {
	text, err := encode(result)
	if err != nil {
		panic(err) // a report consists of values that have a JSON form
	}
	root := readNode(jsontext.NewDecoder(bytes.NewReader(text)))
	for i, v := range root.children {
		name := root.names[i]
		switch {
		case v.kind == '{':
			for _, l := range v.leaves("") {
				all = append(all, item{visible(name) + "." + l.label, l.value})
			}
		case v.kind == '[' && len(v.children) == 0:
			all = append(all, item{visible(name), "none"})
		case v.kind == '[':
			for _, element := range v.children {
				all = append(all, item{visible(name), element.line(name)})
			}
		default:
			all = append(all, item{visible(name), v.value(name)})
		}
	}
	return all
}

// readNode reads the next value. The document has been written by this package.
func readNode(dec *jsontext.Decoder) node {
	t, err := dec.ReadToken()
	if err != nil {
		panic(err) // it is the JSON of a result
	}
	n := node{kind: t.Kind(), text: t.String()}
	switch n.kind {
	case '{':
		for dec.PeekKind() != '}' {
			n.names = append(n.names, readNode(dec).text)
			n.children = append(n.children, readNode(dec))
		}
		_, _ = dec.ReadToken()
	case '[':
		for dec.PeekKind() != ']' {
			n.children = append(n.children, readNode(dec))
		}
		_, _ = dec.ReadToken()
	}
	return n
}

// leaves returns the strings, numbers and booleans at any depth, each with its
// path.
func (n *node) leaves(path string) (all []item) {
	for i := range n.children {
		v, at, name := &n.children[i], "", ""
		if n.kind == '{' {
			name = n.names[i]
			at = visible(name)
			if path != "" {
				at = path + "." + at
			}
		} else {
			at = fmt.Sprintf("%s[%d]", path, i)
		}
		if v.kind == '{' || v.kind == '[' {
			all = append(all, v.leaves(at)...)
		} else {
			all = append(all, item{at, v.value(name)})
		}
	}
	return all
}

// line returns the value of an element of an array on one line. The name is the
// array's.
func (n *node) line(name string) string {
	if n.kind != '{' && n.kind != '[' {
		return n.value(name)
	}
	var parts []string
	for _, l := range n.leaves("") {
		parts = append(parts, l.label+" "+l.value)
	}
	return strings.Join(parts, ", ")
}

// timeNames are the names of members that are times in milliseconds.
var timeNames = []string{"time", "first", "newest", "integratedTime", "times"}

// firstYear10000 is the first time that the form of times cannot express.
const firstYear10000 = 253_402_300_800_000

// value returns the text of a string, number or boolean that is the value of a
// member, or an element of it.
func (n *node) value(name string) string {
	switch n.kind {
	case 't':
		return "yes"
	case 'f':
		return "no"
	case 'n':
		return "null"
	case '0':
		ms, err := strconv.ParseUint(n.text, 10, 64)
		if err == nil && ms < firstYear10000 && slices.Contains(timeNames, name) {
			return fmt.Sprintf("%s (%s)", n.text, time.UnixMilli(int64(ms)).UTC().Format(safetext.TimeFormat))
		}
	}
	return visible(n.text)
}

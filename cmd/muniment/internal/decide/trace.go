package decide

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/proto/kinds"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/sigstore"
)

type traceCmd struct {
	Digest string `arg:"" help:"Digest of the artifact, algorithm:value."`
	remote.Flags
	Depth int  `help:"How many levels to follow: up to what contains the artifact, and down to what it was made from." default:"1"`
	JSON  bool `help:"Print one JSON object."`
}

func (traceCmd) Help() string {
	return `Shows all evidence on an artifact as a tree: what built it, scanned it, contains it, excepts it. ✓ marks evidence whose signature the log has verified, ✗
evidence whose signature is wrong, and ? what is not signed or could not be verified. What the log says is its claim; receipts prove that it was recorded.

Exit code: 0 there is evidence; 1 there is none; 2 no answer.

Examples:
  muniment trace sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
  muniment trace sha256:2cf24dba… --depth 3
  muniment trace sha512:76176ffa… --json`
}

func (c *traceCmd) Run(a *term.App) error {
	digest, err := entry.ParseDigest(c.Digest)
	if err != nil {
		return err
	}
	if c.Depth < 0 || c.Depth > 16 {
		return errors.New("--depth: not between 0 and 16")
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	t := &tracer{ctx: a.Ctx, client: client, seen: map[string]bool{}}
	root, err := t.trace(digest.String(), c.Depth, both)
	if err != nil {
		return err
	}
	switch {
	case c.JSON:
		err = term.WriteJSON(a.Stdout, root)
	default:
		err = newTreePrinter(a).print(root)
	}
	if err != nil {
		return err
	}
	if t.truncated {
		fmt.Fprintf(a.Stderr, "not all is shown: no more than %d entries on an artifact, and %d artifacts; see all of an artifact with: muniment list --subject DIGEST --limit 0\n", maxTraceEntries, maxTraceArtifacts)
	}
	if len(root.Evidence)+len(root.PackagedIn) == 0 {
		return term.ExitWith(term.ExitNo, nil)
	}
	return nil
}

// Bounds of what one trace asks for.
const (
	maxTraceEntries   = 500
	maxTraceArtifacts = 100
)

// A traced artifact has all that is recorded about it.
type traced struct {
	Artifact   string     `json:"artifact"`
	Names      []string   `json:"names,omitempty"`
	Evidence   []evidence `json:"evidence,omitempty"`
	PackagedIn []*traced  `json:"packagedIn,omitempty"` // what lists it among its materials
	MadeFrom   []*traced  `json:"madeFrom,omitempty"`   // its materials
	Repeated   bool       `json:"repeated,omitempty"`   // it is elsewhere in the tree
}

// An evidence is an entry about an artifact.
type evidence struct {
	Category      string            `json:"category"` // built-by, scanned-by, …
	Index         uint64            `json:"index"`
	Time          string            `json:"time"`
	Kind          string            `json:"kind"`
	PredicateType string            `json:"predicateType,omitempty"`
	MediaType     string            `json:"mediaType"`
	Verification  string            `json:"verification"`
	Reason        string            `json:"verificationReason,omitempty"`
	Admission     string            `json:"admission,omitempty"`
	Signers       []string          `json:"signers,omitempty"`
	Submitter     string            `json:"submitter"`
	Controls      []string          `json:"controls,omitempty"`
	Attributes    map[string]string `json:"attributes,omitempty"`
}

// direction says which way to follow materials.
type direction int

const (
	up direction = 1 << iota // to what contains the artifact
	down
	both = up | down
)

type tracer struct {
	ctx       context.Context
	client    *muniment.Client
	seen      map[string]bool
	truncated bool
}

// trace gathers what is recorded about an artifact, and follows its materials
// as many levels as depth says.
func (t *tracer) trace(digest string, depth int, follow direction) (*traced, error) {
	node := &traced{Artifact: digest}
	if t.seen[digest] {
		node.Repeated = true
		return node, nil
	}
	if len(t.seen) == maxTraceArtifacts {
		t.truncated = true
		return node, nil
	}
	t.seen[digest] = true
	about, err := t.list(&munimentv1.Filter{Subject: digest})
	if err != nil {
		return nil, err
	}
	materials, names := newArtifacts(), map[string]bool{}
	for _, e := range about {
		node.Evidence = append(node.Evidence, evidenceOf(e))
		for _, s := range e.Subjects {
			if alg, value, _ := strings.Cut(digest, ":"); s.Name != "" && s.Digest[alg] == value {
				names[s.Name] = true
			}
		}
		if intoto.CategoryOf(e.PredicateType) == intoto.BuiltBy || e.Kind == kindname.ExportManifest {
			materials.add(e.Materials)
		}
	}
	node.Names = slices.Sorted(maps.Keys(names))
	slices.SortStableFunc(node.Evidence, func(a, b evidence) int {
		return slices.Index(categories, a.Category) - slices.Index(categories, b.Category)
	})
	if depth == 0 {
		return node, nil
	}
	if follow&up != 0 {
		within, err := t.list(&munimentv1.Filter{Material: digest})
		if err != nil {
			return nil, err
		}
		containers := newArtifacts()
		for _, e := range within {
			containers.add(e.Subjects)
		}
		if node.PackagedIn, err = t.all(containers, depth-1, up); err != nil {
			return nil, err
		}
	}
	if follow&down != 0 {
		if node.MadeFrom, err = t.all(materials, depth-1, down); err != nil {
			return nil, err
		}
	}
	return node, nil
}

func (t *tracer) all(as *artifacts, depth int, follow direction) ([]*traced, error) {
	var out []*traced
	for _, digest := range as.order {
		n, err := t.trace(digest, depth, follow)
		if err != nil {
			return nil, err
		}
		if name := as.names[digest]; name != "" && !slices.Contains(n.Names, name) {
			n.Names = append(n.Names, name)
		}
		out = append(out, n)
	}
	return out, nil
}

// artifacts are subjects by one of their digests each, without repetitions.
type artifacts struct {
	order []string
	names map[string]string
}

func newArtifacts() *artifacts { return &artifacts{names: map[string]string{}} }

func (as *artifacts) add(all []*munimentv1.Subject) {
	for _, s := range all {
		alg := "sha256"
		if s.Digest[alg] == "" {
			algs := slices.Sorted(maps.Keys(s.Digest))
			if len(algs) == 0 {
				continue
			}
			alg = algs[0]
		}
		digest := alg + ":" + s.Digest[alg]
		if _, ok := as.names[digest]; !ok {
			as.order = append(as.order, digest)
		}
		as.names[digest] = s.Name
	}
}

// list returns the entries that pass the filter, oldest first.
func (t *tracer) list(f *munimentv1.Filter) ([]*munimentv1.Entry, error) {
	res, err := t.client.ListEntries(t.ctx, connect.NewRequest(&munimentv1.ListEntriesRequest{Tenant: t.client.Tenant, Filter: f, PageSize: maxTraceEntries, Order: munimentv1.Order_ORDER_OLDEST_FIRST}))
	if err != nil {
		return nil, err
	}
	if res.Msg.NextPageToken != "" {
		t.truncated = true
	}
	return res.Msg.Entries, nil
}

// categories in the order in which they are shown.
var categories = append([]string{
	string(intoto.BuiltBy), string(intoto.SignedBy), string(intoto.DescribedBy), string(intoto.ScannedBy), string(intoto.TestedBy), string(intoto.VerifiedBy), string(intoto.AssessedBy),
	string(intoto.AttestedBy), string(intoto.RecordedBy),
}, kinds.Relations()...)

func categoryOf(e *munimentv1.Entry) string {
	if k, ok := kinds.Lookup(e.Kind); ok && k.Relation != "" {
		return k.Relation
	}
	switch {
	case e.PredicateType != "":
		return string(intoto.CategoryOf(e.PredicateType))
	case strings.HasPrefix(e.MediaType, sigstore.MediaTypePrefix), len(e.Signers) > 0:
		return string(intoto.SignedBy)
	default:
		return string(intoto.AttestedBy)
	}
}

func evidenceOf(e *munimentv1.Entry) evidence {
	ev := evidence{
		Category: categoryOf(e), Index: e.Index, Time: e.Time.AsTime().Format(term.TimeFormat), Kind: e.Kind, PredicateType: e.PredicateType, MediaType: e.MediaType,
		Verification: e.Verification, Reason: e.VerificationReason, Admission: e.Admission.GetResult(), Submitter: e.Submitter, Controls: e.Controls, Attributes: e.Attributes,
	}
	for _, s := range e.Signers {
		ev.Signers = append(ev.Signers, strings.TrimSpace(s.Identity+s.KeyId))
	}
	return ev
}

// summary says in a few words what the entry says.
func (e *evidence) summary() string {
	if k, ok := kinds.Lookup(e.Kind); ok && k.Relation != "" {
		return k.Summary(e.Attributes, e.Controls)
	}
	by := strings.Join(e.Signers, " and ")
	if by == "" {
		by = "from " + e.Submitter
	}
	what := e.PredicateType
	if what == "" {
		what, _, _ = strings.Cut(e.MediaType, ";")
	}
	return by + ", " + what
}

func day(t string) string {
	d, _, _ := strings.Cut(t, "T")
	return d
}

// ended says whether an exception has.
func (e *evidence) ended(now time.Time) bool {
	t, err := time.Parse(time.RFC3339Nano, e.Attributes["expires"])
	return e.Kind == kindname.Exception && err == nil && !t.After(now)
}

// A treePrinter draws a tree: in colours, and no wider than it, on a terminal.
type treePrinter struct {
	app    *term.App
	width  int // 0: as wide as it takes
	colour bool
	out    strings.Builder
}

func newTreePrinter(a *term.App) *treePrinter {
	p := &treePrinter{app: a}
	if width := a.Stdout.Width(); width > 0 {
		p.colour, p.width = os.Getenv("NO_COLOR") == "", max(width, 40)
	}
	return p
}

func (p *treePrinter) print(root *traced) error {
	p.line("", "", p.title(root), "")
	p.children("", root)
	_, err := io.WriteString(p.app.Stdout.Raw(), p.out.String()) // escaped by line, with colours
	return err
}

func (p *treePrinter) title(n *traced) string {
	return term.Quoted(strings.TrimSpace(n.Artifact + "  " + strings.Join(n.Names, ", ")))
}

func (p *treePrinter) children(indent string, n *traced) {
	type branch struct {
		text, colour string
		node         *traced
	}
	var all []branch
	for i := range n.Evidence {
		e := &n.Evidence[i]
		mark, colour := "?", "33"
		switch e.Verification {
		case entry.Verified:
			mark, colour = "✓", "32"
		case entry.Failed:
			mark, colour = "✗", "31"
		}
		text := fmt.Sprintf("%s %-13s %s  (entry %d, %s)", mark, strings.ReplaceAll(e.Category, "-", " "), term.Quoted(e.summary()), e.Index, day(e.Time))
		if e.ended(time.Now()) {
			text += " ENDED"
			colour = "31"
		}
		if e.Admission == entry.Recorded {
			text += " NOT ADMITTED by the policy, and kept"
		}
		all = append(all, branch{text, colour, nil})
	}
	for _, group := range []struct {
		label string
		nodes []*traced
	}{{"packaged in", n.PackagedIn}, {"made from", n.MadeFrom}} {
		for _, c := range group.nodes {
			text := fmt.Sprintf("▸ %-13s %s", group.label, p.title(c))
			switch {
			case c.Repeated:
				text += " (see above)"
			case len(c.Evidence) == 0:
				text += " (no evidence on it)"
			}
			all = append(all, branch{text, "1", c})
		}
	}
	if len(all) == 0 && indent == "" {
		p.line("", "└─ ", "no evidence", "")
	}
	for i, b := range all {
		fork, rest := "├─ ", "│  "
		if i == len(all)-1 {
			fork, rest = "└─ ", "   "
		}
		p.line(indent, fork, b.text, b.colour)
		if b.node != nil {
			p.children(indent+rest, b.node)
		}
	}
}

func (p *treePrinter) line(indent, fork, text, colour string) {
	text = term.Escape(text)
	if room := p.width - utf8.RuneCountInString(indent+fork); p.width > 0 && utf8.RuneCountInString(text) > room {
		r := []rune(text)
		text = string(r[:max(room-1, 1)]) + "…"
	}
	if p.colour && colour != "" {
		text = "\x1b[" + colour + "m" + text + "\x1b[0m"
	}
	p.out.WriteString(strings.TrimRight(indent+fork+text, " ") + "\n")
}

package decide

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/graph"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

type traceCmd struct {
	Digest string `arg:"" help:"Digest of the artifact, as ALGORITHM:VALUE."`
	remote.Flags
	Depth int  `help:"Levels of related artifacts to follow: up to those that contain the artifact, and down to those it was made from." default:"1"`
	JSON  bool `help:"Print one JSON object."`
}

func (traceCmd) Help() string {
	return `Shows all evidence on an artifact as a tree: what built it, scanned it, contains it, or exempts it from a control. ✓ marks evidence whose signature the log
verified, ✗ evidence with an invalid signature, and ? evidence that is not signed or could not be verified. The marks are claims of the log. Receipts prove that
the evidence was recorded.

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
	if c.Depth < 0 || c.Depth > graph.MaxDepth {
		return fmt.Errorf("--depth: must be from 0 to %d", graph.MaxDepth)
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	tree, err := graph.Trace(a.Ctx, source{client}, digest, c.Depth)
	if err != nil {
		return err
	}
	if c.JSON {
		err = term.WriteJSON(a.Stdout, tree.Root)
	} else {
		err = newTreePrinter(a).print(tree.Root)
	}
	if err != nil {
		return err
	}
	if tree.Truncated {
		fmt.Fprintf(a.Stderr, "incomplete: a trace has at most %d artifacts and %d entries on each; list all entries on an artifact with: muniment list --subject DIGEST --limit 0\n", graph.MaxArtifacts, graph.MaxEntries)
	}
	if !tree.Found() {
		return term.ExitWith(term.ExitNo, nil)
	}
	return nil
}

// A source reads the entries of the client's tenant from the server.
type source struct{ client *muniment.Client }

func (s source) Entries(ctx context.Context, f *munimentv1.Filter, limit int) ([]*munimentv1.Entry, bool, error) {
	res, err := s.client.ListEntries(ctx, connect.NewRequest(&munimentv1.ListEntriesRequest{Tenant: s.client.Tenant, Filter: f, PageSize: uint32(limit), Order: munimentv1.Order_ORDER_OLDEST_FIRST}))
	if err != nil {
		return nil, false, err
	}
	return res.Msg.Entries, res.Msg.NextPageToken != "", nil
}

// A treePrinter draws a tree. On a terminal it uses colours and truncates lines
// to the width.
type treePrinter struct {
	app    *term.App
	width  int // 0: unlimited
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

func (p *treePrinter) print(root *graph.Artifact) error {
	p.line("", "", p.title(root), "")
	p.children("", root)
	// each line is escaped, the colours are not
	_, err := io.WriteString(p.app.Stdout.Raw(), p.out.String())
	return err
}

func (p *treePrinter) title(n *graph.Artifact) string {
	return term.Quoted(strings.TrimSpace(n.Digest + "  " + strings.Join(n.Names, ", ")))
}

// A branch is a line of the tree. It has the children of node, if not nil.
type branch struct {
	text, colour string
	node         *graph.Artifact
}

func (p *treePrinter) children(indent string, n *graph.Artifact) {
	all := make([]branch, 0, len(n.Evidence)+len(n.PackagedIn)+len(n.MadeFrom))
	for i := range n.Evidence {
		all = append(all, evidenceBranch(&n.Evidence[i]))
	}
	for _, c := range n.PackagedIn {
		all = append(all, p.artifactBranch("packaged in", c))
	}
	for _, c := range n.MadeFrom {
		all = append(all, p.artifactBranch("made from", c))
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

func evidenceBranch(e *graph.Evidence) branch {
	mark, colour := "?", "33"
	switch e.Verification {
	case entry.Verified:
		mark, colour = "✓", "32"
	case entry.Failed:
		mark, colour = "✗", "31"
	}
	text := fmt.Sprintf("%s %-13s %s  (entry %d, %s)", mark, strings.ReplaceAll(e.Relation, "-", " "), term.Quoted(e.Summary()), e.Index, e.Time.UTC().Format(time.DateOnly))
	if e.Expired(time.Now()) {
		text += " EXPIRED"
		colour = "31"
	}
	if e.Admission == entry.Recorded {
		text += " NOT ADMITTED by the policy, but recorded"
	}
	return branch{text, colour, nil}
}

func (p *treePrinter) artifactBranch(relation string, n *graph.Artifact) branch {
	text := fmt.Sprintf("▸ %-13s %s", relation, p.title(n))
	switch {
	case n.Repeated:
		text += " (see above)"
	case len(n.Evidence) == 0:
		text += " (no evidence on it)"
	}
	return branch{text, "1", n}
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

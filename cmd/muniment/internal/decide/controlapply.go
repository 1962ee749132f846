package decide

import (
	"context"
	"fmt"
	"io"
	"slices"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/catalog"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

type controlApplyCmd struct {
	Set string `arg:"" help:"Control set file." predictor:"file"`
	remote.Flags
	DryRun bool `help:"List what would change, and append nothing."`
	JSON   bool `help:"Print one JSON object."`
}

func (controlApplyCmd) Help() string {
	return `Puts a control set in force for the tenant. It appends one entry of kind control for each control that
changed, and then one of kind control-set. Requires the role approver or admin.

Controls that the file does not contain are no longer in force. If an entry is refused, the set in force
stays in force. Applying the set in force again appends nothing.

Exit code: 0 in force, or would be; 1 the set is invalid or refused, and the old one stays in force; 2 no answer.

Examples:
  muniment control apply controls.yaml --dry-run
  muniment control apply controls.yaml`
}

// A controlChange is the result of applying a control set.
type controlChange struct {
	Version string `json:"version"`
	Digest  string `json:"digest"`
	// of the set; absent in a dry run that would append it
	Index   *uint64  `json:"index,omitempty"`
	Added   []string `json:"added,omitempty"`
	Changed []string `json:"changed,omitempty"`
	Removed []string `json:"removed,omitempty"`

	total     int
	unchanged bool
}

func (c *controlApplyCmd) Run(a *term.App) error {
	text, err := readControlFile(c.Set)
	if err != nil {
		return err
	}
	set, err := catalog.Parse(text)
	if err != nil {
		return term.ExitWith(term.ExitNo, fmt.Errorf("%s: invalid, so the control set in force is unchanged:\n%w", c.Set, err))
	}
	entries, err := set.Entries()
	if err != nil {
		return err
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	in, err := readControls(a.Ctx, client)
	if err != nil {
		return refusedControls(err)
	}
	change, pending := compareControls(set, entries, in)
	if !change.unchanged && !c.DryRun {
		index, err := appendControls(a.Ctx, client, pending, in)
		if err != nil {
			return err
		}
		change.Index = &index
	}
	if c.JSON {
		return term.WriteJSON(a.Stdout, change)
	}
	return change.print(a.Stdout)
}

// compareControls returns what a set changes, and the entries to append.
func compareControls(set *catalog.Set, entries []catalog.Entry, in *controlsInForce) (*controlChange, []catalog.Entry) {
	last := entries[len(entries)-1]
	d := &controlChange{Version: set.Version, Digest: last.Digest, total: len(set.Controls)}
	old := map[string]string{}
	if in != nil {
		old = in.listed
	}
	var pending []catalog.Entry
	for _, e := range entries[:len(entries)-1] {
		digest, listed := old[e.ID]
		switch {
		case !listed:
			d.Added = append(d.Added, e.ID)
		case digest != e.Digest:
			d.Changed = append(d.Changed, e.ID)
		case in.set != nil:
			continue
		}
		pending = append(pending, e)
	}
	for id := range old {
		if set.Control(id) == nil {
			d.Removed = append(d.Removed, id)
		}
	}
	slices.Sort(d.Removed)
	if in != nil && in.set != nil && in.digest == last.Digest {
		d.unchanged, d.Index = true, &in.index
	}
	return d, append(pending, last)
}

func (d *controlChange) print(w io.Writer) error {
	for _, list := range []struct {
		name string
		ids  []string
	}{{"added", d.Added}, {"changed", d.Changed}, {"removed", d.Removed}} {
		for _, id := range list.ids {
			fmt.Fprintf(w, "%-8s %s\n", list.name, term.Quoted(id))
		}
	}
	what := fmt.Sprintf("version %s, %s, %s", term.Quoted(d.Version), term.Count(d.total, "control"), d.Digest)
	var err error
	switch {
	case d.unchanged:
		_, err = fmt.Fprintf(w, "unchanged since entry %d: %s\n", *d.Index, what)
	case d.Index == nil:
		_, err = fmt.Fprintf(w, "would be in force: %s\n", what)
	default:
		_, err = fmt.Fprintf(w, "in force since entry %d: %s\n", *d.Index, what)
	}
	return err
}

// maxControlBatch is the number of entries in one call, whose request can have
// 1,000 submissions.
const maxControlBatch = 500

// appendControls appends the entries, the set last, and returns the index of
// the set. A retry after a failure appends nothing twice, because the keys
// depend on the set in force before.
func appendControls(ctx context.Context, client *muniment.Client, entries []catalog.Entry, in *controlsInForce) (uint64, error) {
	before := "none"
	if in != nil {
		before = fmt.Sprint(in.index)
	}
	controls, set := entries[:len(entries)-1], entries[len(entries)-1:]
	var last uint64
	for _, group := range append(slices.Collect(slices.Chunk(controls, maxControlBatch)), set) {
		var subs []muniment.Submission
		for _, e := range group {
			subs = append(subs, muniment.Submission{Kind: e.Kind, Payload: e.Payload, IdempotencyKey: e.Digest + " after " + before})
		}
		results, err := client.AppendBatch(ctx, subs)
		if err != nil {
			return 0, refusedControls(err)
		}
		for i, r := range results {
			if r.Err != nil {
				return 0, refusedControls(fmt.Errorf("%s: %w", nameOf(group[i]), r.Err))
			}
			last = r.Index
		}
	}
	return last, admittedSet(ctx, client, last)
}

// admittedSet returns an error if the admission policy recorded the set without
// admitting it.
func admittedSet(ctx context.Context, client *muniment.Client, index uint64) error {
	res, err := client.GetEntry(ctx, connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: client.Tenant, Index: index}))
	if err != nil {
		return err
	}
	if a := res.Msg.Entry.Admission; a.GetResult() == entry.Recorded {
		return term.ExitWith(term.ExitNo, fmt.Errorf("recorded as entry %d, but the control set in force is unchanged: the admission policy does not admit it: %s", index, a.GetReason()))
	}
	return nil
}

func nameOf(e catalog.Entry) string {
	if e.ID == "" {
		return "the control set"
	}
	return "control " + e.ID
}

// refusedControls gives refusals of the server the exit code of an answer.
func refusedControls(err error) error {
	if isRefusal(err) {
		return term.ExitWith(term.ExitNo, fmt.Errorf("refused, so the control set in force is unchanged: %w", err))
	}
	return err
}

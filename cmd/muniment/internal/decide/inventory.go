package decide

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/inventory"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/term"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

type inventoryCmd struct {
	Cluster  inventoryClusterCmd  `cmd:"" help:"Record what the Pods of a Kubernetes cluster run."`
	Registry inventoryRegistryCmd `cmd:"" help:"Record what a registry has."`
	Release  inventoryReleaseCmd  `cmd:"" help:"Record what a release consists of."`
	Retire   inventoryRetireCmd   `cmd:"" help:"Record that a cluster, registry or release has ended."`
	List     inventoryListCmd     `cmd:"" help:"List what the newest inventories contain."`
	Decide   inventoryDecideCmd   `cmd:"" help:"Decide again about everything that runs."`
}

// recordFlags are the flags of commands that record inventories.
type recordFlags struct {
	remote.Flags
	Environment string `help:"Environment that it belongs to, such as production/eu." placeholder:"NAME" required:""`
	Source      string `help:"Name of the observed system. A new inventory replaces the last one of the same scope, environment and source." placeholder:"NAME"`
	DryRun      bool   `help:"Print the result and record nothing."`
	term.ResultFlags
}

// Bounds of the parts of an observation, which keep their payloads and headers
// within those of the kind.
const (
	partItems = 1000
	partBytes = 384 << 10
	maxParts  = 1024
)

// An observed is what a command has found.
type observed struct {
	scope        string
	release      string // that it lists; "": none
	version      string // of the release
	at           time.Time
	items        []*munimentv1.InventoryItem
	unidentified []*munimentv1.UnidentifiedItem
	notes        []string // for people
}

// An inventoryReport is the result of a command that records an inventory. Its
// JSON is stable.
type inventoryReport struct {
	Scope        string              `json:"scope"`
	Environment  string              `json:"environment"`
	Source       string              `json:"source,omitempty"`
	Release      string              `json:"release,omitempty"`
	Version      string              `json:"version,omitempty"`
	Observed     string              `json:"observed"`
	Entries      []uint64            `json:"entries,omitempty"` // none: a dry run
	Items        int                 `json:"items"`
	Artifacts    int                 `json:"artifacts"` // different digests
	Unidentified []unidentifiedEntry `json:"unidentified"`
	StaticPods   []string            `json:"staticPods"`
	Mismatches   []string            `json:"mismatches,omitempty"` // pinned is another digest
	Notes        []string            `json:"notes,omitempty"`
}

type unidentifiedEntry struct {
	Name     string `json:"name"`
	Reason   string `json:"reason"`
	Workload string `json:"workload,omitempty"`
}

// record appends what was found, in as many entries as it needs, and reports
// it.
func (c *recordFlags) record(ctx context.Context, client *muniment.Client, o *observed) (*inventoryReport, error) {
	r := c.report(o)
	if c.DryRun {
		return r, nil
	}
	head := &munimentv1.Inventory{Scope: o.scope, Environment: c.Environment, Source: c.Source, Observed: timestamppb.New(o.at), Release: o.release, Version: o.version}
	parts, err := split(head, o.items, o.unidentified)
	if err != nil {
		return nil, err
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return nil, err
	}
	for i, part := range parts {
		if len(parts) > 1 {
			part.Observation, part.Part, part.Parts = hex.EncodeToString(id), uint32(i+1), uint32(len(parts))
		}
		payload, err := protojson.Marshal(part)
		if err != nil {
			return nil, err
		}
		appended, err := client.Append(ctx, muniment.Submission{Kind: kindname.Inventory, Payload: payload, IdempotencyKey: fmt.Sprintf("inventory/%x/%d", id, i+1)})
		if err == nil {
			err = appended.Err
		}
		if err != nil {
			if isRefusal(err) {
				err = term.ExitWith(term.ExitNo, errors.New(strings.TrimPrefix(remote.ErrorText(err), "--kind: ")))
			}
			return nil, err
		}
		r.Entries = append(r.Entries, appended.Index)
	}
	return r, nil
}

// split distributes items to inventories with the same head.
func split(head *munimentv1.Inventory, items []*munimentv1.InventoryItem, unidentified []*munimentv1.UnidentifiedItem) (parts []*munimentv1.Inventory, err error) {
	var part *munimentv1.Inventory
	n, size := 0, 0
	room := func(m proto.Message) {
		// JSON repeats the names of members, which the binary form does not.
		if n++; part == nil || n > partItems || size > partBytes {
			part = proto.Clone(head).(*munimentv1.Inventory)
			parts, n, size = append(parts, part), 1, 0
		}
		size += 2*proto.Size(m) + 256
	}
	for _, i := range items {
		room(i)
		part.Items = append(part.Items, i)
	}
	for _, u := range unidentified {
		room(u)
		part.Unidentified = append(part.Unidentified, u)
	}
	switch {
	case part == nil:
		return []*munimentv1.Inventory{head}, nil // nothing exists or runs
	case len(parts) > maxParts:
		return nil, fmt.Errorf("%d items need more than %d entries: record parts of the environment under other names", len(items)+len(unidentified), maxParts)
	}
	return parts, nil
}

func (c *recordFlags) report(o *observed) *inventoryReport {
	r := &inventoryReport{Scope: o.scope, Environment: c.Environment, Source: c.Source, Release: o.release, Version: o.version, Observed: o.at.UTC().Format(term.TimeFormat), Items: len(o.items), Unidentified: []unidentifiedEntry{}, StaticPods: []string{}, Notes: o.notes}
	digests, static := map[string]bool{}, map[string]bool{}
	for _, i := range o.items {
		digests[i.Type+answer.DigestText(i.Artifact.Digest)] = true
		if i.StaticPod {
			static[i.Workload] = true
		}
		if i.Declared != "" {
			r.Mismatches = append(r.Mismatches, fmt.Sprintf("%s: runs %s, but its specification names %s", i.Workload, answer.DigestText(i.Artifact.Digest), i.Declared))
		}
	}
	for _, u := range o.unidentified {
		r.Unidentified = append(r.Unidentified, unidentifiedEntry{u.Name, u.Reason, u.Workload})
		if u.StaticPod {
			static[u.Workload] = true
		}
	}
	r.Artifacts, r.StaticPods = len(digests), sortedNames(static)
	return r
}

// Text implements term.Result.
func (r *inventoryReport) Text() string {
	var b strings.Builder
	verb := "recorded"
	if len(r.Entries) == 0 {
		verb = "found"
	}
	fmt.Fprintf(&b, "%s what %s in %s", verb, r.Scope, term.Quoted(r.Environment))
	if r.Source != "" {
		fmt.Fprintf(&b, " (%s)", term.Quoted(r.Source))
	}
	fmt.Fprintf(&b, ": %s", term.Count(r.Artifacts, "artifact"))
	if n := len(r.Unidentified); n > 0 {
		fmt.Fprintf(&b, ", %d without a digest", n)
	}
	if len(r.Entries) > 0 {
		fmt.Fprintf(&b, " (%s)", entriesText(r.Entries))
	}
	b.WriteByte('\n')
	for _, u := range r.Unidentified {
		where := ""
		if u.Workload != "" {
			where = term.Quoted(u.Workload) + ": "
		}
		fmt.Fprintf(&b, "  ? %s%s: %s\n", where, term.Quoted(u.Name), term.Quoted(u.Reason))
	}
	for _, m := range r.Mismatches {
		fmt.Fprintf(&b, "  ! %s\n", term.Quoted(m))
	}
	for _, s := range r.StaticPods {
		fmt.Fprintf(&b, "  ! %s is a static Pod, about which no admission has decided\n", term.Quoted(s))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "  - %s\n", term.Quoted(n))
	}
	return b.String()
}

type inventoryRetireCmd struct {
	remote.Flags
	Environment string `help:"Environment of its inventories." placeholder:"NAME" required:""`
	Scope       string `help:"Scope of its inventories." enum:"exists,runs" placeholder:"exists|runs" required:""`
	Source      string `help:"Name of the source, as muniment inventory list prints it." placeholder:"NAME" required:""`
	term.ResultFlags
}

func (inventoryRetireCmd) Help() string {
	return `Its artifacts no longer count, and its inventories are no longer stale. Another inventory of the source takes the end back.

Exit code: 0 recorded; 1 refused; 2 no answer.

Examples:
  muniment inventory retire --environment production/eu --scope runs --source "kubernetes old-cluster"`
}

func (c *inventoryRetireCmd) Run(a *term.App) error {
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	now := time.Now()
	index, err := appendEvent(a.Ctx, client, kindname.Inventory, &munimentv1.Inventory{Scope: c.Scope, Environment: c.Environment, Source: c.Source, Observed: timestamppb.New(now), Retired: true})
	if err != nil {
		return err
	}
	return c.Print(a, &retiredReport{Scope: c.Scope, Environment: c.Environment, Source: c.Source, Entry: index})
}

type retiredReport struct {
	Scope       string `json:"scope"`
	Environment string `json:"environment"`
	Source      string `json:"source"`
	Entry       uint64 `json:"entry"`
}

// Text implements term.Result.
func (r *retiredReport) Text() string {
	return fmt.Sprintf("%s has ended: what %s there in %s no longer counts (entry %d)\n", term.Quoted(r.Source), r.Scope, term.Quoted(r.Environment), r.Entry)
}

// scopes of inventories, as the API writes them.
const (
	scopeExists = inventory.Exists
	scopeRuns   = inventory.Runs
)

package views

import (
	"context"
	"maps"
	"slices"
	"time"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/controls/graph"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

const (
	defaultDepth    = 2
	maxGraphEntries = 5000    // read for one graph
	maxGraphBytes   = 4 << 20 // of their headers
	maxNodeNames    = 8
	maxSigners      = 8
)

// GetArtifact returns what the stream contains about an artifact. Errors: those
// of the log about the page token.
func (r *Reader) GetArtifact(ctx context.Context, v *Viewer, req *munimentv1.GetArtifactRequest, digest entry.Digest) (*munimentv1.GetArtifactResponse, error) {
	res := &munimentv1.GetArtifactResponse{Digest: digest.String()}
	limit := int(req.PageSize)
	if limit == 0 {
		limit = MaxPage
	}
	page, err := r.Log.List(ctx, v.Stream, ledger.Query{Filter: ledger.Filter{Subject: digest.String()}, Limit: limit, Token: req.PageToken})
	if err != nil {
		return nil, err
	}
	for i := range page.Entries {
		res.Timeline = append(res.Timeline, v.timelineItem(r.Message(&page.Entries[i])))
	}
	if res.NextPageToken = page.Next; req.PageToken != "" {
		return res, nil
	}
	depth := int(req.Depth)
	if depth == 0 {
		depth = defaultDepth
	}
	if err := r.addGraph(ctx, v.Stream, res, digest, depth); err != nil {
		return nil, err
	}
	if err := r.addDecisions(ctx, v.Stream, res, digest); err != nil {
		return nil, err
	}
	if err := r.addFindings(ctx, v, res, digest); err != nil {
		return nil, err
	}
	return res, r.addExceptions(ctx, v, res, digest)
}

func (v *Viewer) timelineItem(e *munimentv1.Entry) *munimentv1.TimelineItem {
	ev := graph.NewEvidence(e)
	return &munimentv1.TimelineItem{
		Index: e.Index, Time: e.Time, Kind: e.Kind, Relation: ev.Relation, PredicateType: e.PredicateType, MediaType: e.MediaType, Summary: ev.Summary(),
		Verification: e.Verification, Signers: first(ev.Signers, maxSigners), Submitter: v.person(e.Submitter), Controls: first(e.Controls, maxTextLists), Admission: ev.Admission,
	}
}

// addGraph adds the graph, and the names that the entries give the artifact.
func (r *Reader) addGraph(ctx context.Context, s *ledger.Stream, res *munimentv1.GetArtifactResponse, digest entry.Digest, depth int) error {
	source := &graphSource{reader: r, stream: s, left: maxGraphEntries, bytes: maxGraphBytes}
	tree, err := graph.Trace(ctx, source, digest, depth)
	if err != nil {
		return err
	}
	d := &drawing{graph: &munimentv1.ArtifactGraph{Truncated: tree.Truncated}, nodes: map[string]*munimentv1.GraphNode{}, edges: map[[2]string]bool{}}
	d.draw(tree.Root).Root = true
	res.Graph, res.Names = d.graph, first(tree.Root.Names, maxNames)
	return nil
}

// A graphSource has the entries of a stream, up to a number and a size. A
// header can name thousands of artifacts.
type graphSource struct {
	reader *Reader
	stream *ledger.Stream
	left   int // entries
	bytes  int // of headers
}

// Entries implements graph.Source.
func (g *graphSource) Entries(ctx context.Context, f *munimentv1.Filter, limit int) (all []*munimentv1.Entry, more bool, err error) {
	limit = min(limit, g.left)
	if limit == 0 || g.bytes <= 0 {
		return nil, true, ctx.Err()
	}
	q := ledger.Query{Filter: ledger.Filter{Subject: f.Subject, Material: f.Material}, OldestFirst: true, Limit: limit}
	for {
		page, err := g.reader.Log.List(ctx, g.stream, q)
		if err != nil {
			return nil, false, err
		}
		for i := range page.Entries {
			e := g.reader.Message(&page.Entries[i])
			g.bytes -= len(e.Header)
			e.Header = nil // its contents are in the other fields
			all = append(all, e)
			if g.left--; g.bytes <= 0 {
				return all, true, nil
			}
		}
		if q.Limit, q.Token = limit-len(all), page.Next; q.Limit <= 0 || q.Token == "" {
			return all, page.Next != "", nil
		}
	}
}

// A drawing makes a graph of a tree, which can contain an artifact several
// times.
type drawing struct {
	graph *munimentv1.ArtifactGraph
	nodes map[string]*munimentv1.GraphNode
	edges map[[2]string]bool
}

func (d *drawing) draw(a *graph.Artifact) *munimentv1.GraphNode {
	n := d.nodes[a.Digest]
	if n == nil {
		n = &munimentv1.GraphNode{Digest: a.Digest}
		d.nodes[a.Digest] = n
		d.graph.Nodes = append(d.graph.Nodes, n)
	}
	for _, name := range a.Names {
		if len(n.Names) < maxNodeNames && !slices.Contains(n.Names, name) {
			n.Names = append(n.Names, name)
		}
	}
	if len(a.Evidence) > 0 {
		n.Evidence = map[string]uint32{}
		for i := range a.Evidence {
			n.Evidence[a.Evidence[i].Relation]++
		}
	}
	for _, in := range a.PackagedIn {
		d.edge(a.Digest, d.draw(in).Digest)
	}
	for _, from := range a.MadeFrom {
		d.edge(d.draw(from).Digest, a.Digest)
	}
	return n
}

func (d *drawing) edge(from, to string) {
	if key := [2]string{from, to}; !d.edges[key] {
		d.edges[key] = true
		d.graph.Edges = append(d.graph.Edges, &munimentv1.GraphEdge{From: from, To: to})
	}
}

// recentDecision returns a recorded decision from its header.
func recentDecision(e *ledger.Entry) *munimentv1.RecentDecision {
	d := decide.DecisionOf(e)
	m := &munimentv1.RecentDecision{Index: e.Index, Time: timestamp(timeOf(e)), Decided: d.Decided, Stage: d.Stage, Environment: d.Environment, Decision: d.Decision,
		Reason: e.Header.Attributes["reason"], Type: d.Type, Controls: first(e.Header.Controls, maxTextLists)}
	if len(d.Subjects) > 0 {
		m.Artifact = d.Subjects[0]
	}
	return m
}

func (r *Reader) addDecisions(ctx context.Context, s *ledger.Stream, res *munimentv1.GetArtifactResponse, digest entry.Digest) error {
	set, err := r.Decider.Set(ctx, s)
	if err != nil {
		return err
	}
	stages, environments := map[string]bool{}, map[string]bool{}
	if set != nil {
		for _, stage := range set.Stages {
			stages[stage] = true
		}
	}
	page, err := r.Log.List(ctx, s, ledger.Query{Filter: ledger.Filter{Subject: digest.String(), Kind: kindname.GateDecision}, Limit: MaxPage})
	if err != nil {
		return err
	}
	for i := range page.Entries {
		e := &page.Entries[i]
		if i == 0 {
			res.Subject = subjectOf(decide.DecisionOf(e))
		}
		m := recentDecision(e)
		stages[m.Stage] = true
		if m.Environment != "" {
			environments[m.Environment] = true
		}
		res.Decisions = append(res.Decisions, m)
	}
	res.Stages, res.Environments = first(slices.Sorted(maps.Keys(stages)), maxNames), first(slices.Sorted(maps.Keys(environments)), maxNames)
	return nil
}

// subjectOf returns the subject that a decision is about.
func subjectOf(d *munimentv1.GateDecision) *munimentv1.GateSubject {
	if len(d.Subjects) == 0 {
		return nil
	}
	m := &munimentv1.GateSubject{Type: d.Type, Artifact: d.Subjects[0]}
	for _, part := range d.Subjects[1:] {
		m.Parts = append(m.Parts, &munimentv1.GatePart{Digest: part.Digest, Platform: part.Name})
	}
	return m
}

func (r *Reader) addFindings(ctx context.Context, v *Viewer, res *munimentv1.GetArtifactResponse, digest entry.Digest) error {
	w, err := r.follower(ctx, v.Stream)
	if err != nil {
		return err
	}
	return r.Findings.Use(ctx, v.Stream, func(all []*finding.Finding, _ uint64) {
		var open []followed
		for _, f := range all {
			if !slices.ContainsFunc(f.Subjects, func(s entry.Subject) bool { return s.Has(digest) }) {
				continue
			}
			if res.FindingsTotal++; !f.Resolved() {
				open = append(open, w.follow(f))
			}
		}
		sortFindings(open, munimentv1.FindingOrder_FINDING_ORDER_URGENT)
		open = first(open, MaxPage)
		for i := range open {
			res.Findings = append(res.Findings, v.finding(&open[i]))
		}
	})
}

// addExceptions adds the exceptions that cover the artifact by its digest or
// one of its names.
func (r *Reader) addExceptions(ctx context.Context, v *Viewer, res *munimentv1.GetArtifactResponse, digest entry.Digest) error {
	h, err := r.hearing(ctx, v)
	if err != nil {
		return err
	}
	all, err := r.Exceptions.All(ctx, v.Stream)
	if err != nil {
		return err
	}
	slices.Reverse(all)
	for _, x := range all {
		if len(res.Exceptions) < MaxPage && covers(x, digest, res.Names) {
			res.Exceptions = append(res.Exceptions, h.exception(x))
		}
	}
	return ctx.Err()
}

func covers(x *exception.Exception, digest entry.Digest, names []string) bool {
	s := entry.Subject{Digest: map[string]string{digest.Algorithm(): digest.Value()}}
	return x.CoversArtifact(s) || slices.ContainsFunc(names, func(name string) bool { return x.CoversArtifact(entry.Subject{Name: name}) })
}

// day is the length of a day.
const day = 24 * time.Hour

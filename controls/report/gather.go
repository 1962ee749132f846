package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/inventory"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Bounds of a release. The newest entries are shown.
const (
	MaxArtifacts    = 10_000
	maxEvidence     = evaluate.MaxEvidence // about one artifact
	maxRecorded     = evaluate.MaxRecent   // decisions about one artifact
	maxEnvironments = 16                   // of a stage
	maxFindings     = 50_000               // entries
	maxExceptions   = 20_000               // entries
	maxEvents       = 1000                 // entries of one kind
	maxEventBytes   = 64 << 20             // of the payloads of one kind
)

// A Source has the stream that a release is gathered from.
type Source struct {
	// Decider makes the decisions, and its log has the entries.
	Decider *decide.Decider
	Stream  *ledger.Stream
	Tenant  string
	Origin  string // of the log
	// Inventories has the inventories of streams. Nil: they are read again.
	Inventories *inventory.Projection
	// Coverage returns the reader that computes coverage, which is gathered
	// last. Nil: one that decides as the Decider.
	Coverage func(context.Context, *Release) (*inventory.Reader, error)
	// Erasures is the size of the log below which erasures are listed. 0: that
	// of the published log.
	Erasures uint64
}

// A Selection is what a release consists of.
type Selection struct {
	Name      string // of the release; can be empty
	What      string // was selected, as a phrase, such as "release 1.7.0"
	Artifacts []decide.Artifact
	// Since is the time from which events without artifacts are shown.
	Since time.Time
	// Incident limits the events to those of an incident of triage. "": none.
	Incident string
	// Stage and Environment limit the places that are decided about. By
	// default, they are all that the control set or gates have named, and
	// coverage is that of the stage deploy or, without it, of the last stage.
	Stage, Environment string
	// Previous is the release that this one is compared with.
	Previous *Previous
}

// A Previous is an earlier release.
type Previous struct {
	Name      string
	Artifacts []decide.Artifact
}

// Gather returns a release as it is in a stream below a size of the log, with
// decisions as of a time. The time is not before the newest entry below the
// size. What is erased by now is missing and listed as erased.
func Gather(ctx context.Context, src *Source, size uint64, at time.Time, sel *Selection) (*Release, error) {
	if n := len(sel.Artifacts); n > MaxArtifacts {
		return nil, fmt.Errorf("%d artifacts: must be at most %d", n, MaxArtifacts)
	}
	g := &gathering{
		Source: src, selection: sel, size: size,
		release: &Release{Name: sel.Name, Selection: sel.What, Log: Log{Origin: src.Origin, Size: size}, Tenant: src.Tenant, Time: at.UTC().Truncate(time.Millisecond), Since: sel.Since},
		digests: map[entry.Digest][]int{}, evidence: map[uint64]*Evidence{}, named: map[Place]bool{},
	}
	for _, step := range []func(context.Context) error{
		g.addControls, g.addArtifacts, g.addDecisions, g.addExceptions, g.addFindings, g.addEvents, g.addErased, g.addAnalyses, g.addDifferences, g.addCoverage,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return g.release, ctx.Err()
}

// A gathering is a release that is being filled.
type gathering struct {
	*Source
	selection *Selection
	size      uint64
	release   *Release

	inForce  *decide.SetInForce // nil: none that can be read
	messages *munimentv1.ControlSet
	set      *evaluate.Set          // nil: none that can be read
	digests  map[entry.Digest][]int // artifacts that have the digest
	evidence map[uint64]*Evidence
	named    map[Place]bool // by recorded decisions
}

// newestFirst calls visit with the entries below the size that match the
// filter, at most limit of them. It reports whether there are more.
func (g *gathering) newestFirst(ctx context.Context, f ledger.Filter, limit int, visit func(*ledger.Entry) error) (more bool, err error) {
	n := 0
	failed := g.Decider.NewestFirst(ctx, g.Stream, f, g.size, func(e *ledger.Entry) bool {
		if n++; n > limit {
			more = true
			return false
		}
		err = visit(e)
		return err == nil
	})
	return more, errors.Join(failed, err)
}

// oldestFirst returns the newest entries of a kind below the size in their
// order, at most limit.
func (g *gathering) oldestFirst(ctx context.Context, kind, plural string, limit int) (all []*ledger.Entry, err error) {
	more, err := g.newestFirst(ctx, ledger.Filter{Kind: kind}, limit, func(e *ledger.Entry) error {
		all = append(all, e)
		return nil
	})
	if more {
		g.leftOut(plural, limit)
	}
	slices.Reverse(all)
	return all, err
}

func (g *gathering) leftOut(what string, limit int) {
	if one := (LeftOut{what, limit}); !slices.Contains(g.release.LeftOut, one) {
		g.release.LeftOut = append(g.release.LeftOut, one)
	}
}

// payload returns the payload of an entry, or nil if it was erased.
func (g *gathering) payload(ctx context.Context, e *ledger.Entry) ([]byte, error) {
	p, err := g.Decider.Log.Payload(ctx, e)
	switch {
	case err != nil:
		return nil, fmt.Errorf("payload of entry %d: %w", e.Index, err)
	case p == nil:
		return nil, nil
	}
	return p.Content, nil
}

func timeOf(e *ledger.Entry) time.Time { return time.UnixMilli(int64(e.Skeleton.Time)).UTC() }

// addControls adds the control set in force.
func (g *gathering) addControls(ctx context.Context) error {
	in, err := g.Decider.InForceAt(ctx, g.Stream, g.size)
	if errors.Is(err, decide.ErrNoSet) || errors.Is(err, decide.ErrUnreadableSet) {
		return nil
	}
	if err != nil {
		return err
	}
	set, err := decide.Candidate(in.Payload, in.Controls)
	if err != nil {
		return nil // every decision is undecided, with the reason
	}
	response, err := in.Response()
	if err != nil {
		return nil
	}
	g.inForce, g.set, g.messages = in, set, response.Set
	g.release.ControlSet = &ControlSet{Version: response.Set.Version, Digest: in.Digest, Entry: in.Index}
	for i, m := range response.Controls {
		g.release.Controls = append(g.release.Controls, Control{Control: m, Entry: in.Entries[i]})
	}
	return nil
}

// addArtifacts adds the artifacts with the evidence and the recorded decisions
// about them.
func (g *gathering) addArtifacts(ctx context.Context) error {
	for i := range g.selection.Artifacts {
		a := Artifact{Artifact: g.selection.Artifacts[i]}
		about := map[uint64]bool{}
		for _, digest := range digestsOf(&a.Artifact) {
			g.digests[digest] = append(g.digests[digest], i)
			if err := g.addAbout(ctx, i, &a, digest, about); err != nil {
				return fmt.Errorf("artifact %d: %w", i, err)
			}
		}
		a.Evidence = slices.Sorted(maps.Keys(about))
		slices.SortFunc(a.Recorded, func(x, y Recorded) int { return cmp.Compare(y.Entry, x.Entry) })
		g.release.Artifacts = append(g.release.Artifacts, a)
	}
	for _, index := range slices.Sorted(maps.Keys(g.evidence)) {
		g.release.Evidence = append(g.release.Evidence, *g.evidence[index])
	}
	return nil
}

// digestsOf returns the digests of an artifact and its parts, sorted.
func digestsOf(a *decide.Artifact) []entry.Digest {
	in := evaluate.Input{Subject: a.Subject, Parts: a.Parts}
	return slices.SortedFunc(maps.Keys(in.Digests()), func(x, y entry.Digest) int { return strings.Compare(x.String(), y.String()) })
}

// addDecisions decides about the artifacts at each place.
func (g *gathering) addDecisions(ctx context.Context) error {
	r := g.release
	r.Places = g.places()
	for _, p := range r.Places {
		q := &decide.Question{Stage: p.Stage, Environment: p.Environment, At: decide.Moment{Size: g.size, Time: r.Time}}
		err := g.Decider.Decide(ctx, g.Tenant, g.Stream, q, g.selection.Artifacts, func(i int, d *evaluate.Decision) error {
			r.Artifacts[i].Decisions = append(r.Artifacts[i].Decisions, d)
			return nil
		})
		if err != nil {
			return fmt.Errorf("decide about stage %s: %w", p, err)
		}
	}
	r.count()
	return g.addCited(ctx)
}

// addCited adds the entries that decisions rest on and that are no evidence
// about the artifacts so far.
func (g *gathering) addCited(ctx context.Context) error {
	r := g.release
	cited := map[uint64]bool{}
	for i := range r.Artifacts {
		for _, d := range r.Artifacts[i].Decisions {
			for k := range d.Results {
				for _, e := range d.Results[k].Entries {
					cited[e] = true
				}
			}
		}
	}
	for _, index := range slices.Sorted(maps.Keys(cited)) {
		if g.evidence[index] != nil {
			continue
		}
		e, err := g.Decider.Log.Entry(ctx, g.Stream, index)
		if err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		if e.Header == nil {
			continue // erased meanwhile
		}
		one := newEvidence(e)
		one.Artifacts = g.about(e.Header.Subjects)
		g.evidence[index] = one
		r.Evidence = append(r.Evidence, *one)
	}
	slices.SortFunc(r.Evidence, func(a, b Evidence) int { return cmp.Compare(a.Entry, b.Entry) })
	return nil
}

// places returns the stages in the order of the set, each with the environments
// that the set or gates have named, or none if there are no such.
func (g *gathering) places() (all []Place) {
	sel := g.selection
	stages := g.messages.GetStages()
	if sel.Stage != "" {
		stages = []string{sel.Stage}
	}
	for _, stage := range stages {
		if sel.Environment != "" {
			all = append(all, Place{stage, sel.Environment})
			continue
		}
		names := g.environments(stage)
		if len(names) > maxEnvironments {
			g.leftOut("environments of stage "+stage, maxEnvironments)
			names = names[:maxEnvironments]
		}
		for _, name := range names {
			all = append(all, Place{stage, name})
		}
		if len(names) == 0 {
			all = append(all, Place{Stage: stage})
		}
	}
	return all
}

func (g *gathering) environments(stage string) []string {
	all := slices.Clone(g.messages.GetEnvironments())
	for i := range g.release.Controls {
		for _, m := range g.release.Controls[i].Modes {
			if m.Stage == stage {
				all = append(all, m.Environments...)
			}
		}
	}
	all = slices.DeleteFunc(all, func(name string) bool { return strings.ContainsAny(name, `*?[]{}\`) })
	for p := range g.named {
		if p.Stage == stage && p.Environment != "" {
			all = append(all, p.Environment)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// about returns the artifacts that subjects mention, increasing.
func (g *gathering) about(subjects []entry.Subject) (all []int) {
	for i := range subjects {
		for alg, value := range subjects[i].Digest {
			all = append(all, g.digests[entry.CanonicalDigest(alg, value)]...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// addAbout adds the entries about an artifact that mention a digest. It asks
// for each kind: an inventory of the release mentions all artifacts, and would
// be read again for each of them.
func (g *gathering) addAbout(ctx context.Context, i int, a *Artifact, digest entry.Digest, about map[uint64]bool) error {
	for _, kind := range []string{kindname.Attestation, kindname.ExportManifest} {
		more, err := g.newestFirst(ctx, ledger.Filter{Kind: kind, Subject: digest.String()}, maxEvidence, func(e *ledger.Entry) error {
			about[e.Index] = true
			g.addEvidence(i, e)
			return nil
		})
		if err != nil {
			return err
		}
		if more {
			g.leftOut("entries about one artifact", maxEvidence)
		}
	}
	_, err := g.newestFirst(ctx, ledger.Filter{Kind: kindname.GateDecision, Subject: digest.String()}, maxRecorded, func(e *ledger.Entry) error {
		if !slices.ContainsFunc(a.Recorded, func(r Recorded) bool { return r.Entry == e.Index }) {
			g.addRecorded(a, e)
		}
		return nil
	})
	return err
}

func (g *gathering) addRecorded(a *Artifact, e *ledger.Entry) {
	attributes := e.Header.Attributes
	r := Recorded{Entry: e.Index, Time: timeOf(e), Place: Place{attributes["stage"], attributes["environment"]}, Decision: evaluate.Outcome(attributes["decision"]), Offline: attributes["spooled"] != ""}
	r.Decided = parseTime(attributes["decided"], r.Time)
	r.ValidUntil = parseTime(attributes["validUntil"], time.Time{})
	a.Recorded = append(a.Recorded, r)
	g.named[r.Place] = true
}

// parseTime returns a time in RFC 3339, or another one if the text is not.
func parseTime(text string, otherwise time.Time) time.Time {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t.UTC()
	}
	return otherwise
}

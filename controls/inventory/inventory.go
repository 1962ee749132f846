// Package inventory computes from a stream which artifacts exist and run, and
// which share of them is attested.
//
// docs/spec/controls.md, section 7, specifies both. What is inventoried follows
// from entries of kind inventory only, and never from the evidence.
package inventory

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// ErrTooMuch is wrapped by errors about inventories that exceed a bound.
var ErrTooMuch = errors.New("above the limit")

// Bounds of one answer.
const (
	MaxArtifacts = 100_000
	maxPlaces    = 16 // of an artifact
	maxAsks      = 64 // of an artifact
)

// The ages from which inventories are stale, unless a query has another one.
const (
	RunsFor   = 48 * time.Hour
	ExistsFor = 30 * 24 * time.Hour
)

// A Query selects inventories, and artifacts in them.
type Query struct {
	Environment string        // "": all
	Scope       string        // "": all
	Types       []string      // none: all
	MaxAge      time.Duration // 0: RunsFor or ExistsFor
	At          decide.Moment // the zero value is now
	// Hold is called with the size of the inventories in bytes before they are
	// read, which its error prevents. It can be nil.
	Hold func(bytes uint64) error
}

// A Source is the newest inventory of a source, as it was read.
type Source struct {
	*Observation
	Items        int
	Unidentified int
	Stale        bool
	Problem      string // why it cannot be read; "": it can
}

// An Artifact is what inventories list under one set of digests, or without
// one.
type Artifact struct {
	Environment  string
	Type         string
	Digest       map[string]string // nil: not identified
	Unidentified string            // why it has no digest
	Names        []string          // at least one, in the order of the inventories
	Scopes       []string
	Places       []string // workloads, at most 16
	PlaceCount   int
	StaticPod    bool     // it runs in one
	Declared     []string // references of workloads that pin another digest

	asks map[[sha256.Size]byte]decide.Artifact // nil: too many
	seen map[string]bool                       // places
}

// Name returns the first name, or the digest if there is none.
func (a *Artifact) Name() string {
	for _, n := range a.Names {
		if n != "" {
			return n
		}
	}
	return digestText(a.Digest)
}

// Parts returns the parts that an inventory lists for the artifact, or none.
func (a *Artifact) Parts() []evaluate.Part {
	for _, one := range a.questions() {
		if len(one.Parts) > 0 {
			return one.Parts
		}
	}
	return nil
}

// questions returns what is decided about the artifact, in a stable order.
func (a *Artifact) questions() (all []decide.Artifact) {
	for _, one := range a.asks {
		all = append(all, one)
	}
	slices.SortFunc(all, func(x, y decide.Artifact) int {
		if c := strings.Compare(x.Name, y.Name); c != 0 {
			return c
		}
		return len(x.Parts) - len(y.Parts)
	})
	return all
}

// An Inventory is what is inventoried at one moment.
type Inventory struct {
	At        decide.Moment
	Sources   []*Source
	Artifacts []*Artifact // by environment and type, in the order of the sources
}

// A Reader reads inventories and computes coverage. Goroutines can share it.
type Reader struct {
	Decider    *decide.Decider
	Projection *Projection
	// Stated returns the gap of an artifact about which no decision can be made
	// because of an error, or the error. Nil: such an error ends the
	// computation.
	Stated func(ctx context.Context, q *decide.Question, a *Artifact, err error) (*Gap, error)
}

// Read returns what the newest inventories list.
func (r *Reader) Read(ctx context.Context, s *ledger.Stream, q *Query) (*Inventory, error) {
	at, err := r.Decider.StateAt(ctx, s, q.At)
	if err != nil {
		return nil, err
	}
	newest, err := r.Projection.Newest(ctx, s, at.Size)
	if err != nil {
		return nil, err
	}
	newest = slices.DeleteFunc(newest, func(o *Observation) bool {
		return q.Environment != "" && q.Environment != o.Environment || q.Scope != "" && q.Scope != o.Scope
	})
	if q.Hold != nil {
		size := uint64(0)
		for _, o := range newest {
			size += o.bytes
		}
		if err := q.Hold(size); err != nil {
			return nil, err
		}
	}
	c := &collection{query: q, inventory: &Inventory{At: at}, byKey: map[string]*Artifact{}}
	for _, o := range newest {
		source := &Source{Observation: o, Stale: !o.Retired && at.Time.Sub(o.Observed) > maxAge(q.MaxAge, o.Scope)}
		if err := r.read(ctx, s, source, c); err != nil {
			return nil, err
		}
		c.inventory.Sources = append(c.inventory.Sources, source)
	}
	slices.SortStableFunc(c.inventory.Artifacts, func(a, b *Artifact) int {
		if n := strings.Compare(a.Environment, b.Environment); n != 0 {
			return n
		}
		return slices.Index(artifact.Types, a.Type) - slices.Index(artifact.Types, b.Type)
	})
	return c.inventory, nil
}

func maxAge(age time.Duration, scope string) time.Duration {
	switch {
	case age > 0:
		return age
	case scope == Runs:
		return RunsFor
	}
	return ExistsFor
}

// read adds the items of an observation to the collection.
func (r *Reader) read(ctx context.Context, s *ledger.Stream, source *Source, c *collection) error {
	for _, index := range source.Entries {
		e, err := r.Decider.Log.Entry(ctx, s, index)
		if err != nil {
			return fmt.Errorf("inventory in entry %d: %w", index, err)
		}
		p, err := r.Decider.Log.Payload(ctx, e)
		switch {
		case err != nil:
			return fmt.Errorf("inventory in entry %d: %w", index, err)
		case p == nil:
			source.Problem = fmt.Sprintf("the payload of entry %d was erased", index)
			continue
		}
		m := &munimentv1.Inventory{}
		if protojson.Unmarshal(p.Content, m) != nil {
			source.Problem = fmt.Sprintf("the payload of entry %d is not an inventory", index)
			continue
		}
		if err := c.add(source, m); err != nil {
			return err
		}
	}
	return nil
}

// A collection merges the items of several inventories.
type collection struct {
	query     *Query
	inventory *Inventory
	byKey     map[string]*Artifact
}

func (c *collection) add(source *Source, m *munimentv1.Inventory) error {
	for _, i := range m.Items {
		a, err := c.artifact(source, typeOf(i.Type), digestText(i.Artifact.GetDigest()), "")
		switch {
		case err != nil:
			return err
		case a == nil:
			continue
		}
		source.Items++
		a.Digest = i.Artifact.Digest
		a.ask(i)
		a.note(source.Scope, i.Artifact.Name, i.Workload, i.StaticPod)
		if i.Declared != "" && !slices.Contains(a.Declared, i.Declared) && len(a.Declared) < maxPlaces {
			a.Declared = append(a.Declared, i.Declared)
		}
	}
	for _, u := range m.Unidentified {
		a, err := c.artifact(source, typeOf(u.Type), "", u.Name)
		switch {
		case err != nil:
			return err
		case a == nil:
			continue
		}
		source.Unidentified++
		a.Unidentified = u.Reason
		a.note(source.Scope, u.Name, u.Workload, u.StaticPod)
	}
	return nil
}

// typeOf returns the type of an item.
func typeOf(t string) string {
	if t == "" {
		return artifact.Image
	}
	return t
}

// artifact returns the artifact with a digest or a name, or nil if the query
// does not select its type.
func (c *collection) artifact(source *Source, typ, digest, name string) (*Artifact, error) {
	if len(c.query.Types) > 0 && !slices.Contains(c.query.Types, typ) {
		return nil, nil
	}
	key := fmt.Sprintf("%q", []string{source.Environment, typ, digest, name})
	a := c.byKey[key]
	if a == nil {
		if len(c.byKey) == MaxArtifacts {
			return nil, fmt.Errorf("%w: more than %d artifacts: select an environment, a scope or types", ErrTooMuch, MaxArtifacts)
		}
		a = &Artifact{Environment: source.Environment, Type: typ, asks: map[[sha256.Size]byte]decide.Artifact{}, seen: map[string]bool{}}
		c.byKey[key] = a
		c.inventory.Artifacts = append(c.inventory.Artifacts, a)
	}
	return a, nil
}

// ask adds the question that an item asks about the artifact.
func (a *Artifact) ask(i *munimentv1.InventoryItem) {
	one := decide.Artifact{Subject: evaluate.Subject{Type: a.Type, Name: i.Artifact.Name, Digest: i.Artifact.Digest}}
	lines := []string{one.Name}
	for _, p := range i.Parts {
		one.Parts = append(one.Parts, evaluate.Part{Name: p.Platform, Digest: p.Digest})
		lines = append(lines, digestText(p.Digest))
	}
	slices.Sort(lines[1:])
	key := sha256.Sum256(fmt.Appendf(nil, "%q", lines))
	if a.asks == nil {
		return
	}
	if a.asks[key] = one; len(a.asks) > maxAsks {
		a.asks = nil
	}
}

// note adds where an inventory lists the artifact.
func (a *Artifact) note(scope, name, place string, static bool) {
	if !slices.Contains(a.Scopes, scope) {
		a.Scopes = append(a.Scopes, scope)
	}
	if !slices.Contains(a.Names, name) && len(a.Names) < maxAsks {
		a.Names = append(a.Names, name)
	}
	a.StaticPod = a.StaticPod || static
	if place == "" || a.seen[place] {
		return
	}
	a.seen[place] = true
	if a.PlaceCount++; len(a.Places) < maxPlaces {
		a.Places = append(a.Places, place)
	}
}

// digestText returns the digests of a set in a fixed order.
func digestText(set map[string]string) string {
	all := make([]string, 0, len(set))
	for alg, value := range set {
		all = append(all, entry.CanonicalDigest(alg, value).String())
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

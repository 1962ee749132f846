package inventory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"muniment.dev/muniment/ledger"
)

var (
	// ErrNoRelease reports that no inventory has the name of a release.
	ErrNoRelease = errors.New("no inventory of the scope exists names this release: record one with muniment inventory release")
	// ErrAmbiguous reports that a version is that of several releases.
	ErrAmbiguous = errors.New("several releases have this version")
)

// releasePrefix precedes the name of a release in the source that muniment
// inventory release names after it.
const releasePrefix = "release "

// ReleaseSource returns the name of the source that is named after a release.
func ReleaseSource(release string) string { return releasePrefix + release }

// Release returns the observations that a name of a release stands for up to a
// tree size, as docs/spec/controls.md, section 7, specifies: at least one, by
// environment, source, release and version. They must not be changed. Errors:
// ErrNoRelease, ErrAmbiguous.
func (p *Projection) Release(ctx context.Context, s *ledger.Stream, size uint64, name string) ([]*Observation, error) {
	all, err := p.at(ctx, s, size, (*register).releases)
	if err != nil {
		return nil, err
	}
	newest := map[Key]*Observation{} // sources have one that is not a version
	for _, o := range all {
		if n := newest[o.Key]; n == nil || o.last() > n.last() {
			newest[o.Key] = o
		}
	}
	releases := map[string]bool{} // that have the name as their version
	found := slices.DeleteFunc(all, func(o *Observation) bool {
		switch {
		case o.Version != "" && name == o.Release+" "+o.Version:
			return false
		case o.Version != "" && name == o.Version:
			releases[o.Release] = true
			return false
		case newest[o.Key] != o || o.Retired:
			return true
		}
		return !slices.Contains([]string{o.Environment, o.Source, strings.TrimPrefix(o.Source, releasePrefix)}, name) && (o.Release == "" || o.Release != name)
	})
	switch {
	case len(found) == 0:
		return nil, ErrNoRelease
	case len(releases) > 1:
		names := slices.Sorted(maps.Keys(releases))
		return nil, fmt.Errorf("%w: name one of them, such as %q", ErrAmbiguous, names[0]+" "+name)
	}
	return found, nil
}

// last returns the index of the entry that has completed the observation.
func (o *Observation) last() uint64 { return slices.Max(o.Entries) }

// releases returns the newest observations of sources that list what exists,
// and of all versions of releases, each once.
func (r *register) releases() (all []*Observation) {
	for _, o := range r.newest() {
		if o.Scope == Exists && r.versions[o.versionKey()] != o {
			all = append(all, o)
		}
	}
	all = slices.AppendSeq(all, maps.Values(r.versions))
	slices.SortFunc(all, func(a, b *Observation) int {
		if c := a.Key.compare(b.Key); c != 0 {
			return c
		}
		return strings.Compare(a.Release+"\n"+a.Version, b.Release+"\n"+b.Version)
	})
	return all
}

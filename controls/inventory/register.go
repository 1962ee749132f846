package inventory

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// Scopes of inventories.
const (
	Exists = "exists"
	Runs   = "runs"
)

// Bounds of what is kept in memory for a stream.
const (
	maxPending  = 8      // incomplete observations of one source
	maxSources  = 10_000 // of one stream
	maxVersions = 10_000 // of releases of one stream; the newest are found
	maxParts    = 1024   // of one observation
)

// A Key identifies a source in a scope and environment.
type Key struct{ Scope, Environment, Source string }

// String returns the inventory for people.
func (k Key) String() string {
	text := fmt.Sprintf("the inventory of what %s in %s", k.Scope, k.Environment)
	if k.Source != "" {
		text += " (" + k.Source + ")"
	}
	return text
}

func keyOf(h *entry.Header) Key {
	return Key{h.Attributes["scope"], h.Attributes["environment"], h.Attributes["source"]}
}

// An Observation is what a source has observed at one time. It consists of
// entries of kind inventory.
type Observation struct {
	Key
	Submitter string
	Observed  time.Time // not later than its first entry
	Recorded  time.Time // when its last entry was
	Retired   bool      // the source has ended
	Release   string    // that the artifacts belong to; "": none
	Version   string    // of the release; "": none
	// Entries has an index for each part. A part without one is 0 in an
	// observation that is not complete.
	Entries []uint64

	id      string
	bytes   uint64 // of the payloads
	missing int
	has     []bool // the parts
}

// A versionKey identifies a version of a release of one source.
type versionKey struct {
	Key
	release, version string
}

// A register has the newest observation of each source and of each version of
// a release, as a function of the entries that it has read.
type register struct {
	sources  map[Key]*source
	versions map[versionKey]*Observation
	recent   []*Observation // of versions, in the order of their completion; some are replaced
}

// A source has the observations of one source that matter.
type source struct {
	newest  *Observation
	pending []*Observation // not complete, the newest last
}

func newRegister() *register {
	return &register{sources: map[Key]*source{}, versions: map[versionKey]*Observation{}}
}

// add adds an entry of kind inventory. Entries are added in their order.
func (r *register) add(e *ledger.Entry) error {
	h := e.Header
	if h.NotAdmitted() {
		return nil
	}
	a, key := h.Attributes, keyOf(h)
	s := r.sources[key]
	if s == nil {
		if len(r.sources) == maxSources {
			return fmt.Errorf("entry %d: more than %d sources of inventories: give each cluster, registry and release one name", e.Index, maxSources)
		}
		s = &source{}
		r.sources[key] = s
	}
	at := time.UnixMilli(int64(e.Skeleton.Time)).UTC()
	observed, err := time.Parse(time.RFC3339Nano, a["observed"])
	if err != nil {
		return fmt.Errorf("entry %d: invalid time %q", e.Index, a["observed"])
	}
	if observed.After(at) {
		observed = at
	}
	part, parts, err := partOf(a)
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.Index, err)
	}
	o := s.observation(h.Submitter, a["observation"], parts)
	if o == nil {
		o = &Observation{Key: key, Submitter: h.Submitter, Observed: observed.UTC(), Retired: a["retired"] == "true", Release: a["release"], Version: a["version"], Entries: make([]uint64, parts), id: a["observation"], missing: parts, has: make([]bool, parts)}
		s.pending = append(s.pending, o)
	}
	if !o.has[part] {
		o.has[part], o.missing = true, o.missing-1
	}
	if observed.Before(o.Observed) { // parts that differ are as old as the oldest
		o.Observed = observed.UTC()
	}
	o.Entries[part], o.Recorded = e.Index, at
	o.bytes += h.Payload.Size
	if o.missing == 0 {
		s.newest = o
		r.addVersion(o)
		s.pending = slices.DeleteFunc(s.pending, func(p *Observation) bool { return p == o })
	}
	if n := len(s.pending) - maxPending; n > 0 {
		s.pending = slices.Delete(s.pending, 0, n)
	}
	return nil
}

// addVersion notes an observation of a version of a release. Of too many the
// oldest are forgotten.
func (r *register) addVersion(o *Observation) {
	if o.Version == "" {
		return
	}
	r.versions[o.versionKey()] = o
	r.recent = append(r.recent, o)
	for len(r.versions) > maxVersions {
		oldest := r.recent[0]
		if r.recent = r.recent[1:]; r.versions[oldest.versionKey()] == oldest {
			delete(r.versions, oldest.versionKey())
		}
	}
	if len(r.recent) > 2*maxVersions {
		r.recent = slices.DeleteFunc(r.recent, func(o *Observation) bool { return r.versions[o.versionKey()] != o })
	}
}

func (o *Observation) versionKey() versionKey { return versionKey{o.Key, o.Release, o.Version} }

// partOf returns the part that an entry is, from 0, and the number of parts.
func partOf(a map[string]string) (part, parts int, err error) {
	if a["parts"] == "" {
		return 0, 1, nil
	}
	part, err = strconv.Atoi(a["part"])
	if err == nil {
		parts, err = strconv.Atoi(a["parts"])
	}
	if err != nil || part < 1 || part > parts || parts > maxParts {
		return 0, 0, fmt.Errorf("invalid part %q of %q", a["part"], a["parts"])
	}
	return part - 1, parts, nil
}

// observation returns the incomplete observation that a part belongs to, or
// nil. An entry without an observation is one by itself.
func (s *source) observation(submitter, id string, parts int) *Observation {
	if id == "" {
		return nil
	}
	for _, o := range s.pending {
		if o.Submitter == submitter && o.id == id && len(o.Entries) == parts {
			return o
		}
	}
	return nil
}

// newest returns the newest observations, by environment, scope and source.
func (r *register) newest() (all []*Observation) {
	for _, s := range r.sources {
		if s.newest != nil {
			all = append(all, s.newest)
		}
	}
	slices.SortFunc(all, func(a, b *Observation) int { return a.Key.compare(b.Key) })
	return all
}

// lists reports whether an entry is part of an observation that is kept.
func (r *register) lists(index uint64) bool {
	for _, s := range r.sources {
		if s.newest != nil && slices.Contains(s.newest.Entries, index) || slices.ContainsFunc(s.pending, func(o *Observation) bool { return slices.Contains(o.Entries, index) }) {
			return true
		}
	}
	for _, o := range r.versions {
		if slices.Contains(o.Entries, index) {
			return true
		}
	}
	return false
}

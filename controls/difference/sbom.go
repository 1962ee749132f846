package difference

import (
	"maps"
	"slices"
	"strings"

	"muniment.dev/muniment/verifiers/facts"
)

// CompareSBOMs compares the bills of materials of an artifact. Those of several
// parts count as one.
func CompareSBOMs(before, after []SBOM) *Components {
	c := &Components{Before: entriesOf(before), After: entriesOf(after)}
	switch {
	case len(before) == 0 && len(after) == 0:
		c.Incomparable = "neither release has a bill of materials"
	case len(before) == 0:
		c.Incomparable = "the previous release has no bill of materials"
	case len(after) == 0:
		c.Incomparable = "this release has no bill of materials"
	case exceeded(before) || exceeded(after):
		c.Incomparable = "a bill of materials is too large"
	}
	if c.Incomparable != "" {
		return c
	}
	c.Partial = dropped(before) || dropped(after)
	c.compare(components(before), components(after))
	return c
}

func entriesOf(all []SBOM) (entries []uint64) {
	for _, s := range all {
		entries = append(entries, s.Entry)
	}
	return entries
}

func exceeded(all []SBOM) bool {
	return slices.ContainsFunc(all, func(s SBOM) bool { return s.Exceeded != "" })
}

func dropped(all []SBOM) bool {
	return slices.ContainsFunc(all, func(s SBOM) bool { return s.Dropped > 0 })
}

// A versions has the versions and licences of a component.
type versions struct{ versions, licenses map[string]bool }

// components returns the components of bills of materials by name.
func components(all []SBOM) map[string]*versions {
	byName := map[string]*versions{}
	for _, s := range all {
		for i := range s.Components {
			one := &s.Components[i]
			name, version := nameOf(&one.Package)
			v := byName[name]
			if v == nil {
				v = &versions{map[string]bool{}, map[string]bool{}}
				byName[name] = v
			}
			v.versions[version] = true
			for _, l := range one.Licenses {
				v.licenses[l] = true
			}
		}
	}
	return byName
}

// nameOf returns the name of a package, which is its package URL without the
// version if it has one, and its version.
func nameOf(p *facts.Package) (name, version string) {
	if p.PURL == "" {
		return p.Name, p.Version
	}
	main, rest := p.PURL, ""
	if i := strings.IndexAny(main, "?#"); i >= 0 {
		main, rest = main[:i], main[i:]
	}
	if i := strings.LastIndexByte(main, '@'); i > 0 {
		return main[:i] + rest, main[i+1:]
	}
	return p.PURL, p.Version
}

func (c *Components) compare(before, after map[string]*versions) {
	names := maps.Clone(before)
	maps.Copy(names, after)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		b, a := before[name], after[name]
		switch {
		case b == nil:
			c.Added.add(Component{name, sorted(a.versions), sorted(a.licenses)})
			continue
		case a == nil:
			c.Removed.add(Component{name, sorted(b.versions), sorted(b.licenses)})
			continue
		}
		if !maps.Equal(b.versions, a.versions) {
			c.Versions.add(Change{name, sorted(b.versions), sorted(a.versions)})
		}
		if !maps.Equal(b.licenses, a.licenses) {
			c.Licenses.add(Change{name, sorted(b.licenses), sorted(a.licenses)})
		}
	}
}

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

func (l *List[T]) add(one T) {
	if l.Total++; l.Total <= MaxListed {
		l.All = append(l.All, one)
	}
}

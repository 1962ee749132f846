package difference

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"muniment.dev/muniment/verifiers/facts"
)

// CompareBuilds compares provenance. A nil Build is none.
func CompareBuilds(before, after *Build) *Provenance {
	p := &Provenance{}
	if before != nil {
		p.Before = before.Entry
	}
	if after != nil {
		p.After = after.Entry
	}
	switch {
	case before == nil && after == nil:
		p.Incomparable = "neither release has provenance"
	case before == nil:
		p.Incomparable = "the previous release has no provenance"
	case after == nil:
		p.Incomparable = "this release has no provenance"
	}
	if p.Incomparable != "" {
		return p
	}
	attributes := [][3]string{
		{"builder", before.Builder, after.Builder},
		{"build type", before.Type, after.Type},
	}
	for _, a := range attributes {
		if a[1] != a[2] {
			p.Attributes = append(p.Attributes, Change{a[0], texts(a[1]), texts(a[2])})
		}
	}
	if from, to := sources(before.Build), sources(after.Build); !slices.Equal(from, to) {
		p.Attributes = append(p.Attributes, Change{"source commit", from, to})
	}
	p.Parameters = changes(parameters(before.Build), parameters(after.Build))
	p.Materials = changes(materials(before.Build), materials(after.Build))
	return p
}

func texts(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// sources returns the commits that a build was made from, each with its
// repository.
func sources(b *facts.Build) (all []string) {
	for i := range b.Materials {
		m := &b.Materials[i]
		if commit := commitOf(m); commit != "" {
			all = append(all, materialName(m)+"@"+commit)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// commitOf returns the commit that a material is, or "".
func commitOf(m *facts.Resource) string {
	digests := m.Digests.Map()
	if c := digests["gitCommit"]; c != "" {
		return c
	}
	if strings.HasPrefix(m.URI, "git+") {
		for _, alg := range []string{"sha1", "sha256"} {
			if c := digests[alg]; c != "" {
				return c
			}
		}
	}
	return ""
}

// materialName returns what a material has in common with another version of
// it.
func materialName(m *facts.Resource) string {
	name := m.URI
	if name == "" {
		name = m.Name
	}
	if strings.HasPrefix(name, "pkg:") {
		name, _ = nameOf(&facts.Package{PURL: name})
		return name
	}
	// A revision or digest follows the last @ of a path.
	if i := strings.LastIndexByte(name, '@'); i > strings.LastIndex(name, "://")+2 && i > hostEnd(name) {
		name = name[:i]
	}
	return name
}

// hostEnd returns the index at which the host of a URI ends, so that an @ of
// its user name is not taken for a revision.
func hostEnd(uri string) int {
	start := strings.Index(uri, "://")
	if start < 0 {
		return 0
	}
	if i := strings.IndexByte(uri[start+3:], '/'); i >= 0 {
		return start + 3 + i
	}
	return len(uri)
}

// materials returns the digests of materials by name.
func materials(b *facts.Build) map[string][]string {
	all := map[string][]string{}
	for i := range b.Materials {
		m := &b.Materials[i]
		name := materialName(m)
		for _, d := range m.Digests {
			all[name] = append(all[name], d.Algorithm+":"+d.Value)
		}
		if len(m.Digests) == 0 {
			all[name] = append(all[name], "no digest")
		}
	}
	return all
}

// parameters returns the external parameters of a build by path.
func parameters(b *facts.Build) map[string][]string {
	all := map[string][]string{}
	if b.ParametersExceeded {
		all["all parameters"] = []string{"too large to compare"}
		return all
	}
	values, err := b.Values()
	if err != nil {
		return all
	}
	flatten(all, "", values)
	return all
}

// flatten adds the scalar values in v, each by its path.
func flatten(all map[string][]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			flatten(all, strings.TrimPrefix(path+"."+name, "."), member)
		}
	case []any:
		for i, element := range v {
			flatten(all, path+"["+strconv.Itoa(i)+"]", element)
		}
	case string:
		all[path] = append(all[path], v)
	default:
		text, _ := json.Marshal(v)
		all[path] = append(all[path], string(text))
	}
}

// changes returns the names whose values differ, with the values that only one
// side has.
func changes(before, after map[string][]string) (list List[Change]) {
	names := maps.Clone(before)
	maps.Copy(names, after)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		b, a := unique(before[name]), unique(after[name])
		if slices.Equal(b, a) {
			continue
		}
		list.add(Change{name, without(b, a), without(a, b)})
	}
	return list
}

func unique(all []string) []string {
	all = slices.Clone(all)
	slices.Sort(all)
	return slices.Compact(all)
}

func without(all, others []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool {
		_, found := slices.BinarySearch(others, s)
		return found
	})
}

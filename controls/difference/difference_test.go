package difference

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/verifiers/facts"
)

// sbom returns a bill of materials of "purl or name, version, licence, …".
func sbom(components ...string) SBOM {
	s := &facts.SBOM{}
	for _, text := range components {
		parts := strings.Split(text, " ")
		c := facts.Component{Licenses: parts[2:]}
		if strings.HasPrefix(parts[0], "pkg:") {
			c.PURL = parts[0]
		} else {
			c.Name = parts[0]
		}
		c.Version = parts[1]
		s.Components = append(s.Components, c)
	}
	return SBOM{Entry: uint64(len(components)), SBOM: s}
}

// text returns the differences of components in one line.
func text(c *Components) string {
	var all []string
	for _, a := range c.Added.All {
		all = append(all, fmt.Sprintf("+%s %v %v", a.Name, a.Versions, a.Licenses))
	}
	for _, a := range c.Removed.All {
		all = append(all, fmt.Sprintf("-%s %v %v", a.Name, a.Versions, a.Licenses))
	}
	for _, v := range c.Versions.All {
		all = append(all, fmt.Sprintf("%s %v→%v", v.Name, v.From, v.To))
	}
	for _, l := range c.Licenses.All {
		all = append(all, fmt.Sprintf("licence %s %v→%v", l.Name, l.From, l.To))
	}
	if c.Incomparable != "" {
		all = append(all, c.Incomparable)
	}
	if c.Partial {
		all = append(all, "partial")
	}
	return strings.Join(all, "; ")
}

func TestCompareSBOMs(t *testing.T) {
	list := func(all ...SBOM) []SBOM { return all }
	large, dropped := sbom("a 1"), sbom("a 1")
	large.Exceeded, dropped.Dropped = facts.LimitElements, 1
	for name, c := range map[string]struct {
		before, after []SBOM
		want          string
	}{
		"equal":                  {list(sbom("a 1 MIT", "b 2")), list(sbom("b 2", "a 1 MIT")), ""},
		"added and removed":      {list(sbom("a 1 MIT")), list(sbom("b 2 BSD")), "+b [2] [BSD]; -a [1] [MIT]"},
		"version":                {list(sbom("pkg:npm/a@1 1 MIT")), list(sbom("pkg:npm/a@2 2 MIT")), "pkg:npm/a [1]→[2]"},
		"version and licence":    {list(sbom("a 1 MIT")), list(sbom("a 2 SSPL")), "a [1]→[2]; licence a [MIT]→[SSPL]"},
		"licence alone":          {list(sbom("a 1 MIT")), list(sbom("a 1 MIT GPL-2.0-only")), "licence a [MIT]→[GPL-2.0-only MIT]"},
		"several versions":       {list(sbom("a 1", "a 2")), list(sbom("a 2", "a 3")), "a [1 2]→[2 3]"},
		"one version goes":       {list(sbom("a 1", "a 2")), list(sbom("a 2")), "a [1 2]→[2]"},
		"scope and qualifiers":   {list(sbom("pkg:npm/%40x/a@1?arch=arm64 1")), list(sbom("pkg:npm/%40x/a@1?arch=amd64 1")), "+pkg:npm/%40x/a?arch=amd64 [1] []; -pkg:npm/%40x/a?arch=arm64 [1] []"},
		"parts count as one":     {list(sbom("a 1"), sbom("b 1")), list(sbom("a 1", "b 1")), ""},
		"none before":            {nil, list(sbom("a 1")), "the previous release has no bill of materials"},
		"none after":             {list(sbom("a 1")), nil, "this release has no bill of materials"},
		"none at all":            {nil, nil, "neither release has a bill of materials"},
		"too large":              {list(sbom("a 1")), list(large), "a bill of materials is too large"},
		"malformed are left out": {list(dropped), list(sbom("a 2")), "a [1]→[2]; partial"},
	} {
		if got := text(CompareSBOMs(c.before, c.after)); got != c.want {
			t.Errorf("%s: %s\nwant %s", name, got, c.want)
		}
	}
}

// TestBounds compares the largest bills of materials that facts can have.
func TestBounds(t *testing.T) {
	before, after := SBOM{SBOM: &facts.SBOM{}}, SBOM{SBOM: &facts.SBOM{}}
	for i := range facts.MaxElements {
		before.Components = append(before.Components, facts.Component{Package: facts.Package{Name: fmt.Sprint("before", i)}})
		after.Components = append(after.Components, facts.Component{Package: facts.Package{Name: fmt.Sprint("after", i)}})
	}
	c := CompareSBOMs([]SBOM{before}, []SBOM{after})
	if c.Added.Total != facts.MaxElements || len(c.Added.All) != MaxListed || len(c.Removed.All) != MaxListed {
		t.Errorf("%d added, %d and %d listed", c.Added.Total, len(c.Added.All), len(c.Removed.All))
	}
	var b strings.Builder
	r := Release{Pairs: []Pair{{Components: c}}}
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "… 49000 more") {
		t.Error("the text does not count what it leaves out")
	}
}

func material(uri, alg, value string) facts.Resource {
	return facts.Resource{URI: uri, Digests: facts.Digests{{Algorithm: alg, Value: value}}}
}

func TestCompareBuilds(t *testing.T) {
	build := func(change func(*facts.Build)) *Build {
		b := &facts.Build{Builder: "builder", Type: "type", Parameters: []byte(`{"ref":"v1","list":[1,2],"deep":{"x":true}}`),
			Materials: []facts.Resource{material("git+https://user@git.example/app@refs/tags/v1", "gitCommit", "c1"), material("pkg:docker/base@3.1", "sha256", "b1")}}
		change(b)
		return &Build{Entry: 7, Build: b}
	}
	same := build(func(*facts.Build) {})
	for name, c := range map[string]struct {
		before, after *Build
		want          string
	}{
		"equal":      {same, build(func(*facts.Build) {}), ""},
		"builder":    {same, build(func(b *facts.Build) { b.Builder = "other" }), "builder [builder]→[other]"},
		"build type": {same, build(func(b *facts.Build) { b.Type = "other" }), "build type [type]→[other]"},
		"commit": {same, build(func(b *facts.Build) {
			b.Materials[0] = material("git+https://user@git.example/app@refs/tags/v2", "gitCommit", "c2")
		}), "source commit [git+https://user@git.example/app@c1]→[git+https://user@git.example/app@c2]; git+https://user@git.example/app [gitCommit:c1]→[gitCommit:c2]"},
		"old commit":  {build(func(b *facts.Build) { b.Materials = b.Materials[1:] }), build(func(b *facts.Build) { b.Materials[0] = material("git+https://git.example/app", "sha1", "c2") }), "source commit []→[git+https://git.example/app@c2]; git+https://git.example/app []→[sha1:c2]"},
		"material":    {same, build(func(b *facts.Build) { b.Materials[1] = material("pkg:docker/base@3.2", "sha256", "b2") }), "pkg:docker/base [sha256:b1]→[sha256:b2]"},
		"parameter":   {same, build(func(b *facts.Build) { b.Parameters = []byte(`{"ref":"v2","list":[1],"deep":{"x":true,"y":null}}`) }), "deep.y []→[null]; list[1] [2]→[]; ref [v1]→[v2]"},
		"too large":   {same, build(func(b *facts.Build) { b.Parameters, b.ParametersExceeded = nil, true }), "all parameters []→[too large to compare]; deep.x [true]→[]; list[0] [1]→[]; list[1] [2]→[]; ref [v1]→[]"},
		"none before": {nil, same, "the previous release has no provenance"},
		"none after":  {same, nil, "this release has no provenance"},
	} {
		p := CompareBuilds(c.before, c.after)
		var all []string
		for _, list := range [][]Change{p.Attributes, p.Parameters.All, p.Materials.All} {
			for _, x := range list {
				all = append(all, fmt.Sprintf("%s %v→%v", x.Name, x.From, x.To))
			}
		}
		if p.Incomparable != "" {
			all = append(all, p.Incomparable)
		}
		if got := strings.Join(all, "; "); got != c.want {
			t.Errorf("%s: %s\nwant %s", name, got, c.want)
		}
	}
}

func TestBaseName(t *testing.T) {
	for _, c := range [][3]string{
		{"image", "registry.example:5000/a/b:1.2", "registry.example:5000/a/b"},
		{"image", "registry.example:5000/a/b", "registry.example:5000/a/b"},
		{"image", "a/b:1.2@sha256:00", "a/b"},
		{"chart", "gateway-1.7.0.tgz", "gateway-*"},
		{"chart", "gateway-1.7.0-rc.1.tgz", "gateway-*"},
		{"chart", "oci://registry.example/charts/gateway:1.7.0", "registry.example/charts/gateway"},
		{"file", "tool_v1.10.2_linux_amd64.tar.gz", "tool_v*_linux_amd64.tar.gz"},
		{"file", "sha256.txt", "sha256.txt"},
		{"delta", "acme-2026.delta", "acme-2026.delta"},
	} {
		if got := BaseName(c[0], c[1]); got != c[2] {
			t.Errorf("%s %s: %s, want %s", c[0], c[1], got, c[2])
		}
	}
}

func TestReleases(t *testing.T) {
	a := func(name, digest string) decide.Artifact {
		return decide.Artifact{Subject: evaluate.Subject{Type: "image", Name: name, Digest: map[string]string{"sha256": digest}}}
	}
	described := 0
	describe := func(_ context.Context, of *decide.Artifact) (*Artifact, error) {
		described++
		return &Artifact{Artifact: *of, SBOMs: []SBOM{sbom("a " + of.Digest["sha256"])}}, nil
	}
	before := []decide.Artifact{a("r/app:1-arm", "04"), a("r/app:1", "01"), a("r/kept:1", "02"), a("r/gone:1", "03")}
	after := []decide.Artifact{a("r/app:2", "05"), a("r/kept:2", "02"), a("r/new:1", "06"), a("r/app:2-arm", "04")}
	r, err := Releases(context.Background(), before, after, describe)
	if err != nil {
		t.Fatal(err)
	}
	var pairs []string
	for _, p := range r.Pairs {
		pairs = append(pairs, fmt.Sprintf("%s→%s %v", p.Before.Name, p.After.Name, p.Same))
	}
	if want := []string{"r/app:1→r/app:2 false", "r/kept:1→r/kept:2 true", "r/app:1-arm→r/app:2-arm true"}; !slices.Equal(pairs, want) {
		t.Errorf("pairs: %q", pairs)
	}
	if len(r.Added) != 1 || r.Added[0].Name != "r/new:1" || len(r.Removed) != 1 || r.Removed[0].Name != "r/gone:1" || described != 2 {
		t.Errorf("added %v, removed %v, %d described", r.Added, r.Removed, described)
	}
	var b strings.Builder
	r.Removed[0].Name = "\x1b[31mred\n"
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	want := `Changes since the previous release
~ image r/app:1 → r/app:2
    Components: 0 added, 0 removed, 1 with other versions, 0 with other licences.
    Provenance is not compared: neither release has provenance.
    ~ a: 01 → 05
= image r/kept:1 → r/kept:2
= image r/app:1-arm → r/app:2-arm
+ image r/new:1
- image "\x1b[31mred\n"
`
	if b.String() != want {
		t.Errorf("%s\nwant\n%s", b.String(), want)
	}
}

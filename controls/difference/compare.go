package difference

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/decide"
)

// Releases compares the artifacts of two releases. Artifacts are compared if
// they have the same type and, without tag and version, the same name. describe
// adds the facts to an artifact.
func Releases(ctx context.Context, before, after []decide.Artifact, describe func(context.Context, *decide.Artifact) (*Artifact, error)) (*Release, error) {
	r := &Release{}
	of := pair(before, after)
	taken := map[int]bool{}
	for i := range after {
		k := of[i]
		if k < 0 {
			r.Added = append(r.Added, after[i])
			continue
		}
		taken[k] = true
		p := Pair{Before: before[k], After: after[i], Same: artifact.Same(before[k].Digest, after[i].Digest)}
		if !p.Same {
			if err := p.describe(ctx, describe); err != nil {
				return nil, err
			}
		}
		r.Pairs = append(r.Pairs, p)
	}
	for k := range before {
		if !taken[k] {
			r.Removed = append(r.Removed, before[k])
		}
	}
	return r, ctx.Err()
}

// pair returns for each of the later artifacts the index of the earlier one
// that it replaces, or -1. Those with equal digests are paired first.
func pair(before, after []decide.Artifact) []int {
	left := map[string][]int{}
	for k := range before {
		key := keyOf(&before[k])
		left[key] = append(left[key], k)
	}
	of := make([]int, len(after))
	for i := range after {
		of[i] = -1
	}
	for _, same := range []bool{true, false} {
		for i := range after {
			key := keyOf(&after[i])
			n := slices.IndexFunc(left[key], func(k int) bool { return !same || artifact.Same(before[k].Digest, after[i].Digest) })
			if of[i] < 0 && n >= 0 {
				of[i] = left[key][n]
				left[key] = slices.Delete(left[key], n, n+1)
			}
		}
	}
	return of
}

func (p *Pair) describe(ctx context.Context, describe func(context.Context, *decide.Artifact) (*Artifact, error)) error {
	before, err := describe(ctx, &p.Before)
	if err != nil {
		return fmt.Errorf("previous %s: %w", p.Before.Name, err)
	}
	after, err := describe(ctx, &p.After)
	if err != nil {
		return fmt.Errorf("%s: %w", p.After.Name, err)
	}
	p.Components = CompareSBOMs(before.SBOMs, after.SBOMs)
	p.Provenance = CompareBuilds(before.Build, after.Build)
	return nil
}

// keyOf returns what artifacts of two releases have in common.
func keyOf(a *decide.Artifact) string { return a.Type + "\n" + BaseName(a.Type, a.Name) }

// BaseName returns the name of an artifact without a tag, digest or version.
func BaseName(kind, name string) string {
	switch kind {
	case artifact.Image:
		name, _, _ = strings.Cut(name, "@")
		if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
			name = name[:i]
		}
	case artifact.Chart:
		return chartName(name)
	default:
		return withoutVersion(name)
	}
	return name
}

// chartName returns the name of a chart: that of its repository, or of its file
// without the version.
func chartName(name string) string {
	name = strings.TrimPrefix(name, "oci://")
	if base, ok := strings.CutSuffix(name, ".tgz"); ok {
		return withoutVersion(base)
	}
	return BaseName(artifact.Image, name)
}

// withoutVersion replaces each run of digits and dots that looks like a
// version.
func withoutVersion(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); {
		n := versionLength(name[i:])
		if n == 0 || i > 0 && isWord(name[i-1]) && name[i-1] != 'v' {
			b.WriteByte(name[i])
			i++
			continue
		}
		b.WriteByte('*')
		i += n
	}
	return b.String()
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// versionLength returns the length of the version that begins a text: digits
// with at least one dot between them, and a pre-release after a hyphen. It is 0
// without one.
func versionLength(s string) int {
	n, dots := 0, 0
	for n < len(s) {
		switch c := s[n]; {
		case c >= '0' && c <= '9':
		case c == '.' && n > 0 && s[n-1] != '.' && n+1 < len(s) && s[n+1] >= '0' && s[n+1] <= '9':
			dots++
		default:
			goto end
		}
		n++
	}
end:
	if dots == 0 {
		return 0
	}
	for _, pre := range []string{"-alpha", "-beta", "-rc", "-pre", "-dev"} {
		if strings.HasPrefix(s[n:], pre) {
			n += len(pre)
			for n < len(s) && (s[n] >= '0' && s[n] <= '9' || s[n] == '.' && n+1 < len(s) && s[n+1] >= '0' && s[n+1] <= '9') {
				n++
			}
			break
		}
	}
	return n
}

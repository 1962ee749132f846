package facts

import (
	"fmt"
	"slices"
	"testing"
)

// TestHashIndex checks that elements with the same hash are found, the last
// first, and that only the case of the first text is folded.
func TestHashIndex(t *testing.T) {
	x := newHashIndex(100)
	for i := range 100 {
		x.add(uint64(i%3), i)
	}
	for h := range uint64(4) {
		var want, got []int
		for i := range 100 {
			if uint64(i%3) == h {
				want = append(want, i)
			}
		}
		slices.Reverse(want)
		for i := x.first(h); i >= 0; i = x.after(i) {
			got = append(got, i)
		}
		if !slices.Equal(got, want) {
			t.Errorf("hash %d: found %v, want %v", h, got, want)
		}
	}
	for _, c := range []struct {
		name string
		a, b uint64
		want bool
	}{
		{"equal texts", x.hash("a", "b"), x.hash("a", "b"), true},
		{"another split", x.hash("a", "b"), x.hash("ab", ""), false},
		{"folded", x.hashFolded("CVE-É", "x"), x.hashFolded("cve-É", "x"), true},
		{"case of the second", x.hashFolded("a", "X"), x.hashFolded("a", "x"), false},
		{"case that is not ASCII", x.hashFolded("é", ""), x.hashFolded("É", ""), false},
	} {
		if (c.a == c.b) != c.want {
			t.Errorf("%s: equal hashes %t, want %t", c.name, !c.want, c.want)
		}
	}
}

// TestEqualASCII compares with the texts in lower case.
func TestEqualASCII(t *testing.T) {
	texts := []string{"", "a", "A", "[", "{", "É", "é", "CVE-1", "cve-1", "Cve-1", "cve-2"}
	for _, a := range texts {
		for _, b := range texts {
			if got, want := equalASCII(a, b), lowerASCII(a) == lowerASCII(b); got != want {
				t.Errorf("%q and %q: equal %t, want %t", a, b, got, want)
			}
		}
	}
}

// TestSeen finds each vulnerability again, and none that differs in a member.
func TestSeen(t *testing.T) {
	var all []Vulnerability
	for i := range 500 {
		p := Package{PURL: fmt.Sprint(i % 2), Name: fmt.Sprint(i / 2 % 2), Version: fmt.Sprint(i / 4 % 2)}
		all = append(all, Vulnerability{ID: fmt.Sprint(i / 100), Package: p, Severity: Severity(i / 8 % 3), Score: Score(i / 24 % 4)})
	}
	s, n := newSeen(len(all)), 0
	different := map[string]bool{}
	for i := range all {
		key := fmt.Sprintf("%+v", all[i])
		if s.add(&all[i]) != different[key] {
			t.Errorf("%s: seen is %t", key, !different[key])
		}
		different[key] = true
		n = len(different)
	}
	if len(s.all) != n {
		t.Errorf("%d vulnerabilities, want %d", len(s.all), n)
	}
}

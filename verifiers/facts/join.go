package facts

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"muniment.dev/muniment/ledger/entry"
)

// ErrUndecided is wrapped by errors about facts that are incomplete, so that no
// answer can be computed from them.
var ErrUndecided = errors.New("undecided")

// An Evidence is an entry whose facts are joined.
type Evidence struct {
	Index    uint64
	Time     uint64          // of the entry, Unix milliseconds
	Subjects []entry.Subject // of the entry
	Facts    *Facts
}

// time returns the earlier of a stated time and the entry's, or the entry's if
// none is stated.
func (e *Evidence) time(stated Time) Time {
	if stated == 0 {
		return Time(e.Time)
	}
	return min(stated, Time(e.Time))
}

// A Subject is the artifact that findings are about.
type Subject struct {
	Digests map[string]string // algorithm to value
	PURLs   []string          // names of the artifact that the caller trusts; may be empty
}

// A Finding is a vulnerability that no VEX statement removes.
type Finding struct {
	*Vulnerability
	Scan *Evidence // that reported it
	// Statement is the statement about it that counts, and VEX the entry with
	// it. Nil: there is none.
	Statement *Statement
	VEX       *Evidence
}

// maxComparisons bounds the work for statements that differ only in what is
// compared one by one.
const maxComparisons = 5_000_000

// maxFiled bounds the pairs of an identifier and a package to which statements
// apply: a statement with many aliases and products has their product.
const maxFiled = 1_000_000

// Newest returns the newest scan of each scanner, in the order of their
// indexes. The scan that ended last is the newest, and of equal ones that with
// the larger index.
func Newest(scans []*Evidence) []*Evidence {
	newest := map[string]*Evidence{}
	for _, e := range scans {
		if e.Facts == nil || e.Facts.Scan == nil {
			continue
		}
		s := e.Facts.Scan
		old := newest[s.Scanner.Name]
		if old == nil || cmp.Or(cmp.Compare(e.time(s.Time), old.time(old.Facts.Scan.Time)), cmp.Compare(e.Index, old.Index)) > 0 {
			newest[s.Scanner.Name] = e
		}
	}
	all := make([]*Evidence, 0, len(newest))
	for _, e := range newest {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *Evidence) int { return cmp.Compare(a.Index, b.Index) })
	return all
}

// Unresolved returns the vulnerabilities of the newest scan of each scanner
// that no VEX statement removes, as docs/spec/facts.md, section 7, defines it.
// All evidence given must count for the caller: Unresolved does not look at
// signers. The error wraps ErrUndecided.
func Unresolved(subject Subject, scans, vex []*Evidence) ([]Finding, error) {
	for _, e := range slices.Concat(scans, vex) {
		if e.Facts == nil {
			return nil, fmt.Errorf("%w: the facts of entry %d are not there", ErrUndecided, e.Index)
		}
		if e.Facts.Exceeded != "" {
			return nil, fmt.Errorf("%w: the payload of entry %d exceeds the limit %q of facts", ErrUndecided, e.Index, e.Facts.Exceeded)
		}
	}
	j, err := newJoin(subject, vex)
	if err != nil {
		return nil, err
	}
	var findings []Finding
	type finding struct {
		id       string
		pkg      Package
		severity Severity // scanners can disagree
		score    Score
	}
	seen := map[finding]bool{}
	for _, e := range Newest(scans) {
		s := e.Facts.Scan
		if !s.Complete() {
			return nil, incomplete(e, "scan", &s.List)
		}
		for i := range s.Vulnerabilities {
			v := &s.Vulnerabilities[i]
			this := finding{v.ID, v.Package, v.Severity, v.Score}
			if seen[this] {
				continue
			}
			seen[this] = true
			about, err := j.find(v)
			if err != nil {
				return nil, err
			}
			if about == nil {
				findings = append(findings, Finding{Vulnerability: v, Scan: e})
			} else if !about.Status.Removes() {
				findings = append(findings, Finding{Vulnerability: v, Scan: e, Statement: about.Statement, VEX: about.in})
			}
		}
	}
	return findings, nil
}

func incomplete(e *Evidence, group string, l *List) error {
	if l.Exceeded != "" {
		return fmt.Errorf("%w: the %s of entry %d exceeds the limit %q of facts", ErrUndecided, group, e.Index, l.Exceeded)
	}
	return fmt.Errorf("%w: %d elements of the %s of entry %d are malformed", ErrUndecided, l.Dropped, group, e.Index)
}

// A join finds the statement that counts for a vulnerability.
type join struct {
	about       map[aboutKey][]about // the statement that counts first
	purls       map[string]PURL      // parsed, by canonical form
	comparisons int
	filed       int
}

// An about is a statement that applies to a package of the subject, or to all.
type about struct {
	*Statement
	in      *Evidence
	time    Time
	at      int     // position in the document
	pkg     *PURL   // nil: every package
	further []*PURL // of which one must cover the package, too; nil: no restriction
}

// An aboutKey is a vulnerability in a package.
type aboutKey struct {
	id   string // in lower case
	base string // of the package's PURL, or anyPackage
}

// anyPackage is the base in the key of statements about every package.
const anyPackage = ""

func newJoin(subject Subject, vex []*Evidence) (*join, error) {
	j := &join{about: map[aboutKey][]about{}, purls: map[string]PURL{}}
	is := newSubject(subject)
	for _, e := range vex {
		if e.Facts.VEX == nil {
			continue
		}
		if v := e.Facts.VEX; !v.Complete() {
			return nil, incomplete(e, "VEX document", &v.List)
		}
		entryIs := is.isOneOf(e.Subjects)
		for i := range e.Facts.VEX.Statements {
			if j.add(is, e, i, entryIs); j.filed > maxFiled {
				return nil, fmt.Errorf("%w: the VEX statements name too many products", ErrUndecided)
			}
		}
	}
	for k := range j.about {
		slices.SortStableFunc(j.about[k], func(a, b about) int { return -a.compare(&b) })
	}
	return j, nil
}

// compare orders statements: the one that counts is the greater.
func (a *about) compare(b *about) int {
	return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.in.Index, b.in.Index), -cmp.Compare(a.Status, b.Status), cmp.Compare(a.at, b.at))
}

// add files a statement under each package that it applies to.
func (j *join) add(is *subjectNames, e *Evidence, i int, entryIs bool) {
	s := &e.Facts.VEX.Statements[i]
	a := about{Statement: s, in: e, time: e.time(s.Time), at: i}
	for k := range s.Subcomponents {
		a.further = append(a.further, j.purl(s.Subcomponents[k].PURL))
	}
	if len(s.Products) == 0 && entryIs {
		j.file(a, nil)
	}
	for k := range s.Products {
		p := &s.Products[k]
		switch {
		case is.is(&p.Identity) && len(p.Subcomponents) == 0:
			j.file(a, nil)
		case is.is(&p.Identity):
			for n := range p.Subcomponents {
				if sub := j.purl(p.Subcomponents[n].PURL); sub != nil {
					j.file(a, sub)
				}
			}
		case len(p.Subcomponents) == 0 && p.PURL != "":
			j.file(a, j.purl(p.PURL))
		}
	}
}

// file files a statement about a package, or all if it is nil.
func (j *join) file(a about, pkg *PURL) {
	base := anyPackage
	if a.pkg = pkg; pkg != nil {
		base = pkg.Base
	}
	if j.filed += 1 + len(a.Aliases); j.filed > maxFiled {
		return
	}
	for _, id := range append([]string{a.ID}, a.Aliases...) {
		k := aboutKey{lowerASCII(id), base}
		j.about[k] = append(j.about[k], a)
	}
}

// purl returns the parsed package URL, or nil if there is none.
func (j *join) purl(canonical string) *PURL {
	if canonical == "" {
		return nil
	}
	p, ok := j.purls[canonical]
	if !ok {
		p = ParsePURL(canonical)
		j.purls[canonical] = p
	}
	return &p
}

// find returns the statement that counts for the vulnerability, or nil if no
// statement is about it.
func (j *join) find(v *Vulnerability) (*about, error) {
	var best *about
	if len(j.about) == 0 {
		return nil, nil
	}
	pkg := ParsePURL(v.Package.PURL)
	for i := -1; i < len(v.Aliases); i++ {
		id := v.ID
		if i >= 0 {
			id = v.Aliases[i]
		}
		id = lowerASCII(id)
		for _, base := range [...]string{anyPackage, pkg.Base} {
			list := j.about[aboutKey{id, base}]
			for n := range list {
				a := &list[n]
				if best != nil && best.compare(a) >= 0 {
					break
				}
				if j.comparisons += 1 + len(a.further); j.comparisons > maxComparisons {
					return nil, fmt.Errorf("%w: too many VEX statements are about the same packages", ErrUndecided)
				}
				if a.applies(&pkg) {
					best = a
					break
				}
			}
			if pkg.Base == anyPackage {
				break
			}
		}
	}
	return best, nil
}

// applies reports whether the statement applies to a package of the subject. A
// zero package has no package URL.
func (a *about) applies(pkg *PURL) bool {
	if a.pkg != nil && (pkg.Base == "" || !a.pkg.Covers(pkg)) {
		return false
	}
	return a.further == nil || slices.ContainsFunc(a.further, func(p *PURL) bool { return p != nil && pkg.Base != "" && p.Covers(pkg) })
}

// subjectNames are the names that the subject has.
type subjectNames struct {
	digests map[entry.Digest]bool // of strong algorithms
	purls   []PURL
}

// strong are the digest algorithms that identify a product.
var strong = []string{"sha256", "sha384", "sha512"}

func newSubject(s Subject) *subjectNames {
	n := &subjectNames{digests: map[entry.Digest]bool{}}
	for alg, v := range s.Digests {
		if d := entry.CanonicalDigest(alg, v); slices.Contains(strong, strings.ToLower(alg)) {
			n.digests[d] = true
		}
	}
	for _, p := range s.PURLs {
		if canonical, ok := CanonicalPURL(p); ok {
			n.purls = append(n.purls, ParsePURL(canonical))
		}
	}
	return n
}

func (n *subjectNames) isOneOf(subjects []entry.Subject) bool {
	return slices.ContainsFunc(subjects, func(s entry.Subject) bool {
		for alg, v := range s.Digest {
			if n.digests[entry.CanonicalDigest(alg, v)] {
				return true
			}
		}
		return false
	})
}

// is reports whether a product is the subject: it has a digest of it, or a
// package URL that covers one of its names or, of type oci, has its digest as
// the version.
func (n *subjectNames) is(id *Identity) bool {
	for _, d := range id.Digests {
		if n.digests[entry.CanonicalDigest(d.Algorithm, d.Value)] {
			return true
		}
	}
	if id.PURL == "" {
		return false
	}
	p := ParsePURL(id.PURL)
	if alg, v, ok := strings.Cut(p.Version, ":"); ok && strings.HasPrefix(p.Base, "pkg:oci/") && n.digests[entry.CanonicalDigest(alg, v)] {
		return true
	}
	return slices.ContainsFunc(n.purls, func(name PURL) bool { return p.Covers(&name) })
}

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
	newest, n := Newest(scans), 0
	for _, e := range newest {
		n += len(e.Facts.Scan.Vulnerabilities)
	}
	seen := newSeen(n)
	for _, e := range newest {
		s := e.Facts.Scan
		if !s.Complete() {
			return nil, incomplete(e, "scan", &s.List)
		}
		for i := range s.Vulnerabilities {
			v := &s.Vulnerabilities[i]
			if seen.add(v) {
				continue
			}
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

// seen are the vulnerabilities that were found before.
type seen struct {
	index *hashIndex
	all   []*Vulnerability
}

func newSeen(n int) *seen { return &seen{newHashIndex(n), make([]*Vulnerability, 0, n)} }

// add adds a vulnerability, and reports whether an equal one was there.
// Scanners can disagree about the severity and score.
func (s *seen) add(v *Vulnerability) bool {
	h := s.index.hash(v.ID, v.Package.PURL, v.Package.Name, v.Package.Version)
	h ^= uint64(v.Severity)<<8 | uint64(v.Score)
	for i := s.index.first(h); i >= 0; i = s.index.after(i) {
		if old := s.all[i]; old.ID == v.ID && old.Package == v.Package && old.Severity == v.Severity && old.Score == v.Score {
			return true
		}
	}
	s.index.add(h, len(s.all))
	s.all = append(s.all, v)
	return false
}

func incomplete(e *Evidence, group string, l *List) error {
	if l.Exceeded != "" {
		return fmt.Errorf("%w: the %s of entry %d exceeds the limit %q of facts", ErrUndecided, group, e.Index, l.Exceeded)
	}
	return fmt.Errorf("%w: %d elements of the %s of entry %d are malformed", ErrUndecided, l.Dropped, group, e.Index)
}

// A join finds the statement that counts for a vulnerability.
type join struct {
	about       []about
	index       *hashIndex       // of about, the statement that counts first
	purls       map[string]*PURL // parsed, by canonical form
	comparisons int
}

// An about is a statement that applies to a package of the subject, or to all.
type about struct {
	*Statement
	id      string // by which it is filed: the statement's, or an alias
	in      *Evidence
	time    Time
	at      int     // position in the document
	pkg     *PURL   // nil: every package. Its base files it, too
	further []*PURL // of which one must cover the package, too; nil: no restriction
}

// anyPackage is the base of statements about every package.
const anyPackage = ""

// base returns the base of the package's URL, or anyPackage.
func (a *about) base() string {
	if a.pkg == nil {
		return anyPackage
	}
	return a.pkg.Base
}

func newJoin(subject Subject, vex []*Evidence) (*join, error) {
	j := &join{purls: map[string]*PURL{}}
	n := 0
	for _, e := range vex {
		if e.Facts.VEX != nil {
			n += len(e.Facts.VEX.Statements)
		}
	}
	j.about = make([]about, 0, n)
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
			if j.add(is, e, i, entryIs); len(j.about) > maxFiled {
				return nil, fmt.Errorf("%w: the VEX statements name too many products", ErrUndecided)
			}
		}
	}
	j.file()
	return j, nil
}

// file makes the index. What is added last is found first.
func (j *join) file() {
	order := make([]int32, len(j.about))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return j.about[a].compare(&j.about[b]) })
	j.index = newHashIndex(len(j.about))
	for _, i := range order {
		a := &j.about[i]
		j.index.add(j.index.hashFolded(a.id, a.base()), int(i))
	}
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
		j.addFor(a, nil)
	}
	for k := range s.Products {
		p := &s.Products[k]
		switch {
		case is.is(&p.Identity) && len(p.Subcomponents) == 0:
			j.addFor(a, nil)
		case is.is(&p.Identity):
			for n := range p.Subcomponents {
				if sub := j.purl(p.Subcomponents[n].PURL); sub != nil {
					j.addFor(a, sub)
				}
			}
		case len(p.Subcomponents) == 0 && p.PURL != "":
			j.addFor(a, j.purl(p.PURL))
		}
	}
}

// addFor adds a statement about a package, or all if it is nil.
func (j *join) addFor(a about, pkg *PURL) {
	if len(j.about) > maxFiled {
		return
	}
	a.id, a.pkg = a.ID, pkg
	j.about = append(j.about, a)
	for _, a.id = range a.Aliases {
		j.about = append(j.about, a)
	}
}

// purl returns the parsed package URL, or nil if there is none.
func (j *join) purl(canonical string) *PURL {
	if canonical == "" {
		return nil
	}
	p := j.purls[canonical]
	if p == nil {
		parsed := ParsePURL(canonical)
		p = &parsed
		j.purls[canonical] = p
	}
	return p
}

// find returns the statement that counts for the vulnerability, or nil if no
// statement is about it.
func (j *join) find(v *Vulnerability) (*about, error) {
	var best *about
	if len(j.about) == 0 {
		return nil, nil
	}
	pkg := j.purl(v.Package.PURL)
	if pkg == nil {
		pkg = &PURL{}
	}
	for i := -1; i < len(v.Aliases); i++ {
		id := v.ID
		if i >= 0 {
			id = v.Aliases[i]
		}
		for _, base := range [...]string{anyPackage, pkg.Base} {
			found, err := j.best(best, id, base, pkg)
			if err != nil {
				return nil, err
			}
			if best = found; pkg.Base == anyPackage {
				break
			}
		}
	}
	return best, nil
}

// best returns the statement that counts: best, or one that is filed under an
// identifier and a base.
func (j *join) best(best *about, id, base string, pkg *PURL) (*about, error) {
	for n := j.index.first(j.index.hashFolded(id, base)); n >= 0; n = j.index.after(n) {
		a := &j.about[n]
		if a.base() != base || !equalASCII(a.id, id) {
			continue
		}
		if best != nil && best.compare(a) >= 0 {
			break
		}
		if j.comparisons += 1 + len(a.further); j.comparisons > maxComparisons {
			return nil, fmt.Errorf("%w: too many VEX statements are about the same packages", ErrUndecided)
		}
		if a.applies(pkg) {
			return a, nil
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

package facts

import (
	"net/url"
	"slices"
	"strings"
)

// A bom is a CycloneDX document that is being read
// (https://cyclonedx.org/docs/1.6/json/).
type bom struct {
	sbom SBOM
	scan Scan
	vex  VEX

	format string
	refs   map[string]Package // components by bom-ref
	root   string             // the bom-ref of the component that the document is about
	is     Package            // that component
	digest Digests            // its digests

	listed   bool // there is a list of vulnerabilities
	unstated bool // one of them has no analysis
	assessed []assessed
	affects  int // their number, in all vulnerabilities
}

// An assessed vulnerability is one of a CycloneDX document. Its components can
// follow later in the document.
type assessed struct {
	Vulnerability
	state, justification string
	time                 Time
	affects              []string
	path                 []segment
}

func (r *reader) cycloneDX() error {
	b := &bom{refs: map[string]Package{}}
	err := r.object(func(name string) error {
		switch name {
		case "bomFormat":
			return r.text(&b.format)
		case "specVersion":
			return r.text(&b.sbom.Version)
		case "metadata":
			return r.cycloneMetadata(b)
		case "components":
			return r.list(&b.sbom.List, func(int) error { return r.cycloneComponent(b, 1) })
		case "vulnerabilities":
			b.listed = r.dec.PeekKind() == '['
			return r.list(&b.scan.List, func(int) error { return r.cycloneVulnerability(b) })
		}
		return errUnknown
	})
	switch {
	case err != nil:
		return err
	case b.format == "":
		return r.missing("bomFormat")
	case b.format != "CycloneDX":
		r.out.problem(r.place("bomFormat"), WrongValue)
		return errBad
	case b.sbom.Version == "":
		return r.missing("specVersion")
	}
	b.sbom.Format = b.format
	r.out.SBOM = &b.sbom
	if b.listed {
		r.assess(b)
	}
	return nil
}

func (r *reader) cycloneMetadata(b *bom) error {
	return r.object(func(name string) error {
		switch name {
		case "timestamp":
			return optional(r.time(&b.sbom.Time))
		case "tools":
			return r.cycloneTools(b)
		case "component":
			p := &b.is
			err := r.object(func(name string) error {
				switch name {
				case "bom-ref":
					return r.text(&b.root)
				case "name":
					return optional(r.text(&p.Name))
				case "version":
					return optional(r.text(&p.Version))
				case "purl":
					return r.purl(&p.PURL)
				case "hashes":
					return r.array(func(int) error { return r.cycloneHash(b) })
				}
				return errUnknown
			})
			b.sbom.Name = p.Name
			return r.refer(b, b.root, *p, err)
		}
		return errUnknown
	})
}

// refer files a component under its bom-ref.
func (r *reader) refer(b *bom, ref string, p Package, err error) error {
	if err != nil || ref == "" {
		return err
	}
	if _, again := b.refs[ref]; again {
		r.out.problem(r.place("bom-ref"), Duplicate)
		return errBad
	}
	b.refs[ref] = p
	return nil
}

// cycloneTools reads the tools, which are a list before version 1.5. The first
// is the scanner.
func (r *reader) cycloneTools(b *bom) error {
	tool := func(int) error {
		var t Tool
		err := r.object(func(name string) error {
			switch name {
			case "name":
				return optional(r.text(&t.Name))
			case "version":
				return optional(r.text(&t.Version))
			}
			return errUnknown
		})
		if err == nil && b.scan.Scanner.Name == "" && t.Name != "" {
			b.scan.Scanner = t
		}
		return optional(err)
	}
	if r.dec.PeekKind() == '[' {
		return r.array(tool)
	}
	return r.member("components", func() error { return r.array(tool) })
}

func (r *reader) cycloneHash(b *bom) error {
	var algorithm, value string
	err := r.object(func(name string) error {
		switch name {
		case "alg":
			return r.text(&algorithm)
		case "content":
			return r.text(&value)
		}
		return errUnknown
	})
	if err != nil || algorithm == "" || value == "" {
		return err
	}
	return r.addDigest(&b.digest, hashName(algorithm), value)
}

func (r *reader) cycloneComponent(b *bom, depth int) error {
	if depth > MaxNested {
		return errDepth
	}
	var c Component
	ref := ""
	err := r.object(func(name string) error {
		switch name {
		case "bom-ref":
			return r.text(&ref)
		case "name":
			return r.text(&c.Name)
		case "version":
			return r.text(&c.Version)
		case "purl":
			return r.purl(&c.PURL)
		case "licenses":
			return r.array(func(int) error { return r.cycloneLicense(&c) })
		case "components":
			return r.list(&b.sbom.List, func(int) error { return r.cycloneComponent(b, depth+1) })
		}
		return errUnknown
	})
	if err == nil && c.Name == "" {
		err = r.missing("name")
	}
	if err = r.refer(b, ref, c.Package, err); err == nil {
		r.addComponent(&b.sbom, &c)
	}
	return err
}

func (r *reader) cycloneLicense(c *Component) error {
	var id, name, expression string
	err := r.object(func(member string) error {
		switch member {
		case "expression":
			return r.text(&expression)
		case "license":
			return r.object(func(member string) error {
				switch member {
				case "id":
					return r.text(&id)
				case "name":
					return r.text(&name)
				}
				return errUnknown
			})
		}
		return errUnknown
	})
	if err != nil {
		return err
	}
	for _, l := range []string{expression, id, name} {
		if l == "" {
			continue
		}
		if slices.Contains(c.Licenses, l) {
			return nil
		}
		return r.short(&c.Licenses, l)
	}
	return nil
}

func (r *reader) cycloneVulnerability(b *bom) error {
	var v assessed
	var updated Time
	err := r.object(func(name string) error {
		switch name {
		case "id":
			return r.text(&v.ID)
		case "references":
			return r.aliases(&v.Aliases)
		case "ratings":
			return r.array(func(int) error {
				return r.object(func(name string) error {
					switch name {
					case "score":
						return r.score(&v.Score)
					case "severity":
						return r.severity(&v.Severity)
					}
					return errUnknown
				})
			})
		case "published":
			return optional(r.time(&v.Published))
		case "affects":
			return r.array(func(int) error { return r.cycloneAffects(b, &v) })
		case "analysis":
			return r.object(func(name string) error {
				switch name {
				case "state":
					return r.oneOf(&v.state, "not_affected", "false_positive", "resolved", "resolved_with_pedigree", "exploitable", "in_triage")
				case "justification":
					return optional(r.text(&v.justification))
				case "firstIssued":
					return r.time(&v.time)
				case "lastUpdated":
					return r.time(&updated)
				}
				return errUnknown
			})
		}
		return errUnknown
	})
	switch {
	case err != nil:
		return err
	case v.ID == "":
		return r.missing("id")
	}
	if updated != 0 {
		v.time = updated
	}
	if b.affects += len(v.affects); len(b.assessed) == MaxElements || b.affects > MaxElements {
		b.scan.Exceeded = LimitElements
		return nil
	}
	v.path = append(v.path, r.path...)
	b.unstated = b.unstated || v.state == ""
	b.assessed = append(b.assessed, v)
	return nil
}

func (r *reader) cycloneAffects(b *bom, v *assessed) error {
	ref := ""
	err := r.member("ref", func() error { return r.text(&ref) })
	switch {
	case err != nil:
		return err
	case ref == "":
		return r.missing("ref")
	case b.affects+len(v.affects) <= MaxElements: // the next one exceeds the limit
		v.affects = append(v.affects, ref)
	}
	return nil
}

// assess makes the vulnerabilities findings of a scan, and statements of VEX. A
// document whose vulnerabilities are all assessed is VEX only.
func (r *reader) assess(b *bom) {
	b.scan.Time = b.sbom.Time
	b.vex.List = b.scan.List
	b.unstated = b.unstated || b.scan.Dropped > 0
	here := r.path
	for i := range b.assessed {
		v := &b.assessed[i]
		r.path = v.path
		if b.unstated {
			r.cycloneFindings(b, v)
		}
		if v.state != "" {
			r.cycloneStatement(b, v)
		}
	}
	r.path = here
	// An element that is lost may have been of either sort.
	exceeded := b.scan.Exceeded != "" || r.size > MaxSize
	if len(b.assessed) == 0 || b.unstated || exceeded {
		r.out.Scan = &b.scan
	}
	if len(b.vex.Statements) > 0 || b.vex.Dropped > 0 || exceeded {
		r.out.VEX = &b.vex
	}
}

func (r *reader) cycloneFindings(b *bom, v *assessed) {
	if len(v.affects) == 0 {
		r.addVulnerability(&b.scan, &v.Vulnerability)
	}
	for _, ref := range v.affects {
		finding := v.Vulnerability
		p, ok := b.refs[ref]
		if id := identityOf(ref); !ok && id.PURL != "" {
			p, ok = Package{PURL: id.PURL}, true
		}
		if !ok {
			r.out.problem(r.place("affects"), Unsupported)
			b.scan.Dropped++
			continue
		}
		finding.Package = p
		r.addVulnerability(&b.scan, &finding)
	}
}

func (r *reader) cycloneStatement(b *bom, v *assessed) {
	if len(v.affects) == 0 {
		_ = r.missing("affects")
		b.vex.Dropped++
		return
	}
	s := Statement{ID: v.ID, Aliases: v.Aliases, Justification: v.justification, Time: v.time}
	if s.Time == 0 {
		s.Time = b.sbom.Time
	}
	switch v.state {
	case "not_affected", "false_positive":
		s.Status = NotAffected
	case "resolved", "resolved_with_pedigree":
		s.Status = Fixed
	case "exploitable":
		s.Status = Affected
	}
	if is := b.about(); len(r.path) > 0 && r.path[0].name != predicate && is.known() {
		s.Products = []Product{{Identity: is}} // there is no statement with subjects
	}
	for _, ref := range v.affects {
		if ref == b.root { // it is about everything
			s.Subcomponents = nil
			break
		}
		id := identityOf(ref)
		if p, ok := b.refs[ref]; ok && p.PURL != "" {
			id = Identity{PURL: p.PURL}
		}
		s.Subcomponents = append(s.Subcomponents, id)
	}
	r.addStatement(&b.vex, &s)
}

// about returns the identity of what the document is about.
func (b *bom) about() Identity { return Identity{PURL: b.is.PURL, Digests: b.digest} }

func (id *Identity) known() bool { return id.PURL != "" || len(id.Digests) > 0 }

// identityOf returns the identity of a reference, which can be a package URL,
// or end with one if it is a BOM-Link.
func identityOf(ref string) Identity {
	s := ref
	if strings.HasPrefix(s, "urn:cdx:") {
		if _, fragment, ok := strings.Cut(s, "#"); ok {
			if u, err := url.PathUnescape(fragment); err == nil {
				s = u
			}
		}
	}
	if p, ok := CanonicalPURL(s); ok {
		return Identity{PURL: p}
	}
	return Identity{ID: ref}
}

package facts

import (
	"slices"
	"strings"
)

// statusOf returns the status of a VEX statement.
func statusOf(word string) (Status, bool) {
	i := slices.Index(statuses, word)
	return Status(max(i, 0)), i >= 0
}

// openVEX reads an OpenVEX document
// (https://github.com/openvex/spec/blob/main/OPENVEX-SPEC.md).
func (r *reader) openVEX() error {
	v := &VEX{}
	var stamped, updated Time
	statements := false
	err := r.object(func(name string) error {
		switch name {
		case "author":
			return optional(r.text(&v.Author))
		case "timestamp":
			return r.time(&stamped)
		case "last_updated":
			return r.time(&updated)
		case "statements":
			statements = r.dec.PeekKind() == '['
			return r.list(&v.List, func(int) error { return r.openStatement(v) })
		}
		return errUnknown
	})
	if err != nil {
		return err
	}
	if !statements {
		return r.missing("statements")
	}
	if updated != 0 {
		stamped = updated
	}
	for i := range v.Statements {
		if s := &v.Statements[i]; s.Time == 0 {
			s.Time = stamped
		}
	}
	r.out.VEX = v
	return nil
}

func (r *reader) openStatement(v *VEX) error {
	var s Statement
	var status string
	var updated Time
	err := r.object(func(name string) error {
		switch name {
		case "vulnerability":
			return r.openVulnerability(&s)
		case "status":
			return r.oneOf(&status, statuses...)
		case "justification":
			return optional(r.text(&s.Justification))
		case "timestamp":
			return r.time(&s.Time)
		case "last_updated":
			return r.time(&updated)
		case "products":
			return r.array(func(int) error {
				p, err := r.product()
				if err == nil {
					s.Products = append(s.Products, p)
				}
				return err
			})
		case "subcomponents": // before version 0.2
			return r.identities(&s.Subcomponents)
		}
		return errUnknown
	})
	switch {
	case err != nil:
		return err
	case s.ID == "":
		return r.missing("vulnerability")
	case status == "":
		return r.missing("status")
	}
	if updated != 0 {
		s.Time = updated
	}
	s.Status, _ = statusOf(status)
	r.addStatement(v, &s)
	return nil
}

// addStatement adds a statement that was read.
func (r *reader) addStatement(v *VEX, s *Statement) {
	s.Aliases = slices.DeleteFunc(s.Aliases, func(a string) bool { return a == s.ID })
	size := lengths(s.ID, s.Justification) + lengths(s.Aliases...) + sizeOf(s.Subcomponents)
	for i := range s.Products {
		p := &s.Products[i]
		size += elementSize + p.size() + sizeOf(p.Subcomponents)
	}
	if r.room(&v.List, len(v.Statements), size) {
		v.Statements = append(v.Statements, *s)
	}
}

func (id *Identity) size() int { return lengths(id.ID, id.PURL) + id.Digests.lengths() }

func sizeOf(all []Identity) (n int) {
	for i := range all {
		n += elementSize + all[i].size()
	}
	return n
}

// openVulnerability reads the name of a vulnerability, which was a string
// before version 0.2.
func (r *reader) openVulnerability(s *Statement) error {
	if r.dec.PeekKind() == '"' {
		return r.text(&s.ID)
	}
	return r.object(func(name string) error {
		switch name {
		case "name":
			return r.text(&s.ID)
		case "aliases":
			return r.texts(&s.Aliases)
		}
		return errUnknown
	})
}

// product reads a product, which was a string before version 0.2.
func (r *reader) product() (p Product, err error) {
	p.Identity, err = r.identity(&p.Subcomponents)
	return p, err
}

func (r *reader) identities(to *[]Identity) error {
	return r.array(func(int) error {
		id, err := r.identity(nil)
		if err == nil {
			*to = append(*to, id)
		}
		return err
	})
}

// identity reads the identity of a product or component, and its subcomponents
// if below is not nil.
func (r *reader) identity(below *[]Identity) (id Identity, err error) {
	if r.dec.PeekKind() == '"' {
		if err = r.text(&id.ID); err == nil {
			err = r.identified(&id, "")
		}
		return id, err
	}
	var purl string
	err = r.object(func(name string) error {
		switch name {
		case "@id":
			return r.text(&id.ID)
		case "identifiers":
			return r.member("purl", func() error { return r.text(&purl) })
		case "hashes":
			return r.hashes(&id.Digests)
		case "subcomponents":
			if below != nil {
				return r.identities(below)
			}
		}
		return errUnknown
	})
	if err == nil {
		err = r.identified(&id, purl)
	}
	return id, err
}

// identified sets the package URL of an identity. The ID can itself be one. An
// identity without an ID, package URL or digest is malformed.
func (r *reader) identified(id *Identity, purl string) error {
	if strings.HasPrefix(id.ID, "pkg:") && purl == "" {
		purl, id.ID = id.ID, ""
	}
	if purl != "" {
		canonical, ok := CanonicalPURL(purl)
		if !ok {
			r.note(WrongValue)
			return errBad
		}
		id.PURL = r.keep([]byte(canonical))
	}
	if id.ID == "" && id.PURL == "" && len(id.Digests) == 0 {
		r.note(Missing)
		return errBad
	}
	return nil
}

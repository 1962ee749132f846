package facts

import "strings"

// addComponent adds a component that was read.
func (r *reader) addComponent(s *SBOM, c *Component) {
	size := lengths(c.PURL, c.Name, c.Version) + lengths(c.Licenses...)
	if r.room(&s.List, len(s.Components), size) {
		s.Components = append(s.Components, *c)
	}
}

// spdx2 reads an SPDX document, version 2
// (https://spdx.github.io/spdx-spec/v2.3/).
func (r *reader) spdx2() error {
	s := &SBOM{Format: "SPDX"}
	version := ""
	err := r.object(func(name string) error {
		switch name {
		case "spdxVersion":
			return r.text(&version)
		case "name":
			return optional(r.text(&s.Name))
		case "creationInfo":
			return r.member("created", func() error { return optional(r.time(&s.Time)) })
		case "packages":
			return r.list(&s.List, func(int) error { return r.spdxPackage(s) })
		}
		return errUnknown
	})
	if err != nil {
		return err
	}
	number, ok := strings.CutPrefix(version, "SPDX-")
	switch {
	case version == "":
		return r.missing("spdxVersion")
	case !ok || !strings.HasPrefix(number, "2."):
		r.out.problem(r.place("spdxVersion"), WrongValue)
		return errBad
	}
	s.Version = number
	r.out.SBOM = s
	return nil
}

func (r *reader) spdxPackage(s *SBOM) error {
	var c Component
	var concluded, declared string
	err := r.object(func(name string) error {
		switch name {
		case "name":
			return r.text(&c.Name)
		case "versionInfo":
			return r.text(&c.Version)
		case "licenseConcluded":
			return r.text(&concluded)
		case "licenseDeclared":
			return r.text(&declared)
		case "externalRefs":
			return r.array(func(int) error { return r.spdxReference(&c) })
		}
		return errUnknown
	})
	if err != nil {
		return err
	}
	if c.Name == "" {
		return r.missing("name")
	}
	for _, l := range []string{concluded, declared} {
		if l != "" && l != "NOASSERTION" && l != "NONE" {
			c.Licenses = []string{l}
			break
		}
	}
	r.addComponent(s, &c)
	return nil
}

// spdxReference reads a reference. The first package URL is the package's.
func (r *reader) spdxReference(c *Component) error {
	var kind, locator string
	err := r.object(func(name string) error {
		switch name {
		case "referenceType":
			return optional(r.text(&kind))
		case "referenceLocator":
			return optional(r.text(&locator))
		}
		return errUnknown
	})
	if err != nil || kind != "purl" || c.PURL != "" {
		return err
	}
	canonical, ok := CanonicalPURL(locator)
	if !ok {
		r.out.problem(r.place("referenceLocator"), WrongValue)
		return nil
	}
	c.PURL = r.keep([]byte(canonical))
	return nil
}

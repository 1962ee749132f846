package facts

// testResult reads
// https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md.
func (r *reader) testResult() error {
	t := &Test{}
	err := r.object(func(name string) error {
		switch name {
		case "result":
			return r.oneOf(&t.Result, "PASSED", "WARNED", "FAILED")
		case "url":
			return optional(r.text(&t.URL))
		case "configuration":
			return r.resources(&t.List, &t.Configuration)
		case "passedTests":
			return r.names(&t.List, &t.Passed)
		case "warnedTests":
			return r.names(&t.List, &t.Warned)
		case "failedTests":
			return r.names(&t.List, &t.Failed)
		}
		return errUnknown
	})
	if err != nil {
		return err
	}
	if t.Result == "" {
		return r.missing("result")
	}
	r.out.Test = t
	return nil
}

// names reads a list of strings, which are elements of the group. An empty name
// counts as missing. Ignoring it could hide the one test that failed.
func (r *reader) names(l *List, to *[]string) error {
	return r.list(l, func(int) error {
		var s string
		if err := r.text(&s); err != nil {
			return err
		}
		if s == "" {
			r.note(Missing)
			return errBad
		}
		if r.room(l, len(*to), len(s)) {
			*to = append(*to, s)
		}
		return nil
	})
}

// summaryV1 reads https://slsa.dev/spec/v1.1/verification_summary.
func (r *reader) summaryV1() error {
	s := &Summary{}
	err := r.object(func(name string) error {
		switch name {
		case "verifier":
			return r.id(&s.Verifier)
		case "timeVerified":
			return r.time(&s.Time)
		case "resourceUri":
			return r.text(&s.Resource)
		case "policy":
			return r.resource(&s.Policy)
		case "verificationResult":
			return r.oneOf(&s.Result, "PASSED", "FAILED")
		case "verifiedLevels":
			return r.names(&s.List, &s.Levels)
		}
		return errUnknown
	})
	return r.endSummary(s, "resourceUri", "verificationResult", err)
}

// summaryV02 reads https://slsa.dev/verification_summary/v0.2.
func (r *reader) summaryV02() error {
	s := &Summary{}
	level := ""
	err := r.object(func(name string) error {
		switch name {
		case "verifier":
			return r.id(&s.Verifier)
		case "time_verified":
			return r.time(&s.Time)
		case "resource_uri":
			return r.text(&s.Resource)
		case "policy":
			return r.resource(&s.Policy)
		case "verification_result":
			return r.oneOf(&s.Result, "PASSED", "FAILED")
		case "policy_level":
			return r.text(&level)
		}
		return errUnknown
	})
	if level != "" {
		s.Levels = []string{level}
	}
	return r.endSummary(s, "resource_uri", "verification_result", err)
}

func (r *reader) endSummary(s *Summary, resource, result string, err error) error {
	switch {
	case err != nil:
		return err
	case s.Verifier == "":
		return r.missing("verifier.id")
	case s.Resource == "":
		return r.missing(resource)
	case s.Result == "":
		return r.missing(result)
	}
	r.out.Summary = s
	return nil
}

// simpleResult reads
// https://github.com/in-toto/attestation/blob/main/spec/predicates/svr.md.
func (r *reader) simpleResult() error {
	p := &Properties{}
	err := r.object(func(name string) error {
		switch name {
		case "verifier":
			return r.id(&p.Verifier)
		case "timeCreated":
			return r.time(&p.Time)
		case "properties":
			return r.list(&p.List, func(int) error {
				var one Property
				if err := r.text(&one.Name); err != nil {
					return err
				}
				if one.Name == "" {
					r.note(Missing)
					return errBad
				}
				r.addProperty(p, &one)
				return nil
			})
		}
		return errUnknown
	})
	switch {
	case err != nil:
		return err
	case p.Verifier == "":
		return r.missing("verifier.id")
	}
	r.out.Properties = p
	return nil
}

func (r *reader) addProperty(p *Properties, one *Property) {
	size := lengths(one.Name, one.Target.Name, one.Target.URI) + one.Target.Digests.lengths()
	if r.room(&p.List, len(p.Properties), size) {
		p.Properties = append(p.Properties, *one)
	}
}

// attributeReport reads
// https://github.com/in-toto/attestation/blob/main/spec/predicates/scai.md.
func (r *reader) attributeReport() error {
	p := &Properties{}
	var producer Resource
	attributes := false
	err := r.object(func(name string) error {
		switch name {
		case "producer":
			return r.resource(&producer)
		case "attributes":
			attributes = r.dec.PeekKind() == '['
			return r.list(&p.List, func(int) error { return r.attribute(p) })
		}
		return errUnknown
	})
	switch {
	case err != nil:
		return err
	case !attributes:
		return r.missing("attributes")
	}
	if p.Verifier = producer.URI; p.Verifier == "" {
		p.Verifier = producer.Name
	}
	r.out.Properties = p
	return nil
}

// attribute reads an attribute. One with conditions is not a property of the
// target as such, and is left out.
func (r *reader) attribute(p *Properties) error {
	var one Property
	conditions := false
	err := r.object(func(name string) error {
		switch name {
		case "attribute":
			return r.text(&one.Name)
		case "target":
			present := r.dec.PeekKind() == '{'
			if err := r.resource(&one.Target); err != nil || !present || !one.Target.IsZero() {
				return err
			}
			r.note(Missing)
			return errBad
		case "conditions":
			conditions = r.dec.PeekKind() != 'n'
			return r.skip()
		}
		return errUnknown
	})
	switch {
	case err != nil:
		return err
	case conditions:
		r.out.problem(r.place("conditions"), Unsupported)
		return errBad
	case one.Name == "":
		return r.missing("attribute")
	}
	r.addProperty(p, &one)
	return nil
}

package facts

import (
	"math"
	"strconv"

	"muniment.dev/muniment/verifiers/export"
)

// exportManifestV1 reads a document of kind export-manifest
// (docs/spec/kinds.md).
func (r *reader) exportManifestV1() error {
	e := &Export{}
	err := r.element(func(name string) error {
		switch name {
		case "name":
			return r.text(&e.Name)
		case "created":
			return r.time(&e.Created)
		case "residencyRegions":
			return r.texts(&e.Regions)
		case "licenses":
			return r.texts(&e.Licenses)
		case "files":
			return r.objects(&e.Files)
		case "privacyBudget":
			return r.privacyV1(e)
		}
		return errUnknown
	}, func() []need {
		return []need{{"name", e.Name != ""}, {"created", e.Created != 0}, {"files", e.Files > 0}}
	})
	if err == nil {
		r.out.Export = e
	}
	return err
}

// objects counts the elements of an array of objects.
func (r *reader) objects(n *int) error {
	return r.array(func(int) error {
		*n++
		ok, err := r.begin('{')
		if !ok {
			return err
		}
		return r.skip()
	})
}

func (r *reader) privacyV1(e *Export) error {
	p := &Privacy{}
	var epsilon, spent, budget bool
	p.Spent = new(float64)
	present := r.dec.PeekKind() == '{'
	err := r.record(func(name string) error {
		switch name {
		case "epsilon":
			return r.number(&p.Epsilon, &epsilon, 0, math.MaxFloat64)
		case "spent":
			return r.number(p.Spent, &spent, 0, math.MaxFloat64)
		case "budget":
			return r.number(&p.Budget, &budget, 0, math.MaxFloat64)
		case "delta":
			return r.number(&p.Delta, nil, 0, 1)
		}
		return errUnknown
	}, func() []need { return []need{{"epsilon", epsilon}, {"spent", spent}, {"budget", budget}} })
	if err == nil && present {
		e.Privacy = p
	}
	return err
}

// exportManifestV2 reads the predicate of an export manifest
// (docs/spec/export-manifest.md, section 2).
func (r *reader) exportManifestV2() error {
	e := &Export{}
	claims := false
	err := r.element(func(name string) error {
		switch name {
		case "tenant":
			return r.text(&e.Tenant)
		case "exportId":
			return r.text(&e.Name)
		case "created":
			return r.time(&e.Created)
		case "files":
			return r.elements(func(i int) error {
				e.Files++
				return r.listed(&e.List, i, func(int) error { return r.exportFile(e) })
			})
		case "residency":
			return r.record(func(name string) error {
				if name != "claims" {
					return errUnknown
				}
				return r.list(&e.List, func(int) error {
					claims = true // at least one
					return r.claim(e)
				})
			}, func() []need { return []need{{"claims", claims}} })
		case "privacy":
			return r.privacyV2(e)
		}
		return errUnknown
	}, func() []need {
		return []need{{"tenant", e.Tenant != ""}, {"exportId", e.Name != ""}, {"created", e.Created != 0}, {"files", e.Files > 0}, {"residency.claims", claims}}
	})
	if err != nil {
		return err
	}
	e.derive()
	r.out.Export = e
	return nil
}

// derive sets the lists that follow from the others.
func (e *Export) derive() {
	seen := map[string]bool{}
	for _, c := range e.Residency {
		for _, l := range c.Locations {
			if p := l.place(); !seen[p] {
				seen[p] = true
				e.Regions = append(e.Regions, p)
			}
		}
	}
	clear(seen)
	for _, f := range e.Contents {
		for _, l := range f.Licenses {
			if !seen[l] {
				seen[l] = true
				e.Licenses = append(e.Licenses, l)
			}
		}
	}
}

// place returns the most precise name of the location.
func (l *Location) place() string {
	switch {
	case l.CloudRegion != "":
		return l.CloudRegion
	case l.State != "":
		return l.State
	}
	return l.Country
}

func (r *reader) exportFile(e *Export) error {
	var f ExportFile
	size := false
	err := r.element(func(name string) error {
		switch name {
		case "name":
			return r.text(&f.Name)
		case "digest":
			return r.digests(&f.Digests)
		case "size":
			return r.integer(&f.Size, &size, 0, maxInteger)
		case "mediaType":
			return optional(r.text(&f.MediaType))
		case "rows":
			n, set := 0, false
			err := r.integer(&n, &set, 0, maxInteger)
			if set {
				f.Rows = &n
			}
			return err
		case "license":
			return r.texts(&f.Licenses)
		case "fieldSets":
			return r.array(func(int) error {
				return r.member("license", func() error { return r.texts(&f.Licenses) })
			})
		}
		return errUnknown
	}, func() []need { return []need{{"name", f.Name != ""}, {"size", size}} })
	if err != nil {
		return err
	}
	if r.room(&e.List, len(e.Contents), lengths(f.Name, f.MediaType)+lengths(f.Licenses...)+f.Digests.lengths()) {
		e.Contents = append(e.Contents, f)
	}
	return nil
}

func (r *reader) claim(e *Export) error {
	var c ResidencyClaim
	texts := 0
	err := r.element(func(name string) error {
		switch name {
		case "activity":
			return r.oneOf(&c.Activity, export.Storage, export.Processing)
		case "locations":
			return r.array(func(int) error { return r.location(&c, &texts) })
		case "claimedBy":
			return r.signer(&c.ClaimedBy)
		case "evidence":
			return r.objects(&c.Evidence)
		}
		return errUnknown
	}, func() []need {
		return []need{{"activity", c.Activity != ""}, {"locations", len(c.Locations) > 0}, {"claimedBy", c.ClaimedBy != Signer{}}}
	})
	if err != nil {
		return err
	}
	texts += lengths(c.Activity, c.ClaimedBy.Identity, c.ClaimedBy.Issuer, c.ClaimedBy.KeyID)
	if r.room(&e.List, len(e.Residency), texts) {
		e.Residency = append(e.Residency, c)
	}
	return nil
}

func (r *reader) location(c *ResidencyClaim, texts *int) error {
	var l Location
	err := r.element(func(name string) error {
		switch name {
		case "country":
			return r.text(&l.Country)
		case "state":
			return r.text(&l.State)
		case "cloudRegion":
			return r.text(&l.CloudRegion)
		}
		return errUnknown
	}, func() []need { return []need{{"country", l.Country != ""}} })
	switch {
	case err != nil:
		return err
	case len(c.Locations) == MaxShort:
		r.note(TooLong)
		return errBad
	}
	*texts += lengths(l.Country, l.State, l.CloudRegion)
	c.Locations = append(c.Locations, l)
	return nil
}

// signer reads who asserts something.
func (r *reader) signer(to *Signer) error {
	present := r.dec.PeekKind() == '{'
	err := r.object(func(name string) error {
		switch name {
		case "identity":
			return r.text(&to.Identity)
		case "issuer":
			return r.text(&to.Issuer)
		case "keyId":
			return r.text(&to.KeyID)
		}
		return errUnknown
	})
	if err == nil && present && to.Identity == "" && to.KeyID == "" {
		r.note(Missing)
		return errBad
	}
	return err
}

// privacyV2 reads the privacy loss of an export. Sums are those of the exact
// decimals.
func (r *reader) privacyV2(e *Export) error {
	p, x := &Privacy{}, &export.Privacy{}
	var epsilon, budget *export.Decimal
	present := r.dec.PeekKind() == '{'
	err := r.record(func(name string) error {
		switch name {
		case "dp_flavor":
			return r.record(r.only("name", func() error { return r.text(&p.Flavor) }), func() []need { return []need{{"name", p.Flavor != ""}} })
		case "privacy_loss":
			return r.privacyLoss(p, x, &epsilon)
		case "mechanisms":
			return r.array(func(int) error { return r.mechanism(x) })
		case "sensitivity":
			return r.record(r.only("claimedBy", func() error { return r.signer(&p.SensitivityBy) }), func() []need { return []need{{"claimedBy", p.SensitivityBy != Signer{}}} })
		case "sampler":
			return r.record(func(name string) error {
				switch name {
				case "name":
					return r.text(&p.Sampler)
				case "claimedBy":
					return r.signer(&p.SamplerBy)
				}
				return errUnknown
			}, func() []need { return []need{{"name", p.Sampler != ""}, {"claimedBy", p.SamplerBy != Signer{}}} })
		case "budget":
			return r.budget(p, x, &budget)
		}
		return errUnknown
	}, func() []need {
		return []need{{"dp_flavor.name", p.Flavor != ""}, {"privacy_loss.privacy_unit", p.Unit != ""}, {"mechanisms", len(x.Mechanisms) > 0},
			{"sensitivity.claimedBy", p.SensitivityBy != Signer{}}, {"sampler.name", p.Sampler != ""}, {"budget.name", p.BudgetName != ""}}
	})
	if err != nil || !present {
		return err
	}
	x.Flavor, x.Parameters.Epsilon, x.BudgetEpsilon = p.Flavor, *epsilon, *budget
	ok := x.Check() == nil
	p.AddsUp = &ok
	e.Privacy = p
	return nil
}

// only returns the function of an object of which one member is read.
func (r *reader) only(member string, read func() error) func(string) error {
	return func(name string) error {
		if name == member {
			return read()
		}
		return errUnknown
	}
}

func (r *reader) privacyLoss(p *Privacy, x *export.Privacy, epsilon **export.Decimal) error {
	return r.record(func(name string) error {
		switch name {
		case "privacy_unit":
			return r.text(&p.Unit)
		case "neighboring_relation":
			return r.oneOf(&p.Relation, "unbounded", "bounded")
		case "privacy_parameters":
			return r.record(func(name string) error {
				switch name {
				case "epsilon":
					return r.decimal(epsilon, &p.Epsilon)
				case "delta":
					return r.delta(&x.Parameters.Delta, &p.Delta)
				case "rho":
					return r.optionalDecimal(&x.Parameters.Rho, &p.Rho)
				}
				return errUnknown
			}, func() []need { return []need{{"epsilon", *epsilon != nil}} })
		}
		return errUnknown
	}, func() []need {
		return []need{{"privacy_unit", p.Unit != ""}, {"neighboring_relation", p.Relation != ""}, {"privacy_parameters.epsilon", *epsilon != nil}}
	})
}

func (r *reader) budget(p *Privacy, x *export.Privacy, epsilon **export.Decimal) error {
	return r.record(func(name string) error {
		switch name {
		case "name":
			return r.text(&p.BudgetName)
		case "epsilon":
			return r.decimal(epsilon, &p.Budget)
		case "delta":
			return r.delta(&x.BudgetDelta, &p.BudgetDelta)
		case "spent":
			return r.object(func(name string) error {
				switch name {
				case "epsilon":
					return r.optionalDecimal(&x.SpentEpsilon, &p.Spent)
				case "rho":
					return r.optionalDecimal(&x.SpentRho, &p.SpentRho)
				}
				return errUnknown
			})
		}
		return errUnknown
	}, func() []need { return []need{{"name", p.BudgetName != ""}, {"epsilon", *epsilon != nil}} })
}

// decimal reads a decimal and its nearest double.
func (r *reader) decimal(exact **export.Decimal, to *float64) error {
	var s string
	if err := r.text(&s); err != nil || s == "" {
		return err
	}
	d, err := export.ParseDecimal(s)
	if err != nil {
		r.note(WrongValue)
		return errBad
	}
	*exact = &d
	*to, err = strconv.ParseFloat(s, 64)
	return err
}

func (r *reader) optionalDecimal(exact **export.Decimal, to **float64) error {
	v := 0.0
	err := r.decimal(exact, &v)
	if *exact != nil {
		*to = &v
	}
	return err
}

// delta reads a decimal that is greater than 0 and less than 1.
func (r *reader) delta(exact **export.Decimal, to *float64) error {
	if err := r.decimal(exact, to); err != nil || *exact == nil {
		return err
	}
	if !(*exact).IsDelta() {
		r.note(WrongValue)
		return errBad
	}
	return nil
}

// maxMechanisms is the number of mechanisms of a manifest.
const maxMechanisms = 256

func (r *reader) mechanism(x *export.Privacy) error {
	var m export.Mechanism
	count := 0
	var sensitivity, scale *export.Rational
	err := r.element(func(name string) error {
		switch name {
		case "name":
			return r.oneOf(&m.Name, export.Gaussian, export.Laplace)
		case "sensitivity":
			return r.rational(&sensitivity)
		case "scale":
			return r.rational(&scale)
		case "count":
			return r.integer(&count, nil, 1, 1_000_000)
		}
		return errUnknown
	}, func() []need {
		return []need{{"name", m.Name != ""}, {"sensitivity", sensitivity != nil}, {"scale", scale != nil}, {"count", count > 0}}
	})
	switch {
	case err != nil:
		return err
	case len(x.Mechanisms) == maxMechanisms:
		r.note(TooLong)
		return errBad
	}
	m.Sensitivity, m.Scale, m.Count = *sensitivity, *scale, uint64(count)
	x.Mechanisms = append(x.Mechanisms, m)
	return nil
}

// rational reads a rational that is greater than 0.
func (r *reader) rational(to **export.Rational) error {
	var s string
	if err := r.text(&s); err != nil || s == "" {
		return err
	}
	v, err := export.ParseRational(s)
	if err != nil || v.IsZero() {
		r.note(WrongValue)
		return errBad
	}
	*to = &v
	return nil
}

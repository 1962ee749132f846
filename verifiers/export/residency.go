package export

import (
	"context"
	"iter"
	"slices"
)

// residency performs step 5.
func (v *verification) residency(context.Context) error {
	for _, check := range []func() error{v.regionsKnown, v.regionsConsistent, v.claimSigners, v.claimsPresent, v.placesPermitted} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// regionsKnown performs step 5.1.
func (v *verification) regionsKnown() error {
	t := places()
	if u := v.manifest.Use; u != nil {
		if err := u.check(); err != nil {
			return err
		}
	}
	for l := range v.manifest.locations() {
		if err := t.check(l.Geography); err != nil {
			return err
		}
		if _, ok := t.regions[l.CloudRegion]; l.CloudRegion != "" && !ok {
			return fail(RegionUnknown, "%q is not a cloud region of the table %s", l.CloudRegion, t.cloudVersion)
		}
	}
	return nil
}

// locations yields the locations of all claims.
func (m *Manifest) locations() iter.Seq[Location] {
	return func(yield func(Location) bool) {
		for _, c := range m.Claims {
			for _, l := range c.Locations {
				if !yield(l) {
					return
				}
			}
		}
	}
}

// regionsConsistent performs step 5.2.
func (v *verification) regionsConsistent() error {
	for l := range v.manifest.locations() {
		code, ok := places().regions[l.CloudRegion]
		if ok && (code[:2] != l.Country || len(code) > 2 && l.State != "" && code != l.State) {
			return fail(RegionContradiction, "%s is in %s, not in %s", l.CloudRegion, code, Location{Geography: l.Geography}.Label())
		}
	}
	return nil
}

// claimSigners performs step 5.3.
func (v *verification) claimSigners() error {
	for _, c := range v.manifest.Claims {
		if !v.isSigner(c.ClaimedBy) {
			return fail(ClaimSigner, "the claim about %s is by %s, who has not signed the manifest", c.Activity, SignerText(c.ClaimedBy))
		}
	}
	return nil
}

// A limit is what a rule allows for one activity.
type limit struct {
	allowed, forbidden []Geography
}

func (u *Use) limit(activity string) limit {
	switch {
	case u == nil:
		return limit{}
	case activity == Storage:
		return limit{u.StorageAllowed, u.StorageForbidden}
	}
	return limit{u.ProcessingIncluded, u.ProcessingExcluded}
}

func (l limit) empty() bool { return len(l.allowed)+len(l.forbidden) == 0 }

// claimsPresent performs step 5.4.
func (v *verification) claimsPresent() error {
	for _, activity := range []string{Storage, Processing} {
		has := slices.ContainsFunc(v.manifest.Claims, func(c Claim) bool { return c.Activity == activity })
		if !has && !v.o.Residency.limit(activity).empty() {
			return fail(ResidencyMissing, "there is no claim about %s", activity)
		}
	}
	return nil
}

// placesPermitted performs step 5.5.
func (v *verification) placesPermitted() error {
	for _, c := range v.manifest.Claims {
		notAllowed, forbidden := StorageNotAllowed, StorageForbidden
		if c.Activity == Processing {
			notAllowed, forbidden = ProcessingNotIncluded, ProcessingExcluded
		}
		for _, l := range c.Locations {
			place := places().place(l)
			rules := []limit{v.manifest.Use.limit(c.Activity), v.o.Residency.limit(c.Activity)}
			for _, rule := range rules {
				if len(rule.allowed) > 0 && !slices.ContainsFunc(rule.allowed, func(g Geography) bool { return g.contains(place) }) {
					return fail(notAllowed, "%s is claimed in %s, which is not allowed", c.Activity, l.Label())
				}
			}
			for _, rule := range rules {
				if slices.ContainsFunc(rule.forbidden, func(g Geography) bool { return g.mayContain(place) }) {
					return fail(forbidden, "%s is claimed in %s, which is forbidden", c.Activity, l.Label())
				}
			}
		}
	}
	return nil
}

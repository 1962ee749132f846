package export

import (
	"context"
	"slices"
)

// privacy performs step 7.
func (v *verification) privacy(context.Context) error {
	p := v.manifest.Privacy
	if p == nil {
		if v.o.Epsilon != nil {
			return fail(PrivacyMissing, "the manifest states no privacy loss")
		}
		return nil
	}
	if err := p.checkFlavor(); err != nil {
		return err
	}
	for _, s := range []struct {
		what string
		ok   bool
	}{{"sensitivity", v.isSigner(p.SensitivityBy)}, {"sampler", v.isSigner(p.SamplerBy)}} {
		if !s.ok {
			return fail(ClaimSigner, "the %s is asserted by somebody who has not signed the manifest", s.what)
		}
	}
	if err := p.adds(); err != nil {
		return err
	}
	return v.o.Epsilon.met(p)
}

// checkFlavor performs steps 7.2 and 7.3.
func (p *Privacy) checkFlavor() error {
	if p.Flavor != PureDP && p.Flavor != ZCDP {
		return fail(FlavorUnsupported, "the flavor %q is not supported: only %s and %s are", p.Flavor, PureDP, ZCDP)
	}
	if !p.fits() {
		return fail(PrivacyParameters, "the parameters are not those of %s", p.Flavor)
	}
	return nil
}

// fits reports whether the parameters are those of the flavor.
func (p *Privacy) fits() bool {
	if p.Flavor == ZCDP {
		return p.Parameters.Delta != nil && p.Parameters.Rho != nil && p.BudgetDelta != nil && p.SpentRho != nil && p.SpentEpsilon == nil
	}
	return p.Parameters.Delta == nil && p.Parameters.Rho == nil && p.BudgetDelta == nil && p.SpentRho == nil && p.SpentEpsilon != nil &&
		!slices.ContainsFunc(p.Mechanisms, func(m Mechanism) bool { return m.Name != Laplace })
}

// Amount returns what the export is charged: ε with PureDP, ρ with ZCDP.
func (p *Privacy) Amount() Decimal {
	if p.Flavor == ZCDP {
		return *p.Parameters.Rho
	}
	return p.Parameters.Epsilon
}

// Spent returns what all exports up to this one were charged.
func (p *Privacy) Spent() Decimal {
	if p.Flavor == ZCDP {
		return *p.SpentRho
	}
	return *p.SpentEpsilon
}

// adds performs steps 7.5 to 7.7.
func (p *Privacy) adds() error {
	loss := Loss(p.Flavor, p.Mechanisms)
	if p.Flavor == ZCDP {
		if !p.Parameters.Rho.atLeast(loss) {
			return fail(RhoUnderstated, "rho %s is less than the loss of the mechanisms, %s", p.Parameters.Rho, RoundUp(loss, 12))
		}
		if !Holds(p.Parameters.Epsilon, *p.Parameters.Delta, *p.Parameters.Rho) {
			return fail(EpsilonUnderstated, "epsilon %s at delta %s is less than rho %s implies", p.Parameters.Epsilon, p.Parameters.Delta, p.Parameters.Rho)
		}
	} else if !p.Parameters.Epsilon.atLeast(loss) {
		return fail(EpsilonUnderstated, "epsilon %s is less than the loss of the mechanisms, %s", p.Parameters.Epsilon, RoundUp(loss, 12))
	}
	if p.Spent().units.Cmp(p.Amount().units) < 0 {
		return fail(SpentUnderstated, "%s is spent of budget %s, less than by this export alone, which is %s", p.Spent(), p.Budget, p.Amount())
	}
	if !p.within(p.BudgetEpsilon, p.BudgetDelta) {
		return fail(BudgetExceeded, "%s is spent of budget %s, more than its limit of epsilon %s allows", p.Spent(), p.Budget, p.BudgetEpsilon)
	}
	return nil
}

// within reports whether what is spent is within a limit.
func (p *Privacy) within(epsilon Decimal, delta *Decimal) bool {
	if p.Flavor == ZCDP {
		return Holds(epsilon, *delta, *p.SpentRho)
	}
	return p.SpentEpsilon.units.Cmp(epsilon.units) <= 0
}

// met performs steps 7.8 and 7.9.
func (e *EpsilonRequirement) met(p *Privacy) error {
	switch {
	case e == nil:
		return nil
	case e.Budget != "" && e.Budget != p.Budget:
		return fail(BudgetMismatch, "the budget is %q, want %q", p.Budget, e.Budget)
	case !p.within(e.Epsilon, &e.Delta):
		return fail(EpsilonNotAllowed, "%s is spent of budget %s, more than the required epsilon %s allows", p.Spent(), p.Budget, e.Epsilon)
	}
	return nil
}

// Check returns an *Error unless the privacy loss adds up and is within the
// budget.
func (p *Privacy) Check() error {
	err := p.checkFlavor()
	if err == nil {
		err = p.adds()
	}
	return at(stepPrivacy, err)
}

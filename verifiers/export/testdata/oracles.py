"""Prints the ε of OpenDP and of dp_accounting for budgets on standard input.

A line has the flavor, δ, ρ and the mechanisms as NAME:SENSITIVITY:SCALE:COUNT. The result for OpenDP is its conversion of ρ, or for
pure differential privacy the sum of the losses of its Laplace mechanisms. That for dp_accounting is the ε of the composed privacy
loss distribution, which knows nothing of ρ.
"""

import sys
from fractions import Fraction

import opendp.prelude as dp
from dp_accounting.pld import privacy_loss_distribution as pld

dp.enable_features("contrib")

# dp_accounting rounds each privacy loss up to a multiple of this.
INTERVAL = 1e-4


def opendp_epsilon(flavor: str, delta: float, rho: str, mechanisms: list[list[str]]) -> float:
    """Return OpenDP's ε."""
    if flavor == "pure":
        space = dp.atom_domain(T=float, nan=False), dp.absolute_distance(T=float)
        total = 0.0
        for _, sensitivity, scale, count in mechanisms:
            noise = dp.m.make_laplace(*space, scale=float(Fraction(scale)))
            # OpenDP rounds up by a little. Below, so that only its own formula is compared.
            total += noise.map(float(Fraction(sensitivity)) * (1 - 1e-9)) * int(count)
        return total * (1 - 1e-9)
    value = float(Fraction(rho)) * (1 - 1e-15)
    space = dp.atom_domain(T=float, nan=False), dp.absolute_distance(T=float)
    # A Gaussian mechanism of scale s has the loss d²/2s² at the distance d.
    noise = dp.c.make_zCDP_to_approxDP(dp.m.make_gaussian(*space, scale=1.0))
    return noise.map((2 * value) ** 0.5).epsilon(delta)


def pld_epsilon(flavor: str, delta: float, mechanisms: list[list[str]]) -> float:
    """Return the ε of the composed privacy loss distribution at δ.

    For pure differential privacy the sum of the losses is exact, so what dp_accounting has rounded up is subtracted.
    """
    total = None
    for name, sensitivity, scale, count in mechanisms:
        make = pld.from_gaussian_mechanism if name == "Gaussian" else pld.from_laplace_mechanism
        key = "standard_deviation" if name == "Gaussian" else "parameter"
        one = make(
            **{key: float(Fraction(scale))},
            sensitivity=float(Fraction(sensitivity)),
            value_discretization_interval=INTERVAL,
        ).self_compose(int(count))
        total = one if total is None else total.compose(one)
    rounded = INTERVAL * sum(int(count) for _, _, _, count in mechanisms)
    return total.get_epsilon_for_delta(delta) - (rounded if flavor == "pure" else 0)


for line in sys.stdin:
    words = line.split(" ")
    flavor, delta, rho = words[0], float(words[1]), words[2]
    mechanisms = [word.strip().split(":") for word in words[3:]]
    print(opendp_epsilon(flavor, delta, rho, mechanisms), pld_epsilon(flavor, delta, mechanisms), flush=True)

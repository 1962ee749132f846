"""Composition, and the conversion from rho to epsilon (export-manifest.md, section 5).

All arithmetic is that of integers and fractions, so that verifiers in all languages agree.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from .number import Decimal, T

PURE_DP = "Pure DP"
"""The name of the flavor whose losses are epsilons."""

ZCDP = "Zero-concentrated DP"
"""The name of the flavor whose losses are rhos (Bun and Steinke, https://arxiv.org/abs/1605.02065)."""

_S: int = 10**40
_LN2 = 6931471805599453094172321214581765680756  # S·ln 2, rounded up
_TERMS = 40


@dataclass(frozen=True, slots=True)
class Mechanism:
    """Noise that answered `count` queries.

    `name` is `Gaussian` or `Laplace`. `sensitivity` is in L2 or L1, and `scale` is σ or b.
    """

    name: str
    sensitivity: Fraction
    scale: Fraction
    count: int


def _up(dividend: int, divisor: int) -> int:
    """Return the quotient, rounded up."""
    return -(-dividend // divisor)


def log_of_inverse(delta: int) -> int:
    """Return ℓ(D), an upper bound of S·ln(T/D), for 0 < D < T."""
    k, m = 0, delta
    while 2 * m <= T:
        k, m = k + 1, 2 * m
    t = _up(_S * (T - m), T + m)
    y = _up(t * t, _S)
    s = 0
    for i in range(_TERMS):
        s += _up(t, 2 * i + 1)
        t = _up(t * y, _S)
    return k * _LN2 + 2 * (s + t)


def holds(epsilon: Decimal, delta: Decimal, rho: Decimal) -> bool:
    """Report whether rho-zCDP implies (epsilon, delta)-DP by ε ≥ ρ + 2√(ρ·ln(1/δ)).

    `delta` must be greater than 0 and less than 1.
    """
    rest = epsilon.units - rho.units
    return rest >= 0 and rest * rest * _S >= 4 * rho.units * T * log_of_inverse(delta.units)


def loss(flavor: str, mechanisms: Iterable[Mechanism]) -> Fraction:
    """Return the privacy loss of the mechanisms: ε with PURE_DP, ρ with ZCDP.

    With PURE_DP all mechanisms must be Laplace. Scales must not be 0.
    """
    total = Fraction(0)
    for mechanism in mechanisms:
        ratio = mechanism.sensitivity / mechanism.scale
        total += mechanism.count * (ratio * ratio / 2 if flavor == ZCDP else ratio)
    return total


def at_least(decimal: Decimal, amount: Fraction) -> bool:
    """Report whether a decimal is at least an amount."""
    return Fraction(decimal.units, T) >= amount

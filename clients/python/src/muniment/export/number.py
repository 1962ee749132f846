"""Decimals and rationals (export-manifest.md, section 2). No floating point is involved."""

import re
from dataclasses import dataclass
from fractions import Fraction

from ..errors import FormatError
from ..strictjson import quote

DIGITS = 30
"""Limit on the number of digits after the point."""

T: int = 10**DIGITS
"""The number of units in 1 (export-manifest.md, section 5)."""

_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,17})(?:\.([0-9]{1,30}))?", re.ASCII)
_FRACTION = re.compile(r"(0|[1-9][0-9]{0,17})/([1-9][0-9]{0,17})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Decimal:
    """A decimal: its text, and its value in units of 1/T."""

    text: str
    units: int

    @property
    def is_delta(self) -> bool:
        """Whether the decimal is greater than 0 and less than 1."""
        return 0 < self.units < T


def parse_decimal(text: str) -> Decimal:
    """Parse a decimal. Raises FormatError."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise FormatError(f"{quote(text)} is not a decimal")
    return Decimal(text, int(match[1] + (match[2] or "").ljust(DIGITS, "0")))


def parse_rational(text: str) -> Fraction:
    """Parse a decimal, or a fraction of two integers. Raises FormatError."""
    match = _FRACTION.fullmatch(text)
    if match is not None:
        return Fraction(int(match[1]), int(match[2]))
    return Fraction(parse_decimal(text).units, T)

"""What a tenant requires of exports (export-manifest.md, section 7, inputs)."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import FormatError
from ..strictjson import Json, as_match, as_members, as_string, parse_object
from .errors import ExportError
from .licenses import check_allowed
from .number import Decimal, parse_decimal
from .places import check_codes
from .statement import NAME, Use, read_use


@dataclass(frozen=True, slots=True)
class Epsilon:
    """A limit of what is spent of a budget. `budget` is its name, None for any."""

    budget: str | None
    epsilon: Decimal
    delta: Decimal


@dataclass(frozen=True, slots=True)
class Requirements:
    """Parsed requirements. None requires nothing.

    - `licenses`: the allow-list, as texts of atoms.
    - `residency`: where data is allowed to be.
    - `epsilon`: what is spent of the budget at most.
    """

    licenses: frozenset[str] | None = None
    residency: Use | None = None
    epsilon: Epsilon | None = None


def read_requirements(text: bytes) -> Requirements:
    """Read a JSON object with the members `licenses`, `residency` and `epsilon`, all optional.

    Raises ExportError with the code `requirement-malformed`.
    """
    try:
        return parse_requirements(parse_object(text))
    except FormatError as error:
        raise ExportError("requirement-malformed", error.message) from None


def parse_requirements(members: Mapping[str, Json]) -> Requirements:
    """Parse requirements: the members `licenses`, `residency` and `epsilon` of a JSON object.

    Raises ExportError with the code `requirement-malformed`.
    """
    name = ""
    try:
        as_members(dict(members), "requirements", frozenset(), {"licenses", "residency", "epsilon"})
        name = "licenses"
        licenses = _licenses(members[name]) if name in members else None
        name = "residency"
        residency = _residency(members[name]) if name in members else None
        name = "epsilon"
        epsilon = _epsilon(members[name]) if name in members else None
    except FormatError as error:
        raise ExportError("requirement-malformed", f"{name}: {error.message}") from None
    return Requirements(licenses, residency, epsilon)


def _licenses(value: Json) -> frozenset[str]:
    if not isinstance(value, list):
        raise FormatError("not an array of texts")
    texts = [as_string(text, "licence") for text in value]
    for text in texts:
        check_allowed(text)
    return frozenset(texts)


def _residency(value: Json) -> Use:
    use = read_use(value)
    for geography in use.geographies():
        check_codes(geography)
    return use


def _epsilon(value: Json) -> Epsilon:
    members = as_members(value, "requirement", {"epsilon", "delta"}, {"budget"})
    budget = as_match(members["budget"], "budget", NAME) if "budget" in members else None
    epsilon = parse_decimal(as_string(members["epsilon"], "epsilon"))
    delta = parse_decimal(as_string(members["delta"], "delta"))
    if not delta.is_delta:
        raise FormatError("delta: must be greater than 0 and less than 1")
    return Epsilon(budget, epsilon, delta)

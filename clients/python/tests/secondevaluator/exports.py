"""Facts of export manifests, and whether their privacy loss adds up (export-manifest.md)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any, Final

from .reader import (
    ABSENT,
    LOST,
    Context,
    Json,
    Reader,
    elements,
    integer,
    items,
    number,
    obj,
    one_of,
    some,
    text,
    texts,
    time,
)
from .values import digests

T: Final = 10**30
S: Final = 10**40
LN2: Final = 6931471805599453094172321214581765680756
COUNT: Final = r"(?:0|[1-9][0-9]{0,17})"


def _count(context: Context, value: Any, path: str) -> Any:
    found = items(obj())(context, value, path)
    return found if found is LOST else len(found)


def _small(context: Context, value: Any, path: str) -> Any:
    found = number(0, 1)(context, value, path)
    return found or ABSENT


_READ_1: Final = obj(
    ("name", "r", text(), "name"),
    ("created", "r", time, "created"),
    ("files", "r", some(_count), "files"),
    ("residencyRegions", "s", texts(), "regions"),
    ("licenses", "s", texts(), "licenses"),
    (
        "privacyBudget",
        "s",
        obj(
            ("epsilon", "r", number(0, math.inf), "epsilon"),
            ("spent", "r", number(0, math.inf), "spent"),
            ("budget", "r", number(0, math.inf), "budget"),
            ("delta", "s", _small, "delta"),
        ),
        "privacy",
    ),
)


def version1(context: Context, value: Any, path: str) -> Any:
    """Read a manifest of version 1."""
    found = _READ_1(context, value, path)
    return found if found is LOST else {"export": {"regions": [], "licenses": []} | found}


# --- version 2


def _exact(pattern: str, allowed: Callable[[Fraction], bool]) -> Reader:
    def exact(value: str) -> Fraction | None:
        if not re.fullmatch(pattern, value, re.ASCII):
            return None
        fraction = Fraction(value)
        return fraction if allowed(fraction) else None

    return text(exact)


_DECIMAL: Final = COUNT + r"(?:\.[0-9]{1,30})?"
_decimal: Final = _exact(_DECIMAL, lambda _: True)
_delta: Final = _exact(_DECIMAL, lambda value: 0 < value < 1)
_positive: Final = _exact(rf"{_DECIMAL}|{COUNT}/[1-9][0-9]{{0,17}}", lambda value: value > 0)


def _signer(context: Context, value: Any, path: str) -> Any:
    found = obj(
        ("identity", "s", text(), "identity"),
        ("issuer", "s", text(), "issuer"),
        ("keyId", "s", text(), "keyId"),
    )(context, value, path)
    if found is LOST or "identity" in found or "keyId" in found:
        return found
    return context.problem(path, "missing")


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _file(context: Context, value: Any, path: str) -> Any:
    licenses: list[str] = []
    names = texts(found=licenses)
    found = obj(
        ("name", "r", text(), "name"),
        ("digest", "s", digests(), "digests"),
        ("size", "r", integer(0), "size"),
        ("mediaType", "o", text(), "mediaType"),
        ("rows", "s", integer(0), "rows"),
        ("license", "s", names, "licenses"),
        ("fieldSets", "s", items(obj(("license", "s", names, "license"))), "sets"),
    )(context, value, path)
    if found is LOST:
        return LOST
    found.pop("sets", None)
    return found | {"licenses": licenses}


def _files(context: Context, value: Any, path: str) -> Any:
    found = elements(_file, "export")(context, value, path)
    return found if found is LOST else {"files": len(value), "contents": found}


_location: Final = obj(
    ("country", "r", text(), "country"),
    ("state", "s", text(), "state"),
    ("cloudRegion", "s", text(), "cloudRegion"),
)


def _claim(context: Context, value: Any, path: str) -> Any:
    found = obj(
        ("activity", "r", one_of("storage", "processing"), "activity"),
        ("locations", "r", some(items(_location, 64)), "locations"),
        ("claimedBy", "r", _signer, "claimedBy"),
        ("evidence", "s", _count, "evidence"),
    )(context, value, path)
    return found if found is LOST else {"evidence": 0} | found


_mechanism: Final = obj(
    ("name", "r", one_of("Gaussian", "Laplace"), "name"),
    ("sensitivity", "r", _positive, "sensitivity"),
    ("scale", "r", _positive, "scale"),
    ("count", "r", integer(1, 1_000_000), "count"),
)
_read_privacy: Final = obj(
    ("dp_flavor.name", "r", text(), "flavor"),
    ("privacy_loss.privacy_unit", "r", text(), "unit"),
    ("privacy_loss.neighboring_relation", "r", one_of("unbounded", "bounded"), "relation"),
    ("privacy_loss.privacy_parameters.epsilon", "r", _decimal, "epsilon"),
    ("privacy_loss.privacy_parameters.delta", "s", _delta, "delta"),
    ("privacy_loss.privacy_parameters.rho", "s", _decimal, "rho"),
    ("mechanisms", "r", some(items(_mechanism, 256)), "mechanisms"),
    ("sensitivity.claimedBy", "r", _signer, "sensitivityBy"),
    ("sampler.name", "r", text(), "sampler"),
    ("sampler.claimedBy", "r", _signer, "samplerBy"),
    ("budget.name", "r", text(), "budgetName"),
    ("budget.epsilon", "r", _decimal, "budget"),
    ("budget.delta", "s", _delta, "budgetDelta"),
    ("budget.spent.epsilon", "s", _decimal, "spent"),
    ("budget.spent.rho", "s", _decimal, "spentRho"),
)


def _privacy(context: Context, value: Any, path: str) -> Any:
    found = _read_privacy(context, value, path)
    if found is LOST:
        return LOST
    sums = _adds_up(found)
    del found["mechanisms"]
    rounded = {n: float(v) if isinstance(v, Fraction) else v for n, v in found.items()}
    return rounded | {"addsUp": sums}


def version2(context: Context, value: Any, path: str) -> Any:
    """Read the predicate of a manifest of version 2."""
    found = obj(
        ("tenant", "r", text(), "tenant"),
        ("exportId", "r", text(), "name"),
        ("created", "r", time, "created"),
        ("files", "r", some(_files), "files"),
        ("residency.claims", "r", some(elements(_claim, "export")), "residency"),
        ("privacy", "s", _privacy, "privacy"),
    )(context, value, path)
    if found is LOST:
        return LOST
    found |= found.pop("files")
    found["regions"] = _distinct(
        location.get("cloudRegion") or location.get("state") or location["country"]
        for claim in found["residency"]
        for location in claim["locations"]
    )
    found["licenses"] = _distinct(name for file in found["contents"] for name in file["licenses"])
    return {"export": {name: fact for name, fact in found.items() if _shown(name, fact)}}


def _shown(name: str, fact: Any) -> bool:
    return name not in ("contents", "residency") or bool(fact)


# --- export-manifest.md, section 5


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _log_of_inverse(d: int) -> int:
    k = 0
    while (d << (k + 1)) <= T:
        k += 1
    m = d << k
    z = _ceil(S * (T - m), T + m)
    y = _ceil(z * z, S)
    t, s = z, 0
    for i in range(40):
        s += _ceil(t, 2 * i + 1)
        t = _ceil(t * y, S)
    return k * LN2 + 2 * (s + t)


def _holds(epsilon: Fraction, delta: Fraction, rho: Fraction) -> bool:
    e, d, r = (int(value * T) for value in (epsilon, delta, rho))
    return e >= r and (e - r) ** 2 * S >= 4 * r * T * _log_of_inverse(d)


def _adds_up(privacy: Json) -> bool:
    given = {"delta", "rho", "budgetDelta", "spent", "spentRho"} & privacy.keys()
    mechanisms = privacy["mechanisms"]
    ratios = [(m["sensitivity"] / m["scale"], m["count"]) for m in mechanisms]
    epsilon, budget = privacy["epsilon"], privacy["budget"]
    match privacy["flavor"]:
        case "Pure DP":
            if given != {"spent"} or any(m["name"] != "Laplace" for m in mechanisms):
                return False
            loss = sum(count * ratio for ratio, count in ratios)
            return bool(loss <= epsilon <= privacy["spent"] <= budget)
        case "Zero-concentrated DP":
            if not {"delta", "rho", "budgetDelta", "spentRho"} <= given or "spent" in given:
                return False
            rho = privacy["rho"]
            loss = sum(count * ratio**2 / 2 for ratio, count in ratios)
            return (
                bool(loss <= rho <= privacy["spentRho"])
                and _holds(epsilon, privacy["delta"], rho)
                and _holds(budget, privacy["budgetDelta"], privacy["spentRho"])
            )
    return False

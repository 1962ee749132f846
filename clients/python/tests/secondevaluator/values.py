"""Values that several groups of facts have: scores, severities, digests, package URLs."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from . import purl
from .base import fold_digest
from .reader import ABSENT, LOST, Context, Number, Obj, Reader, absent, clean, text

SEVERITIES: Final = ("unknown", "info", "low", "medium", "high", "critical")
WORDS: Final = {
    "important": "high",
    "moderate": "medium",
    "informational": "info",
    "negligible": "info",
    "none": "info",
}
ALGORITHMS: Final = {a.lower(): a for a in ("gitCommit", "gitTree", "gitBlob", "gitTag")}


def _word(value: str) -> str:
    folded = value.lower()
    folded = WORDS.get(folded, folded)
    return folded if folded in SEVERITIES else "unknown"


severity: Final[Reader] = text(_word)


def worst(words: list[str], score_: float) -> str:
    """Return the highest severity, or that of the score if no word is known."""
    found = max(words, key=SEVERITIES.index, default="unknown")
    if found != "unknown":
        return found
    limits = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.1, "low"))
    return next((name for limit, name in limits if score_ >= limit), "unknown")


def score(context: Context, value: Any, path: str) -> Any:
    """Read a CVSS base score, rounded to tenths, half up."""
    if not isinstance(value, Number):
        return context.problem(path, "wrong-type")
    if not 0 <= value <= 10:
        return context.problem(path, "wrong-value")
    return float(Decimal(value.text).quantize(Decimal("0.1"), ROUND_HALF_UP))


def _purl(value: str) -> str | None:
    url = purl.parse(value)
    return str(url) if url else None


purl_text: Final[Reader] = text(_purl)


def hash_name(name: str) -> str:
    """Return the algorithm of a name such as SHA-256 or SHA3-256."""
    folded = name.lower()
    prefix = "sha3_" if folded.startswith("sha3-") else ""
    return prefix + folded.removeprefix("sha3-").replace("-", "")


def canonical_digests(found: dict[str, str]) -> dict[str, str]:
    """Return a digest set with canonical spellings."""
    folded = dict(fold_digest(*pair) for pair in found.items())
    return {ALGORITHMS.get(name, name): value for name, value in folded.items()}


def digests(*, names_of_hashes: bool = False) -> Reader:
    """Return the reader of a digest set."""

    def read(context: Context, value: Any, path: str) -> Any:
        if not isinstance(value, Obj):
            return context.problem(path, "wrong-type")
        found: dict[str, str] = {}
        for name, digest in value.pairs:
            if absent(digest) or absent(name):
                continue
            result = text()(context, digest, path)
            if result is LOST:
                return LOST
            algorithm, folded = fold_digest(clean(name), result)
            algorithm = ALGORITHMS.get(algorithm, algorithm)
            algorithm = hash_name(algorithm) if names_of_hashes else algorithm
            if algorithm in found:
                return context.problem(path, "duplicate-member")
            found[algorithm] = folded
        if len(found) > 16:
            return context.problem(path, "too-long")
        return found or ABSENT

    return read

"""Entries, times, digests, globs and persons: what all parts of the specification share."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Final

Json = dict[str, Any]

STRONG: Final = {
    *("sha224", "sha256", "sha384", "sha512", "sha512_224", "sha512_256"),
    *("sha3_224", "sha3_256", "sha3_384", "sha3_512", "sm3"),
    *("blake2b", "blake2s", "blake3"),
    *("gitcommit", "gittree", "gitblob", "gittag"),
}
LAST: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


class Entry:
    """An entry of the stream, as the vectors describe it."""

    def __init__(self, data: Json) -> None:
        self.index: int = data["index"]
        self.time = read_time(data["time"])
        header: Json | None = data.get("header")
        self.erased = header is None
        self.header: Json = header or {}
        self.payload: str | None = data.get("payload")
        self.payload_erased: bool = data.get("payloadErased", False) or self.erased
        self.facts: Json | None = data.get("facts")
        self.kind: str = self.header.get("kind", "")
        self.submitter: str = self.header.get("submitter", "")
        self.attributes: dict[str, str] = self.header.get("attributes", {})
        self.subjects: list[Json] = self.header.get("subjects", [])
        self.controls: list[str] = self.header.get("controls", [])
        self.predicate_type: str = self.header.get("predicateType", "")
        self.recorded = self.header.get("admission", {}).get("result") == "recorded"
        self.verification: str = self.header.get("verification", {}).get("result", "")

    def values(self, name: str) -> list[str]:
        """Return the values of a repeated attribute, in order."""
        found = [(0, self.attributes[name])] if name in self.attributes else []
        for key, value in self.attributes.items():
            if match := re.fullmatch(rf"{re.escape(name)}\.([0-9]+)", key):
                found.append((int(match[1]), value))
        return [value for _, value in sorted(found)]


def read_time(text: str) -> datetime:
    """Read a time of RFC 3339, truncated to milliseconds."""
    time = datetime.fromisoformat(text).astimezone(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def write_time(time: datetime) -> str:
    """Write a time with milliseconds, as decisions have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"


def fold_digest(algorithm: str, value: str) -> tuple[str, str]:
    """Fold a digest, so that equal digests (receipt.md, section 4) have equal texts."""
    if re.fullmatch(r"[0-9A-Fa-f]+", value):
        value = value.lower()
    return "".join(c.lower() if c.isascii() else c for c in algorithm), value


def fold_digests(digest: Mapping[str, str]) -> dict[str, str]:
    """Fold a digest set."""
    return dict(fold_digest(algorithm, value) for algorithm, value in digest.items())


def same_artifact(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Report whether two digest sets are of the same artifact (decision.md, section 4)."""
    left, right = fold_digests(one), fold_digests(other)
    common = left.keys() & right.keys()
    return all(left[a] == right[a] for a in common) and bool(common & STRONG)


def share_digest(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Report whether an entry with the one digest set mentions the other."""
    left, right = fold_digests(one), fold_digests(other)
    return any(left[a] == right[a] for a in left.keys() & right.keys() & STRONG)


@lru_cache(maxsize=4096)
def _glob(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", pattern)
    texts = {"*": "[^/]*", "**": ".*"}
    return re.compile("".join(texts.get(p, re.escape(p)) for p in parts), re.DOTALL)


def glob(pattern: str, text: str) -> bool:
    """Report whether a glob matches a text: * is any characters but /, ** any characters."""
    return _glob(pattern).fullmatch(text) is not None


def any_glob(patterns: Iterable[str], text: str) -> bool:
    """Report whether one of the globs matches a text."""
    return any(glob(pattern, text) for pattern in patterns)


def overlap(one: str, other: str) -> bool:
    """Report whether some text matches both globs."""
    left, right = re.findall(r"\*\*|.", one, re.DOTALL), re.findall(r"\*\*|.", other, re.DOTALL)

    @cache
    def rest(i: int, j: int) -> bool:
        if i == len(left) and j == len(right):
            return True
        a, b = left[i : i + 1], right[j : j + 1]
        if a and a[0] in ("*", "**"):
            return rest(i + 1, j) or (bool(b) and (a[0] == "**" or b[0] != "/") and rest(i, j + 1))
        if b and b[0] in ("*", "**"):
            return rest(i, j + 1) or (bool(a) and (b[0] == "**" or a[0] != "/") and rest(i + 1, j))
        return bool(a) and a == b and rest(i + 1, j + 1)

    return rest(0, 0)


def is_person(submitter: str) -> bool:
    """Report whether a submitter has the form oidc:ISSUER#SUBJECT."""
    return re.fullmatch(r"oidc:[^#]+#.+", submitter, re.DOTALL) is not None


@lru_cache(maxsize=4096)
def person_key(submitter: str) -> str:
    """Return a text that is equal for two spellings of one submitter."""
    folded = unicodedata.normalize("NFKC", submitter).casefold()
    folded = unicodedata.normalize("NFKC", folded)
    return "".join(
        c for c in folded if not c.isspace() and unicodedata.category(c) not in ("Cf", "Cc")
    )


def parse_object(text: str) -> Json:
    """Parse a JSON object without duplicate members, or raise ValueError."""

    def pairs(items: list[tuple[str, Any]]) -> Json:
        if len({name for name, _ in items}) != len(items):
            raise ValueError("duplicate member")
        return dict(items)

    document = json.loads(text, object_pairs_hook=pairs)
    if not isinstance(document, dict):
        raise ValueError("not an object")
    return document

"""Package URLs (facts.md, section 4)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

_KEEP: Final = set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:")
_LOWER: Final = {"bitbucket", "github", "oci", "pypi"}


@dataclass(frozen=True)
class Purl:
    """A package URL in canonical parts. Absent parts are empty."""

    type: str
    path: tuple[str, ...]
    version: str = ""
    qualifiers: tuple[tuple[str, str], ...] = field(default=())
    subpath: tuple[str, ...] = ()

    def name(self) -> str:
        """Return the canonical form up to the name."""
        return f"pkg:{self.type}/" + "/".join(map(_encode, self.path))

    def __str__(self) -> str:
        text = self.name()
        if self.version:
            text += "@" + _encode(self.version)
        if self.qualifiers:
            text += "?" + "&".join(f"{k}={_encode(v)}" for k, v in self.qualifiers)
        if self.subpath:
            text += "#" + "/".join(map(_encode, self.subpath))
        return text

    def covers(self, other: Purl) -> bool:
        """Report whether this package URL covers another."""
        return (
            (self.type, self.path) == (other.type, other.path)
            and self.version in ("", other.version)
            and set(self.qualifiers) <= set(other.qualifiers)
            and self.subpath in ((), other.subpath)
        )


def _encode(text: str) -> str:
    return "".join(chr(b) if b in _KEEP else f"%{b:02X}" for b in text.encode())


def _decode(text: str) -> str:
    raw = bytearray()
    position, data = 0, text.encode()
    while position < len(data):
        if data[position] != 0x25:
            raw.append(data[position])
            position += 1
            continue
        digits = data[position + 1 : position + 3]
        if not re.fullmatch(rb"[0-9A-Fa-f]{2}", digits):
            raise ValueError("malformed escape")
        raw.append(int(digits, 16))
        position += 3
    decoded = raw.decode()
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in decoded):
        raise ValueError("control character")
    return decoded


@lru_cache(maxsize=4096)
def parse(text: str) -> Purl | None:
    """Parse a package URL, or return None."""
    try:
        return _parse(text)
    except ValueError:
        return None


def _parse(text: str) -> Purl:
    if text[:4].lower() != "pkg:":
        raise ValueError("not a package URL")
    rest, _, subpath = text[4:].lstrip("/").partition("#")
    rest, _, qualifiers = rest.partition("?")
    version = ""
    at = rest.rfind("@")
    if at >= 0 and "/" not in rest[at:]:
        rest, version = rest[:at], rest[at + 1 :]
    kind, _, path = rest.partition("/")
    kind = kind.lower()
    if not re.fullmatch(r"[a-z][a-z0-9.+-]*", kind):
        raise ValueError("malformed type")
    segments = [_decode(segment) for segment in path.split("/") if segment]
    if not segments or "" in segments:
        raise ValueError("no name")
    if kind in _LOWER:
        segments = ["".join(c.lower() if c.isascii() else c for c in s) for s in segments]
    if kind == "pypi":
        segments = [s.replace("_", "-") for s in segments]
    within = [_decode(s) for s in subpath.split("/")]
    result = Purl(
        kind,
        tuple(segments),
        _decode(version),
        _qualifiers(qualifiers),
        tuple(s for s in within if s not in ("", ".", "..")),
    )
    if len(str(result)) > 4096:
        raise ValueError("too long")
    return result


def _qualifiers(text: str) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for part in text.split("&") if text else []:
        key, _, value = part.partition("=")
        key = key.lower()
        if not re.fullmatch(r"[a-z][a-z0-9._-]*", key) or key in found:
            raise ValueError("malformed qualifier")
        found[key] = _decode(value)
    if len(found) > 16:
        raise ValueError("too many qualifiers")
    return tuple(sorted((k, v) for k, v in found.items() if v))

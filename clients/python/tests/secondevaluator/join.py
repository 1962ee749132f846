"""Unresolved vulnerabilities: scans minus VEX (facts.md, section 7)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from . import purl
from .base import Json, fold_digests, read_time


class UndecidedError(Exception):
    """The join is undecided."""


@dataclass
class Document:
    """An entry with facts. The facts of an erased payload are None."""

    index: int
    time: datetime
    subjects: list[Json]
    facts: Json | None


@dataclass
class Vulnerability:
    """An unresolved vulnerability, its scan, and the VEX statement about it that counts."""

    facts: Json
    scan: int
    vex: int | None = None
    status: str = ""

    def ids(self) -> set[str]:
        return identifiers(self.facts)


STATUS_ORDER = ("not_affected", "fixed", "affected", "under_investigation")
STRONG = {"sha256", "sha384", "sha512"}


def identifiers(element: Json) -> set[str]:
    """Return the ID and the aliases, folded."""
    names = [element["id"], *element.get("aliases", [])]
    return {"".join(c.upper() if c.isascii() else c for c in name) for name in names}


def _own_time(text: str | None, entry: Document) -> datetime:
    return min(read_time(text), entry.time) if text else entry.time


def _incomplete(group: Json) -> bool:
    return bool(group.get("exceeded") or group.get("dropped"))


def unresolved(
    digests: Json, names: Iterable[str], scans: list[Document], vex: list[Document]
) -> list[Vulnerability]:
    """Return the vulnerabilities that no statement removes, or raise UndecidedError."""
    for entry in [*scans, *vex]:
        if entry.facts is None or "exceeded" in entry.facts:
            raise UndecidedError
    newest: dict[str, tuple[datetime, int, Document]] = {}
    for entry in scans:
        scan = (entry.facts or {}).get("scan")
        if scan is not None:
            key = (_own_time(scan.get("time"), entry), entry.index)
            name = scan.get("scanner", {}).get("name", "")
            if name not in newest or newest[name][:2] < key:
                newest[name] = (*key, entry)
    counting = sorted((e for _, _, e in newest.values()), key=lambda e: e.index)
    stated = [e for e in vex if "vex" in (e.facts or {})]
    groups = [(e.facts or {})["scan"] for e in counting] + [(e.facts or {})["vex"] for e in stated]
    if any(map(_incomplete, groups)):
        raise UndecidedError
    subject = _Subject(digests, names)
    result = []
    for vulnerability in _distinct(counting):
        statements = [
            (_own_time(s.get("time"), e), e.index, STATUS_ORDER.index(s["status"]))
            for e in stated
            for s in (e.facts or {})["vex"]["statements"]
            if identifiers(s) & vulnerability.ids()
            and _about(s, e, vulnerability.facts.get("package", {}), subject)
        ]
        if statements:
            _, vulnerability.vex, status = max(statements)
            vulnerability.status = STATUS_ORDER[status]
        if vulnerability.status not in ("not_affected", "fixed"):
            result.append(vulnerability)
    return result


def _distinct(scans: list[Document]) -> list[Vulnerability]:
    seen = set()
    found = []
    for entry in scans:
        for v in (entry.facts or {})["scan"]["vulnerabilities"]:
            p = v.get("package", {})
            package = (p.get("purl"), p.get("name"), p.get("version"))
            key = (v["id"], package, v.get("severity"), v.get("score"))
            if key not in seen:
                seen.add(key)
                found.append(Vulnerability(v, entry.index))
    return found


class _Subject:
    def __init__(self, digests: Json, names: Iterable[str]) -> None:
        self.digests = {(a, v) for a, v in fold_digests(digests).items() if a in STRONG}
        self.names = [p for p in map(purl.parse, names) if p]

    def has(self, digests: Json) -> bool:
        return bool(self.digests & fold_digests(digests).items())

    def is_product(self, product: Json) -> bool:
        if self.has(product.get("digests", {})):
            return True
        url = purl.parse(product.get("purl", ""))
        if url is None:
            return False
        if url.type == "oci" and re.fullmatch(r"[^:]+:.+", url.version):
            algorithm, _, value = url.version.partition(":")
            if self.has({algorithm: value}):
                return True
        return any(url.covers(name) for name in self.names)


def _covers(thing: Json, package: Json) -> bool:
    one, other = purl.parse(thing.get("purl", "")), purl.parse(package.get("purl", ""))
    return one is not None and other is not None and one.covers(other)


def _about(statement: Json, entry: Document, package: Json, subject: _Subject) -> bool:
    inner = statement.get("subcomponents", [])
    if inner and not any(_covers(s, package) for s in inner):
        return False
    products = statement.get("products", [])
    if not products:
        return any(subject.has(s["digest"]) for s in entry.subjects)
    for product in products:
        inside = product.get("subcomponents", [])
        within = not inside or any(_covers(s, package) for s in inside)
        if within and subject.is_product(product):
            return True
        if not inside and _covers(product, package):
            return True
    return False

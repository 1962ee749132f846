"""Facts of CycloneDX documents (facts.md, section 6, sbom)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from . import purl
from .base import fold_digest
from .reader import (
    ABSENT,
    LOST,
    Context,
    Json,
    Obj,
    absent,
    elements,
    items,
    obj,
    text,
    time,
)
from .values import hash_name, purl_text, score, severity, worst

MAX_DEPTH: Final = 32
STATES: Final = {
    "not_affected": "not_affected",
    "false_positive": "not_affected",
    "resolved": "fixed",
    "resolved_with_pedigree": "fixed",
    "exploitable": "affected",
    "in_triage": "under_investigation",
}


@dataclass
class Bom:
    """What is collected before the vulnerabilities can be related to components."""

    components: list[Json] = field(default_factory=list)
    refs: dict[str, Json] = field(default_factory=dict)
    vulnerabilities: list[Json] | None = None
    lost: int = 0


def read_cyclonedx(context: Context, value: Any, path: str) -> Any:
    """Read the groups of a document."""
    bom = Bom()

    def components(context: Context, value: Any, where: str) -> Any:
        return _components(context, bom, value, where, 1)

    def vulnerabilities(context: Context, value: Any, where: str) -> Any:
        return _vulnerabilities(context, bom, value, where)

    found = obj(
        ("bomFormat", "r", text(lambda v: v if v == "CycloneDX" else None), "format"),
        ("specVersion", "r", text(), "version"),
        ("metadata.timestamp", "o", time, "time"),
        ("metadata.component.bom-ref", "s", text(), "root"),
        ("metadata.component.name", "o", text(), "name"),
        ("metadata.component.version", "s", text(), "component version"),
        ("metadata.component.purl", "o", purl_text, "purl"),
        ("metadata.component.hashes", "s", _hashes, "digests"),
        ("metadata.tools", "s", _tools, "tool"),
        ("components", "s", components, "components"),
        ("vulnerabilities", "s", vulnerabilities, "vulnerabilities"),
    )(context, value, path)
    if found is LOST:
        return LOST
    groups: Json = {}
    if "root" in found:
        names = {"purl": "purl", "name": "name", "version": "component version"}
        bom.refs[found["root"]] = {n: found[m] for n, m in names.items() if m in found}
    if bom.vulnerabilities is not None:
        groups = _Related(context, bom, found, path).groups()
    sbom = {n: found[n] for n in ("format", "version", "name", "time") if n in found}
    return groups | {"sbom": sbom | {"components": bom.components}}


def _hashes(context: Context, value: Any, path: str) -> Any:
    each = obj(("alg", "s", text(), "alg"), ("content", "s", text(), "content"))
    found = items(each)(context, value, path)
    if found is LOST:
        return LOST
    pairs = [(h["alg"], h["content"]) for h in found if "alg" in h and "content" in h]
    if len({hash_name(a) for a, _ in pairs}) != len(pairs):
        return context.problem(path, "duplicate-member")
    return {hash_name(a): fold_digest(a, c)[1] for a, c in pairs} or ABSENT


def _tools(context: Context, value: Any, path: str) -> Any:
    def each(context: Context, value: Any, path: str) -> Any:
        rows = (("name", "o", text(), "name"), ("version", "o", text(), "version"))
        found = obj(*rows)(context, value, path)
        return ABSENT if found is LOST else found

    if isinstance(value, Obj):
        found = obj(("components", "s", items(each), "list"))(context, value, path)
        found = found if found is LOST else found.get("list", [])
    else:
        found = items(each)(context, value, path)
    if found is LOST:
        return LOST
    return next((tool for tool in found if "name" in tool), ABSENT)


# --- components


def _components(context: Context, bom: Bom, value: Any, path: str, depth: int) -> Any:
    def inner(context: Context, value: Any, where: str) -> Any:
        return _components(context, bom, value, where, depth + 1)

    def reference(context: Context, value: Any, where: str) -> Any:
        name = text()(context, value, where)
        if name in bom.refs:
            return context.problem(where, "duplicate-member")
        return name

    def component(context: Context, value: Any, where: str) -> Any:
        if depth > MAX_DEPTH:
            context.too_deep = True
            return LOST
        found = obj(
            ("name", "r", text(), "name"),
            ("version", "s", text(), "version"),
            ("purl", "o", purl_text, "purl"),
            ("licenses", "s", _licenses, "licenses"),
            ("bom-ref", "s", reference, "ref"),
            ("components", "s", inner, "inner"),
        )(context, value, where)
        if found is LOST:
            return LOST
        names = ("purl", "name", "version", "licenses")
        result = {n: found[n] for n in names if n in found}
        bom.components.append(result)
        if "ref" in found:
            bom.refs[found["ref"]] = result
        return ABSENT

    found = elements(component, "sbom")(context, value, path)
    return LOST if found is LOST else ABSENT


def _licenses(context: Context, value: Any, path: str) -> Any:
    each = obj(
        ("expression", "s", text(), "expression"),
        ("license.id", "s", text(), "id"),
        ("license.name", "s", text(), "name"),
    )
    found = items(each)(context, value, path)
    if found is LOST:
        return LOST
    names = [c.get("expression") or c.get("id") or c.get("name") for c in found]
    names = list(dict.fromkeys(name for name in names if name))
    if len(names) > 64:
        return context.problem(path, "too-long")
    return names or ABSENT


# --- vulnerabilities


def _vulnerabilities(context: Context, bom: Bom, value: Any, path: str) -> Any:
    if not isinstance(value, list):
        return context.problem(path, "wrong-type")
    bom.vulnerabilities = []
    rating = obj(("score", "o", score, "score"), ("severity", "o", severity, "severity"))
    affect = obj(("ref", "r", text(), "ref"))
    alias = obj(("id", "s", text(), "id"))
    state = text(lambda v: v if v in STATES else None)
    read = obj(
        ("id", "r", text(), "id"),
        ("references", "s", items(alias), "references"),
        ("ratings", "s", items(rating), "ratings"),
        ("published", "o", time, "published"),
        ("affects", "s", items(affect), "affects"),
        ("analysis.state", "s", state, "state"),
        ("analysis.justification", "o", text(), "justification"),
        ("analysis.lastUpdated", "s", time, "updated"),
        ("analysis.firstIssued", "s", time, "issued"),
    )
    for position, child in enumerate(value):
        where = f"{path}[{position}]"
        found = context.problem(where, "missing") if absent(child) else read(context, child, where)
        if found is LOST:
            bom.lost += 1
            context.drop("scan", "vex")
        else:
            bom.vulnerabilities.append(found | {"path": where})
    return ABSENT


class _Related:
    def __init__(self, context: Context, bom: Bom, document: Json, path: str) -> None:
        self.context = context
        self.bom = bom
        self.document = document
        self.is_payload = path == ""

    def groups(self) -> Json:
        listed = self.bom.vulnerabilities or []
        scans = (not listed and not self.bom.lost) or self.bom.lost > 0
        scans = scans or any("state" not in v for v in listed)
        scan: list[Json] = []
        statements: list[Json] = []
        for element in listed:
            if scans:
                scan += self._found(element)
            if "state" in element:
                statements += self._statement(element)
        result: Json = {}
        when = {"time": self.document["time"]} if "time" in self.document else {}
        if scans:
            scanner = self.document.get("tool", {"name": ""})
            result["scan"] = {"scanner": scanner, **when, "vulnerabilities": scan}
        if statements or self.context.dropped.get("vex"):
            result["vex"] = {"statements": statements}
        return result

    def _late(self, element: Json, code: str, group: str) -> None:
        problem = {"path": element["path"] + ".affects", "code": code}
        self.context.late.append(problem)
        self.context.drop(group)

    def _package(self, ref: str) -> Json | None:
        if ref in self.bom.refs:
            component = self.bom.refs[ref]
            return {n: component[n] for n in ("purl", "name", "version") if n in component}
        text_ = unquote(ref.partition("#")[2]) if ref.startswith("urn:cdx:") else ref
        url = purl.parse(text_)
        return {"purl": str(url)} if url else None

    def _found(self, element: Json) -> list[Json]:
        ratings = element.get("ratings", [])
        best = max((r["score"] for r in ratings if "score" in r), default=0.0)
        words = [r["severity"] for r in ratings if "severity" in r]
        base: Json = {"id": element["id"]}
        if aliases := self._aliases(element):
            base["aliases"] = aliases
        base["severity"] = worst(words, best)
        if best:
            base["score"] = best
        if "published" in element:
            base["published"] = element["published"]
        if not element.get("affects"):
            return [base]
        found = []
        for affected in element["affects"]:
            package = self._package(affected["ref"])
            if package is None:
                self._late(element, "unsupported", "scan")
            else:
                found.append(base | ({"package": package} if package else {}))
        return found

    @staticmethod
    def _aliases(element: Json) -> list[str]:
        names = [r["id"] for r in element.get("references", []) if "id" in r]
        return [n for n in dict.fromkeys(names) if n != element["id"]]

    def _statement(self, element: Json) -> list[Json]:
        refs = [a["ref"] for a in element.get("affects", [])]
        if not refs:
            self._late(element, "missing", "vex")
            return []
        found: Json = {"id": element["id"]}
        if aliases := self._aliases(element):
            found["aliases"] = aliases
        found["status"] = STATES[element["state"]]
        if "justification" in element:
            found["justification"] = element["justification"]
        times = (element.get("updated"), element.get("issued"), self.document.get("time"))
        if when := next((t for t in times if t), None):
            found["time"] = when
        product = {n: self.document[n] for n in ("purl", "digests") if n in self.document}
        if self.is_payload and product:
            found["products"] = [product]
        if self.document.get("root") not in refs:
            packages = ((ref, self._package(ref) or {}) for ref in refs)
            found["subcomponents"] = [
                {"purl": p["purl"]} if "purl" in p else {"id": ref} for ref, p in packages
            ]
        return [found]

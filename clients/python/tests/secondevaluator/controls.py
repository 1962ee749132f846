"""Control sets (controls.md, sections 1 and 2; kinds.md: control, control-set)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import re2

from . import cel
from .base import Entry, Json, overlap, parse_object

SEVERITIES: Final = ("critical", "high", "medium", "low")
MODES: Final = ("audit", "warn", "enforce")  # the strictest last
TYPES: Final = ("image", "chart", "delta", "export-manifest", "file")
KINDS: Final = {
    "attestation", "backfill-checkpoint", "backfill-step", "control", "control-set",
    "exception-decision", "exception-request", "export-manifest", "finding", "gate-decision",
    "inventory", "key-event", "metric-snapshot", "triage-action", "verification-report", "vetting",
}  # fmt: skip
ID: Final = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?"
NAME: Final = r"[a-z0-9-]{1,64}"


class SpecError(ValueError):
    """The set or a control violates the specification."""


def demand(condition: object, text: str) -> None:
    """Raise SpecError unless the condition holds."""
    if not condition:
        raise SpecError(text)


@dataclass
class Signer:
    """A party whose evidence counts."""

    name: str
    identity: str = ""
    identity_regexp: str = ""
    issuer: str = ""
    issuer_regexp: str = ""
    keys: list[str] = field(default_factory=list)
    submitters: list[str] = field(default_factory=list)

    def matches(self, party: Json) -> bool:
        """Report whether a verified signer with identity, issuer and keyId is this signer."""
        if self.keys:
            return party.get("keyId", "") in self.keys
        if self.submitters:
            return False
        return _whole(self.identity, self.identity_regexp, party.get("identity", "")) and _whole(
            self.issuer, self.issuer_regexp, party.get("issuer", "")
        )


def _whole(text: str, pattern: str, value: str) -> bool:
    if pattern:
        return bool(value) and re2.fullmatch(pattern, value) is not None
    return text == value


@dataclass
class Requirement:
    """A selection of evidence."""

    name: str
    kinds: list[str]
    predicate_types: list[str]
    signers: list[str]
    submitters: list[str]
    unsigned: bool
    min_signers: int
    max_age: int | None
    optional: bool


@dataclass
class Mode:
    """A row of modes."""

    stage: str
    environments: list[str]
    mode: str


@dataclass
class Control:
    """A control in force."""

    id: str
    severity: str
    sla_days: dict[str, int]
    types: list[str]
    names: list[str]
    require: list[Requirement]
    condition: cel.Node | None
    reads: set[str]
    includes: list[str]
    modes: list[Mode]
    max_days: int
    approvers: int
    wildcard: bool
    parameters: Any


@dataclass
class ControlSet:
    """The control set in force."""

    digest: str
    stages: list[str]
    environments: list[str]
    signers: dict[str, Signer]
    controls: dict[str, Control]
    valid_seconds: int


# --- the shape of documents

Check = Callable[[Any], object]


def _text(low: int, high: int, pattern: str = r"(?s:.*)") -> Check:
    return lambda v: isinstance(v, str) and low <= len(v) <= high and re.fullmatch(pattern, v)


def _texts(low: int, high: int, each: Check) -> Check:
    return lambda v: isinstance(v, list) and low <= len(v) <= high and all(map(each, v))


def _integer(low: int, high: int) -> Check:
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high


def _count(low: int, high: int) -> Check:
    return lambda v: (
        isinstance(v, str) and re.fullmatch("0|[1-9][0-9]*", v) and low <= int(v) <= high
    )


def _glob_text(value: Any) -> object:
    return isinstance(value, str) and 0 < len(value.encode()) <= 2048 and value.count("*") <= 32


def _one(*allowed: str) -> Check:
    return lambda v: v in allowed


def _true(value: Any) -> bool:
    return value is True


def _map(value: Any) -> bool:
    return isinstance(value, dict)


SHAPES: Final[dict[str, dict[str, tuple[bool, Check]]]] = {
    "control": {
        "id": (True, _text(1, 128, ID)),
        "title": (True, _text(1, 1024)),
        "state": (True, _one("active", "retired")),
        "severity": (True, _one(*SEVERITIES)),
        "owner": (False, _text(1, 256)),
        "frameworks": (False, _texts(1, 256, _text(1, 4096, r"(?s:.*: .*)"))),
        "description": (False, _text(1, 16384)),
        "parameters": (False, _map),
        "slaDays": (False, _map),
        "appliesTo": (False, _map),
        "check": (False, _map),
        "includes": (False, _texts(1, 64, _text(1, 128, ID))),
        "modes": (True, _texts(1, 64, _map)),
        "exceptions": (False, _map),
    },
    "slaDays": {severity: (False, _integer(0, 3650)) for severity in SEVERITIES},
    "appliesTo": {
        "types": (False, _texts(1, 64, _one(*TYPES))),
        "names": (False, _texts(1, 64, _glob_text)),
    },
    "check": {
        "require": (False, _texts(1, 32, _map)),
        "condition": (False, _text(1, 8192)),
    },
    "requirement": {
        "name": (True, _text(1, 64, NAME)),
        "kinds": (False, _texts(1, 64, _one(*KINDS))),
        "predicateTypes": (False, _texts(1, 64, _glob_text)),
        "signers": (False, _texts(1, 64, _text(1, 256))),
        "submitters": (False, _texts(1, 64, _glob_text)),
        "unsigned": (False, _true),
        "minSigners": (False, _integer(1, 16)),
        "maxAgeSeconds": (False, _count(1, 1 << 62)),
        "optional": (False, _true),
    },
    "mode": {
        "stage": (True, _text(1, 64, NAME)),
        "mode": (True, _one(*MODES)),
        "environments": (False, _texts(1, 64, _glob_text)),
    },
    "exceptions": {
        "maxDays": (False, _integer(0, 366)),
        "approvers": (False, _integer(1, 8)),
        "wildcard": (False, _true),
    },
    "control-set": {
        "version": (True, _text(1, 128)),
        "stages": (True, _texts(1, 32, _text(1, 64, NAME))),
        "environments": (False, _texts(1, 64, _glob_text)),
        "signers": (False, _texts(1, 256, _map)),
        "controls": (True, _texts(1, 1024, _map)),
        "validSeconds": (False, _count(60, 2592000)),
        "unknownImageFields": (False, _one("undecided", "warn")),
        "imagePaths": (False, _texts(1, 256, _map)),
    },
    "signer": {
        "name": (True, _text(1, 256)),
        "identity": (False, _text(1, 4096)),
        "identityRegexp": (False, _text(1, 4096)),
        "issuer": (False, _text(1, 4096)),
        "issuerRegexp": (False, _text(1, 4096)),
        "keyIds": (False, _texts(1, 64, _text(1, 4096))),
        "submitters": (False, _texts(1, 64, _glob_text)),
    },
    "listed": {
        "id": (True, _text(1, 128, ID)),
        "digest": (True, _text(71, 71, "sha256:[0-9a-f]{64}")),
    },
    "imagePath": {
        "apiVersion": (True, _text(1, 256)),
        "kind": (True, _text(1, 256)),
        "path": (True, _text(1, 2048)),
    },
}


def shape(kind: str, value: Json) -> Json:
    """Check the members of an object."""
    members = SHAPES[kind]
    for name, member in value.items():
        demand(name in members, f"{kind}: undefined member {name}")
        demand(members[name][1](member), f"{kind}: {name} is wrong")
    for name, (required, _) in members.items():
        demand(name in value or not required, f"{kind}: {name} is missing")
    return value


def _unique(values: Sequence[str], what: str) -> None:
    demand(len(set(values)) == len(values), f"{what} is not unique")


# --- reading


def read_set(entries: list[Entry]) -> ControlSet | None:
    """Return the control set in force, None without one, or raise SpecError."""
    sets = [e for e in entries if e.kind == "control-set" and not e.recorded]
    if not sets:
        return None
    entry = sets[-1]
    document = _document("control-set", entry)
    for listed in document["controls"]:
        shape("listed", listed)
    for path in document.get("imagePaths", []):
        shape("imagePath", path)
    signers = [_signer(shape("signer", s)) for s in document.get("signers", [])]
    _unique([s.name for s in signers], "signer")
    _unique(document["stages"], "stage")
    ids = [c["id"] for c in document["controls"]]
    _unique(ids, "control")
    found = ControlSet(
        digest=_digest(entry),
        stages=document["stages"],
        environments=document.get("environments", []),
        signers={s.name: s for s in signers},
        controls={},
        valid_seconds=int(document.get("validSeconds", "86400")),
    )
    for listed in document["controls"]:
        older = [
            e
            for e in entries
            if e.kind == "control" and e.index < entry.index and _digest(e) == listed["digest"]
        ]
        demand(older, f"control {listed['id']} cannot be read")
        control = _control(_document("control", older[-1]))
        demand(control.id == listed["id"], "the set lists the control by another ID")
        found.controls[control.id] = control
    for control in found.controls.values():
        _check_control(control, found)
    return found


def _digest(entry: Entry) -> str:
    if entry.payload is None:
        return ""
    return "sha256:" + hashlib.sha256(entry.payload.encode()).hexdigest()


def _document(kind: str, entry: Entry) -> Json:
    demand(entry.payload is not None, f"the payload of entry {entry.index} is erased")
    try:
        return shape(kind, parse_object(entry.payload or ""))
    except ValueError as error:
        raise SpecError(str(error)) from error


def _signer(s: Json) -> Signer:
    forms = [
        bool({"identity", "identityRegexp", "issuer", "issuerRegexp"} & s.keys()),
        "keyIds" in s,
        "submitters" in s,
    ]
    demand(forms.count(True) == 1, "a signer has exactly one form")
    if forms[0]:
        demand(("identity" in s) != ("identityRegexp" in s), "one of identity and identityRegexp")
        demand(("issuer" in s) != ("issuerRegexp" in s), "one of issuer and issuerRegexp")
    for name in ("identityRegexp", "issuerRegexp"):
        try:
            re2.compile(s.get(name, ""))
        except re2.error as error:
            raise SpecError(str(error)) from error
    return Signer(
        name=s["name"],
        identity=s.get("identity", ""),
        identity_regexp=s.get("identityRegexp", ""),
        issuer=s.get("issuer", ""),
        issuer_regexp=s.get("issuerRegexp", ""),
        keys=s.get("keyIds", []),
        submitters=s.get("submitters", []),
    )


def _requirement(r: Json) -> Requirement:
    shape("requirement", r)
    demand(("signers" in r) != ("unsigned" in r), "exactly one of signers and unsigned")
    return Requirement(
        name=r["name"],
        kinds=r.get("kinds", ["attestation"]),
        predicate_types=r.get("predicateTypes", []),
        signers=r.get("signers", []),
        submitters=r.get("submitters", []),
        unsigned=r.get("unsigned", False),
        min_signers=r.get("minSigners", 1),
        max_age=int(r["maxAgeSeconds"]) if "maxAgeSeconds" in r else None,
        optional=r.get("optional", False),
    )


def _control(c: Json) -> Control:
    for name in ("slaDays", "appliesTo", "check", "exceptions"):
        shape(name, c.get(name, {}))
    for mode in c["modes"]:
        shape("mode", mode)
    check, applies, exceptions = (c.get(n, {}) for n in ("check", "appliesTo", "exceptions"))
    demand(c["state"] == "active", "a retired control")
    demand("check" in c or "includes" in c, "check or includes is required")
    demand("check" not in c or check, "an empty check")
    require = [_requirement(r) for r in check.get("require", [])]
    _unique([r.name for r in require], "requirement")
    demand(
        not (c["severity"] == "critical" and exceptions.get("wildcard")),
        "no wildcard for a critical control",
    )
    condition = None
    if "condition" in check:
        try:
            condition = cel.parse(check["condition"])
            demand(cel.fits(cel.check(condition, cel.VARIABLES), "bool"), "not a condition")
        except cel.CompileError as error:
            raise SpecError(str(error)) from error
    return Control(
        id=c["id"],
        severity=c["severity"],
        sla_days=c.get("slaDays", {}),
        types=applies.get("types", []),
        names=applies.get("names", []),
        require=require,
        condition=condition,
        reads=cel.variables(condition) if condition else set(),
        includes=c.get("includes", []),
        modes=[Mode(m["stage"], m.get("environments", []), m["mode"]) for m in c["modes"]],
        max_days=exceptions.get("maxDays", 30),
        approvers=exceptions.get("approvers", 1),
        wildcard=exceptions.get("wildcard", False),
        parameters=json_value(c.get("parameters", {})),
    )


def json_value(value: Any) -> Any:
    """Return the value that JSON has in conditions."""
    if isinstance(value, dict):
        return {name: json_value(member) for name, member in value.items()}
    if isinstance(value, list):
        return [json_value(element) for element in value]
    if isinstance(value, int) and not isinstance(value, bool):
        if not -(1 << 63) <= value < 1 << 64:
            return cel.ErrorValue(f"{value} is out of range", "condition-error")
        return cel.Uint(value) if value >= 1 << 63 else value
    return value


def _check_control(control: Control, found: ControlSet) -> None:
    for mode in control.modes:
        demand(mode.stage in found.stages, f"stage {mode.stage} is not defined")
        for pattern in mode.environments:
            listed = not found.environments or any(overlap(pattern, e) for e in found.environments)
            demand(listed, f"{pattern} matches no environment")
    for requirement in control.require:
        _check_requirement(requirement, found)
    for included in control.includes:
        demand(included in found.controls, f"control {included} does not exist")
    demand(not _reaches(control.id, control.id, found, set()), "a cycle of included controls")
    if control.condition is None:
        return
    reads = {"evidence", "vulnerabilities"} & control.reads
    demand(control.require or not reads, "evidence of a control without requirements")
    names = {r.name for r in control.require}
    demand(_compared_requirements(control.condition) <= names, "no such requirement")
    known: dict[str, Any] = dict.fromkeys(cel.VARIABLES, cel.UNKNOWN)
    try:
        result = cel.Evaluation({**known, "parameters": control.parameters}).run(control.condition)
    except cel.CelError as error:
        raise SpecError(str(error)) from error
    demand(result is not False, "the condition is constantly false")


def _check_requirement(requirement: Requirement, found: ControlSet) -> None:
    demand(
        not requirement.predicate_types
        or bool({"attestation", "export-manifest"} & set(requirement.kinds)),
        "predicate types for kinds without predicates",
    )
    for name in requirement.signers:
        demand(name in found.signers, f"signer {name} is not defined")
    possible: float = 0
    for signer in (found.signers[name] for name in requirement.signers):
        open_ended = signer.identity_regexp or signer.issuer_regexp or signer.submitters
        possible += float("inf") if open_ended else max(1, len(signer.keys))
    demand(
        requirement.unsigned or requirement.min_signers <= possible,
        "more signers than the listed signers can have",
    )


def _reaches(target: str, start: str, found: ControlSet, seen: set[str]) -> bool:
    for included in found.controls[start].includes:
        if included == target:
            return True
        if included in found.controls and included not in seen:
            seen.add(included)
            if _reaches(target, included, found, seen):
                return True
    return False


def _compared_requirements(node: cel.Node) -> set[str]:
    found: set[str] = set()
    if node.op in ("==", "!="):
        for one, other in (node.args, node.args[::-1]):
            if one.op == "select" and one.name == "requirement" and other.op == "literal":
                found |= {other.value} if isinstance(other.value, str) else set()
    for arg in node.args:
        found |= _compared_requirements(arg)
    return found

"""Decisions (decision.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from . import cel
from .base import (
    LAST,
    Entry,
    Json,
    any_glob,
    person_key,
    read_time,
    same_artifact,
    share_digest,
    write_time,
)
from .controls import MODES, Control, ControlSet, Requirement, SpecError, json_value, read_set
from .exceptions import Exemption, KeyEvents, exemptions, requests
from .facts import extract, group_types
from .join import Document, UndecidedError, identifiers, unresolved
from .values import canonical_digests

ORDER: Final = ("satisfied", "excepted", "undecided", "not-satisfied")
FREQUENT: Final = ("gate-decision", "inventory")
LISTS: Final = {
    "scan": ["vulnerabilities"], "vex": ["statements"], "sbom": ["components"],
    "build": ["materials"], "test": ["configuration", "passed", "warned", "failed"],
    "summary": ["levels"], "properties": ["properties"],
    "export": ["contents", "residency", "regions", "licenses"],
}  # fmt: skip
DOUBLES: Final = {
    *("score", "acaScore", "epsilon", "delta", "rho"),
    *("budget", "budgetDelta", "spent", "spentRho"),
}
UNAVAILABLE: Final = cel.ErrorValue("the facts are not available", "facts-unavailable")
MAX_ELEMENTS: Final = 200_000
MAX_EVIDENCE: Final = 4096


def decide(case: Json) -> Json:
    """Return the decision of a case of the vectors."""
    return Decision(case).result()


def _spellings(kind: str, name: str) -> list[str]:
    """Return the names that a control's globs can match (section 3)."""
    if kind not in ("image", "chart"):
        return [name]
    host, slash, path = name.partition("/")
    if not slash:
        host, path = "", name
    upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    host = host.translate(str.maketrans(upper, upper.lower())).removesuffix(":443")
    folders, last = path.rpartition("/")[:2], path.rpartition("/")[2]
    untagged = "".join(folders) + last.split(":")[0]
    return [name, host + slash + path, host + slash + untagged]


@dataclass
class Selected:
    """What a requirement selects: entries and the matching parties of each."""

    requirement: Requirement
    entries: list[tuple[Entry, list[Json]]]
    stale: list[Entry]  # not selected only because of their age

    def parties(self) -> list[str]:
        """Return the distinct parties, in the order of their newest entries."""
        found = [p["key"] for _, parties in self.entries for p in parties]
        return list(dict.fromkeys(found))

    def met(self) -> bool:
        return self.requirement.optional or len(self.parties()) >= self.requirement.min_signers


@dataclass
class Outcome:
    """The result of a control for one artifact."""

    result: str
    reason: str
    missing: list[str] = field(default_factory=list)
    entries: set[int] = field(default_factory=set)
    exceptions: list[Exemption] = field(default_factory=list)


class Decision:
    """The evaluation of one case."""

    def __init__(self, case: Json) -> None:
        self.size: int = case["size"]
        self.now = read_time(case["time"])
        self.subject: Json = case["subject"]
        self.parts: list[Json] = case.get("parts", [])
        self.stage: str = case["stage"]
        self.environment: str = case.get("environment", "")
        below = [Entry(e) for e in case["entries"] if e["index"] < self.size]
        self.entries = sorted(below, key=lambda e: e.index)
        for entry in self.entries:
            if entry.facts is None and entry.payload is not None and not entry.payload_erased:
                entry.facts = _facts_of(entry)
        self.budget = cel.Budget()
        self.valid_until = [self.now + timedelta(days=1)]
        self.controls: ControlSet | None = None
        self.key_events = KeyEvents([e for e in self.entries if e.kind == "key-event"])
        self.exemptions: list[Exemption] = []
        self.relevant: list[Entry] = []
        self.resolves: tuple[str, bool] | None = None  # a finding that does not count
        self.linked: set[int] | None = None  # the only evidence

    # --- section 2

    def result(self) -> Json:
        try:
            self.controls = read_set(self.entries)
        except SpecError:
            return self._decision("undecided", "unreadable-control-set")
        if self.controls is None:
            return self._decision("undecided", "no-control-set")
        self.valid_until = [self.now + timedelta(seconds=self.controls.valid_seconds)]
        if self.stage not in self.controls.stages:
            return self._decision("undecided", "unknown-stage")
        environments = self.controls.environments
        if environments and self.environment and not any_glob(environments, self.environment):
            return self._decision("undecided", "unknown-environment")
        self.exemptions = [e for e in exemptions(self.entries, self.controls) if e.counts(self.now)]
        self.relevant = self._relevant()
        results: list[tuple[str, str, Outcome]] = []
        for control in self.controls.controls.values():
            mode = self._mode(control)
            if mode:
                results.append((control.id, mode, self._control(control)))
        listed = [self._listed(*r) for r in results]
        applied = [(mode, o.result) for _, mode, o in results if o.result != "not-applicable"]
        if not applied:
            return self._decision("undecided", "no-control-applies", listed)
        if ("enforce", "not-satisfied") in applied:
            return self._decision("blocked", "", listed)
        if ("enforce", "undecided") in applied:
            return self._decision("undecided", "", listed)
        return self._decision("pass", "", listed)

    def _mode(self, control: Control) -> str:
        rows = [m for m in control.modes if m.stage == self.stage]
        if not self.environment:
            return max((m.mode for m in rows), key=MODES.index, default="")
        matching = (
            m.mode for m in rows if not m.environments or any_glob(m.environments, self.environment)
        )
        return next(matching, "")

    def _decision(self, decision: str, reason: str, results: list[Json] | None = None) -> Json:
        found: Json = {"decision": decision}
        if reason:
            found["reason"] = reason
        if results:
            found["results"] = results
        found["treeSize"] = self.size
        found["decided"] = write_time(self.now)
        if self.controls:
            found["controlSet"] = self.controls.digest
        found["inputs"] = self._inputs()
        found["validUntil"] = write_time(min(self.valid_until))
        return found

    def _listed(self, control: str, mode: str, outcome: Outcome) -> Json:
        found: Json = {
            "control": control,
            "mode": mode,
            "result": outcome.result,
            "reason": outcome.reason,
        }
        if outcome.missing:
            found["missing"] = outcome.missing
        if outcome.entries:
            found["entries"] = sorted(outcome.entries)[-64:]
        if outcome.exceptions:
            found["exceptions"] = [
                {"id": e.id, "index": e.index, "expires": write_time(e.expires)}
                for e in outcome.exceptions
            ]
            self.valid_until += [e.expires for e in outcome.exceptions]
        return found

    # --- section 3

    def _control(self, control: Control) -> Outcome:
        name = self.subject.get("name", "")
        if (control.types and self.subject["type"] not in control.types) or (
            control.names
            and name
            and not any(any_glob(control.names, n) for n in _spellings(self.subject["type"], name))
        ):
            return Outcome("not-applicable", "not-applicable")
        if not self.parts:
            return self._artifact(control, None)
        total = Outcome("satisfied", "satisfied")
        for part in self.parts:
            one = self._artifact(control, part)
            if ORDER.index(one.result) > ORDER.index(total.result):
                total.result, total.reason = one.result, one.reason
            total.missing += [f"{part['name']}: {line}" for line in one.missing]
            total.entries |= one.entries
            total.exceptions += [e for e in one.exceptions if e not in total.exceptions]
        return total

    def _artifact(self, control: Control, part: Json | None) -> Outcome:
        digests = [self.subject["digest"], *([part["digest"]] if part else [])]
        artifact = Artifact(self, digests)
        first = artifact.check(control, set())
        if first.result == "satisfied":
            return first
        covering = [
            e
            for e in self.exemptions
            if e.control == control.id
            and e.covers(self.subject.get("name", ""), digests, self.environment)
        ]
        named = [e for e in covering if e.findings]
        if named:
            again = Artifact(self, digests)
            names = set().union(*(e.findings for e in named))
            if again.check(control, names).result == "satisfied":
                used = [e for e in named if e.findings & again.removed]
                return Outcome("excepted", "excepted", first.missing, first.entries, used)
        whole = [e for e in covering if not e.findings]
        if whole:
            used = [min(whole, key=lambda e: (-e.expires.timestamp(), e.index))]
            return Outcome("excepted", "excepted", first.missing, first.entries, used)
        return first

    # --- section 4: what is read

    def _relevant(self) -> list[Entry]:
        """Return the entries that are read, the newest first."""
        kinds = self._kinds()
        read = [e for e in self.entries if e.kind in kinds and not e.erased][::-1]
        found: list[Entry] = []
        for entry in read:
            about = any(self.mentions(entry, d) for d in self._all_digests())
            if entry.kind not in FREQUENT or (
                about and sum(e.kind == entry.kind for e in found) < 64
            ):
                found.append(entry)
        return found

    def _kinds(self) -> set[str]:
        if self.controls is None:
            return set()
        require = [r for c in self.controls.controls.values() for r in c.require]
        return {"finding"}.union(*(r.kinds for r in require))

    def _all_digests(self) -> list[Json]:
        return [self.subject["digest"], *(p["digest"] for p in self.parts)]

    @staticmethod
    def mentions(entry: Entry, digest: Json) -> bool:
        return any(share_digest(s["digest"], digest) for s in entry.subjects)

    # --- section 7

    def _inputs(self) -> str:
        lines = ["muniment/decision-inputs/v1"]
        lines.append("set " + (self.controls.digest if self.controls else "none"))
        lines.append(f"subject {self.subject['type']} {_digests(self.subject['digest'])}")
        lines += sorted(f"part {_digests(p['digest'])}" for p in self.parts)
        lines.append("name " + _escape(self.subject.get("name", "")))
        lines.append("stage " + _escape(self.stage))
        lines.append("environment " + _escape(self.environment))
        lines.append("evidence " + _newest(self._input_evidence()))
        lines.append("finding " + _newest(self._input_findings()))
        lines.append("exception " + _newest(self._input_exceptions()))
        events = self.key_events.events if self.controls else []
        lines.append("key-event " + _newest(events))
        text = "".join(line + "\n" for line in lines)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def _input_evidence(self) -> list[Entry]:
        kinds = self._kinds() - set(FREQUENT)
        digests = self._all_digests()
        return [
            e for e in self.entries if e.kind in kinds and any(self.mentions(e, d) for d in digests)
        ]

    def _input_findings(self) -> list[Entry]:
        if self.controls is None:
            return []
        reading = {c.id for c in self.controls.controls.values() if "findings" in c.reads}
        return [
            e
            for e in self.entries
            if e.kind == "finding" and not e.subjects and reading & set(e.controls)
        ]

    def _input_exceptions(self) -> list[Entry]:
        if self.controls is None:
            return []
        found = {}
        for entry in requests(self.entries).values():
            if set(entry.controls) & self.controls.controls.keys():
                found[entry.index] = entry
        effective = list(found.values())
        for entry in self.entries:
            if entry.kind != "exception-decision":
                continue
            a = entry.attributes
            ends = a.get("decision") in ("reject", "revoke")
            request = found.get(int(a.get("request", "-1")))
            if (
                request is not None
                and request.index < entry.index
                and request.attributes["exception"] == a.get("exception")
                and (ends or not entry.recorded)
            ):
                effective.append(entry)
        return effective


def _newest(entries: Iterable[Entry]) -> str:
    return str(max((e.index for e in entries), default="none"))


def _digests(digest: Json) -> str:
    return " ".join(f"{a}:{v}" for a, v in sorted(canonical_digests(digest).items()))


def _escape(text: str) -> str:
    return "".join(
        f"%{b:02X}" if b < 0x21 or b in (0x25, 0x7F) else bytes([b]).decode("latin-1")
        for b in text.encode()
    )


class Artifact:
    """The evaluation of controls for the subject or for one of its parts."""

    def __init__(self, decision: Decision, digests: list[Json]) -> None:
        self.decision = decision
        self.digests = digests  # of the subject, and of the part
        self.removed: set[str] = set()

    # --- section 3, steps 3 and 4

    def check(self, control: Control, exempted: set[str]) -> Outcome:
        outcome = self._check(control, exempted)
        if outcome.result != "satisfied":
            return outcome
        included: list[Outcome] = []
        for id_ in control.includes:
            included.append(self.check(self._set().controls[id_], exempted))
            if included[-1].result == "not-satisfied":
                break
        for result in ("not-satisfied", "undecided"):
            found = next((o for o in included if o.result == result), None)
            if found:
                return Outcome(result, "included-control", found.missing, outcome.entries)
        return outcome

    def _set(self) -> ControlSet:
        assert self.decision.controls is not None
        return self.decision.controls

    def _check(self, control: Control, exempted: set[str]) -> Outcome:
        selected = [self._select(r) for r in control.require]
        self._limit_validity(control, selected)
        outcome = Outcome("satisfied", "satisfied")
        outcome.entries = {e.index for s in selected for e, _ in s.entries}
        count = sum(
            e.kind not in FREQUENT
            for e in self.decision.relevant
            if any(self.decision.mentions(e, d) for d in self.digests)
        )
        if count > MAX_EVIDENCE:
            outcome.result, outcome.reason = "undecided", "too-much-evidence"
            return outcome
        unmet = [s for s in selected if not s.met()]
        if unmet:
            reason = "too-few-signers" if unmet[0].entries else "missing-evidence"
            outcome.result, outcome.reason = "not-satisfied", reason
            outcome.missing = [s.requirement.name for s in unmet]
            return outcome
        if control.condition is not None:
            if "now" in control.reads:
                self.decision.valid_until.append(self.decision.now + timedelta(hours=1))
            condition = Condition(self, control, selected, exempted)
            outcome.result, outcome.reason = condition.run(control.condition)
        return outcome

    # --- section 4

    def about(self, entry: Entry) -> bool:
        if self.decision.linked is not None:
            return entry.index in self.decision.linked
        subjects = entry.subjects
        if entry.kind == "gate-decision" and len(subjects) > 1:
            subjects = subjects[1:]
        return any(same_artifact(s["digest"], d) for s in subjects for d in self.digests)

    @staticmethod
    def counts(entry: Entry) -> bool:
        spooled = entry.kind == "gate-decision" and "spooled" in entry.attributes
        lost = entry.erased or entry.recorded or entry.verification == "failed"
        return not lost and not spooled

    def selected(self, control: Control) -> set[int]:
        """Return the entries that the control and those that it includes select."""
        found = {e.index for r in control.require for e, _ in self._select(r).entries}
        return found.union(*(self.selected(self._set().controls[i]) for i in control.includes))

    def _select(self, requirement: Requirement) -> Selected:
        found = Selected(requirement, [], [])
        for entry in self.decision.relevant:
            if entry.kind not in requirement.kinds or not self.counts(entry):
                continue
            if not self.about(entry):
                continue
            if requirement.predicate_types and not (
                entry.predicate_type and any_glob(requirement.predicate_types, entry.predicate_type)
            ):
                continue
            if requirement.submitters and not any_glob(requirement.submitters, entry.submitter):
                continue
            parties = self._parties(requirement, entry)
            if not parties:
                continue
            age = (self.decision.now - entry.time).total_seconds()
            if requirement.max_age is not None and age > requirement.max_age:
                found.stale.append(entry)
            else:
                found.entries.append((entry, parties))
        return found

    def _parties(self, requirement: Requirement, entry: Entry) -> list[Json]:
        submitter = {
            "submitter": entry.submitter,
            "key": "submitter " + person_key(entry.submitter),
        }
        if requirement.unsigned:
            return [{"name": "", **submitter}]
        found: list[Json] = []
        signers = [self._set().signers[name] for name in requirement.signers]
        if entry.verification == "verified":
            for party in entry.header.get("signers", []):
                if self.decision.key_events.excludes(party, entry.time):
                    continue
                matching = next((s for s in signers if s.matches(party)), None)
                if matching:
                    who = f"{party.get('identity')} {party.get('issuer')}"
                    key = who if "identity" in party else party.get("keyId", "")
                    found.append({"name": matching.name, **party, "key": key})
        for signer in signers:
            if signer.submitters and any_glob(signer.submitters, entry.submitter):
                found.append({"name": signer.name, **submitter})
                break
        return found

    # --- section 8

    def _limit_validity(self, control: Control, selected: list[Selected]) -> None:
        limits = self.decision.valid_until
        for s in selected:
            r = s.requirement
            if r.max_age is None or not s.entries:
                continue
            age = timedelta(seconds=r.max_age)
            if control.condition is not None:
                limits.append(min(e.time for e, _ in s.entries) + age)
            elif s.met() and not r.optional:
                limits.append(self._party_time(s, r.min_signers) + age)

    @staticmethod
    def _party_time(selected: Selected, count: int) -> datetime:
        newest: dict[str, datetime] = {}
        for entry, parties in selected.entries:
            for party in parties:
                newest.setdefault(party["key"], entry.time)
        return sorted(newest.values(), reverse=True)[count - 1]


class Condition:
    """The variables of a condition (section 5)."""

    def __init__(
        self, artifact: Artifact, control: Control, selected: list[Selected], exempted: set[str]
    ) -> None:
        self.artifact = artifact
        self.decision = artifact.decision
        self.control = control
        self.selected = selected
        self.exempted = exempted
        self.chosen = {e.index: e for s in selected for e, _ in s.entries}
        self.available = self._within_elements()

    def run(self, node: cel.Node) -> tuple[str, str]:
        try:
            value = cel.Evaluation(self._variables(), self.decision.budget).run(node)
        except cel.CelError as error:
            return "undecided", error.code
        return ("satisfied", "satisfied") if value else ("not-satisfied", "condition-false")

    def _variables(self) -> dict[str, Any]:
        subject = self.decision.subject
        return {
            "subject": {
                "type": subject["type"],
                "name": subject.get("name", ""),
                "digest": canonical_digests(self.artifact.digests[-1]),
            },
            "stage": self.decision.stage,
            "environment": self.decision.environment,
            "now": self.decision.now,
            "parameters": self.control.parameters,
            "evidence": cel.Lazy(self._evidence),
            "vulnerabilities": cel.Lazy(self._vulnerabilities),
            "findings": cel.Lazy(self._findings),
        }

    def _within_elements(self) -> set[int]:
        """Return the entries whose facts are available together."""
        stale = {e.index: e for s in self.selected for e in s.stale}
        entries = {**self.chosen, **(stale if "vulnerabilities" in self.control.reads else {})}
        total = 0
        found = set()
        for entry in sorted(entries.values(), key=lambda e: -e.index):
            total += _elements(entry.facts or {})
            if total > MAX_ELEMENTS:
                break
            found.add(entry.index)
        return found

    # --- evidence

    def _evidence(self) -> tuple[Any, int]:
        order = {s.requirement.name: i for i, s in enumerate(self.selected)}
        pairs = [(e, s.requirement.name, p) for s in self.selected for e, p in s.entries]
        pairs.sort(key=lambda pair: (-pair[0].index, order[pair[1]]))
        return [self._element(*pair) for pair in pairs], len(pairs)

    def _element(self, entry: Entry, requirement: str, parties: list[Json]) -> Json:
        return {
            "requirement": requirement,
            "index": entry.index,
            "kind": entry.kind,
            "predicate_type": entry.predicate_type,
            "submitter": entry.submitter,
            "time": entry.time,
            "signers": [
                {
                    "name": p["name"],
                    "identity": p.get("identity", ""),
                    "issuer": p.get("issuer", ""),
                    "key_id": p.get("keyId", ""),
                    "submitter": p.get("submitter", ""),
                }
                for p in parties
            ],
            "attributes": dict(entry.attributes),
            "verified": entry.verification == "verified",
            "conforming": "conformance" not in entry.attributes,
            "facts": self._facts(entry),
        }

    def _facts(self, entry: Entry) -> Any:
        if not self._has_facts(entry) and entry.facts is None:
            return {}
        if entry.payload_erased or entry.facts is None or entry.index not in self.available:
            return UNAVAILABLE
        if "exceeded" in entry.facts:
            return UNAVAILABLE
        return {_snake(name): _group(name, value) for name, value in entry.facts.items()}

    @staticmethod
    def _has_facts(entry: Entry) -> bool:
        if entry.facts is not None:
            return True
        return entry.payload_erased and bool(group_types(entry.header))

    # --- vulnerabilities

    def _document(self, entry: Entry) -> Document:
        usable = not entry.payload_erased and entry.index in self.available
        facts = (entry.facts or {}) if usable else None
        return Document(entry.index, entry.time, entry.subjects, facts)

    def _vulnerabilities(self) -> tuple[Any, int]:
        chosen = [e for e in self.chosen.values() if self._joins(e)]
        documents = [self._document(e) for e in sorted(chosen, key=lambda e: e.index)]
        try:
            found = unresolved(self.artifact.digests[-1], [], documents, documents)
        except UndecidedError:
            return UNAVAILABLE, 1
        if not any("scan" in (d.facts or {}) for d in documents):
            return UNAVAILABLE, 1
        result = []
        for vulnerability in found:
            exempt = vulnerability.ids() & self.exempted
            if exempt:
                self.artifact.removed |= exempt
                continue
            result.append(self._vulnerability(vulnerability.facts))
        return result, len(result) // 4

    @staticmethod
    def _joins(entry: Entry) -> bool:
        return bool({"scan", "vex"} & set(group_types(entry.header)))

    def _vulnerability(self, facts: Json) -> Json:
        ids = identifiers(facts)
        first = min(self._seen(ids))
        due = self._due(facts.get("severity", "unknown"), first)
        self._read_due(due)
        package = facts.get("package", {})
        return {
            "id": facts["id"],
            "aliases": list(facts.get("aliases", [])),
            "severity": facts.get("severity", "unknown"),
            "score": float(facts.get("score", 0)),
            "package": {n: package.get(n, "") for n in ("purl", "name", "version")},
            "fixed_version": facts.get("fixed", ""),
            "first_seen": first,
            "due": due,
            "overdue": due <= self.decision.now,
        }

    def _seen(self, ids: set[str]) -> list[datetime]:
        found = []
        stale = [e for s in self.selected for e in s.stale]
        for entry in [*self.chosen.values(), *stale]:
            scan = (self._document(entry).facts or {}).get("scan", {})
            if any(ids & identifiers(v) for v in scan.get("vulnerabilities", [])):
                found.append(entry.time)
        for entry in self.decision.relevant:
            if entry.kind == "finding" and self.artifact.counts(entry):
                names = [entry.attributes.get("finding", ""), *entry.values("alias")]
                if self.artifact.about(entry) and ids & {n.upper() for n in names}:
                    found.append(read_time(entry.attributes["detected"]))
        return found

    def _due(self, severity: str, since: datetime) -> datetime:
        periods = self.control.sla_days
        if severity == "unknown" and periods:
            return since + timedelta(days=min(periods.values()))
        return since + timedelta(days=periods[severity]) if severity in periods else LAST

    def _read_due(self, due: datetime) -> None:
        if self.control.sla_days and due > self.decision.now:
            self.decision.valid_until.append(due)

    # --- findings

    def _findings(self) -> tuple[Any, int]:
        newest: dict[tuple[str, bool], Entry] = {}
        for entry in self.decision.relevant:
            if entry.kind != "finding" or not self.artifact.counts(entry):
                continue
            if self.control.id not in entry.controls:
                continue
            if entry.subjects and not self.artifact.about(entry):
                continue
            key = (entry.attributes["finding"].upper(), bool(entry.subjects))
            newest.setdefault(key, entry)
        if self.decision.resolves:
            newest.pop(self.decision.resolves, None)
        result = []
        for entry in newest.values():
            accepted = entry.attributes.get("resolution") == "accepted"
            if entry.attributes["status"] == "resolved" and accepted:
                continue
            names = [entry.attributes["finding"], *entry.values("alias")]
            exempt = {n.upper() for n in names} & self.exempted
            if exempt:
                self.artifact.removed |= exempt
                continue
            result.append(self._finding(entry))
        return result, len(newest)

    def _finding(self, entry: Entry) -> Json:
        a = entry.attributes
        detected = read_time(a["detected"])
        due = read_time(a["due"]) if "due" in a else self._due(a["severity"], detected)
        if due > self.decision.now:
            self.decision.valid_until.append(due)
        return {
            "id": a["finding"],
            "severity": a["severity"],
            "status": a["status"],
            "index": entry.index,
            "detected": detected,
            "due": due,
            "overdue": due <= self.decision.now,
        }


def _facts_of(entry: Entry) -> Json | None:
    document = entry.payload or ""
    if entry.predicate_type:
        document = json.dumps(json.loads(document).get("predicate"))
    return extract(entry.header, document)


def _elements(facts: Json) -> int:
    return sum(
        len(group.get(name, []))
        for key, group in facts.items()
        for name in LISTS.get(key, [])
        if isinstance(group, dict)
    )


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


def _group(name: str, value: Any) -> Any:
    if name not in LISTS and not isinstance(value, dict):
        return json_value(value)
    found = _members(value)
    if value.get("exceeded") or value.get("dropped"):
        found.update(dict.fromkeys(LISTS.get(name, []), UNAVAILABLE))
    return found


def _members(value: Any) -> Any:
    if isinstance(value, dict):
        result = {}
        for name, member in value.items():
            if name in ("parameters", "digests"):
                result[name] = json_value(member)
            elif name in DOUBLES:
                result[_snake(name)] = float(member)
            else:
                result[_snake(name)] = _members(member)
        return result
    if isinstance(value, list):
        return [_members(element) for element in value]
    return json_value(value)

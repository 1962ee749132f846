"""Exceptions and key events (controls.md, sections 3 and 4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .base import (
    Entry,
    Json,
    any_glob,
    is_person,
    person_key,
    read_time,
    same_artifact,
)
from .controls import Control, ControlSet

BREAK_GLASS = timedelta(hours=24)


@dataclass
class Exemption:
    """An exception, as its request and the decisions about it make it."""

    id: str
    index: int
    control: str
    request: Entry
    expires: datetime
    approvals: set[str] = field(default_factory=set)
    renewals: dict[datetime, set[str]] = field(default_factory=dict)
    approved: bool = False
    over: bool = False  # rejected, revoked or void
    # the requester, who registered the requester's key, and who has used it
    requesters: set[str] = field(default_factory=set)

    @property
    def break_glass(self) -> bool:
        return self.request.attributes.get("breakGlass") == "true"

    @property
    def approvable(self) -> bool:
        """Report whether the one who has used it is known as a person."""
        used_by = self.request.attributes.get("usedBy", "")
        return used_by == "" or is_person(used_by)

    @property
    def findings(self) -> set[str]:
        return {name.upper() for name in self.request.values("finding")}

    def counts(self, now: datetime) -> bool:
        return not self.over and (self.approved or self.break_glass) and now < self.expires

    def covers(self, name: str, digests: list[Json], environment: str) -> bool:
        """Report whether the scope contains an artifact, by one of the digest sets."""
        named = any(
            same_artifact(subject["digest"], digest)
            for subject in self.request.subjects
            for digest in digests
        )
        named = named or (name != "" and any_glob(self.request.values("glob"), name))
        environments = self.request.values("environment")
        where = not environments or (environment != "" and any_glob(environments, environment))
        return named and where


def requests(entries: list[Entry]) -> dict[str, Entry]:
    """Return the request of each exception: of several with one ID, the oldest."""
    found: dict[str, Entry] = {}
    for entry in entries:
        if entry.kind == "exception-request" and not entry.recorded:
            found.setdefault(entry.attributes.get("exception", "").lower(), entry)
    return found


def exemptions(entries: list[Entry], controls: ControlSet) -> list[Exemption]:
    """Return the exceptions from controls of the set, in the order of their requests."""
    found: dict[int, Exemption] = {}
    events = KeyEvents([e for e in entries if e.kind == "key-event"])
    for entry in requests(entries).values():
        control = controls.controls.get((entry.controls or [""])[0])
        persons = _requesters(entry, events)
        if control is None or not persons:
            continue
        expires = _limited(control, entry)
        exemption = Exemption(
            entry.attributes["exception"], entry.index, control.id, entry, expires
        )
        exemption.requesters = persons
        if is_person(entry.attributes.get("usedBy", "")):
            exemption.requesters.add(person_key(entry.attributes["usedBy"]))
        key = {"keyId": entry.attributes.get("keyId", "")}
        exemption.over = bool(key["keyId"]) and events.excludes(key, entry.time)
        if exemption.break_glass:
            exemption.expires = min(expires, entry.time + BREAK_GLASS)
        if _wildcard(entry) and (not control.wildcard or control.severity == "critical"):
            continue
        found[entry.index] = exemption
    for entry in entries:
        if entry.kind == "exception-decision":
            exemption_or_none = found.get(int(entry.attributes.get("request", "-1")))
            if exemption_or_none is not None:
                _decide(entry, exemption_or_none, controls.controls[exemption_or_none.control])
    return list(found.values())


def _requesters(entry: Entry, events: KeyEvents) -> set[str]:
    """Return the requester and the person who registered the requester's key, if any."""
    if "keyId" not in entry.attributes:
        return {person_key(entry.submitter)} if is_person(entry.submitter) else set()
    registration = events.registration(entry.attributes["keyId"])
    if registration is None or registration.index > entry.index:
        return set()
    return {person_key(registration.attributes["person"]), person_key(registration.submitter)}


def _limited(control: Control, entry: Entry) -> datetime:
    limit = entry.time + timedelta(days=control.max_days)
    return min(read_time(entry.attributes["expires"]), limit)


def _wildcard(entry: Entry) -> bool:
    return any(not any(c.isalnum() for c in glob) for glob in entry.values("glob"))


def _decide(entry: Entry, exemption: Exemption, control: Control) -> None:
    decision = entry.attributes.get("decision", "")
    if entry.index < exemption.index or not is_person(entry.submitter) or exemption.over:
        return
    if entry.attributes.get("exception") != exemption.id:
        return
    if entry.recorded and decision not in ("reject", "revoke"):
        return
    person = person_key(entry.submitter)
    own = person in exemption.requesters
    match decision:
        case "revoke":
            exemption.over = True
        case "reject" if not own and not exemption.approved:
            exemption.over = True
        case "approve" if not own and exemption.approvable:
            exemption.approvals.add(person)
            exemption.approved = len(exemption.approvals) >= control.approvers
        case "renew" if not own and exemption.approved and exemption.approvable:
            expires = read_time(entry.attributes["expires"])
            persons = exemption.renewals.setdefault(expires, set())
            persons.add(person)
            if len(persons) == control.approvers:
                exemption.expires = _limited(control, entry)


@dataclass
class KeyEvents:
    """The key events that have effect."""

    events: list[Entry]

    def excludes(self, party: Json, time: datetime) -> bool:
        """Report whether an event excludes a signer of an entry with this time."""
        return any(self._concerns(e, party) and self._ended(e, time) for e in self.events)

    def registration(self, key: str) -> Entry | None:
        """Return the registration of a key."""
        for event in self.events:
            a = event.attributes
            valid = is_person(event.submitter) and not event.recorded
            if a.get("event") == "registered" and a.get("keyId") == key and valid:
                return event
        return None

    @staticmethod
    def _concerns(event: Entry, party: Json) -> bool:
        a = event.attributes
        if "keyId" in a:
            return a["keyId"] == party.get("keyId")
        both = (party.get("identity"), party.get("issuer"))
        return (a.get("identity"), a.get("issuer")) == both

    @staticmethod
    def _ended(event: Entry, time: datetime) -> bool:
        since = read_time(event.attributes["from"])
        match event.attributes.get("event"):
            case "retired":
                return time > since
            case "compromised":
                return time >= since
        return False

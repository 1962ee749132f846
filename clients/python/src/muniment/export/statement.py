"""The statement of a manifest (export-manifest.md, sections 1 to 5; section 7, step 3)."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import TypeVar

from ..errors import FormatError
from ..receipt import TENANT
from ..strictjson import (
    Json,
    Object,
    as_integer,
    as_list,
    as_match,
    as_members,
    as_string,
    as_text,
    parse_object,
    quote,
)
from .epsilon import Mechanism
from .errors import ExportError
from .licenses import MAX_EXPRESSION
from .number import Decimal, T, parse_decimal, parse_rational

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
"""The `_type` of in-toto statements."""

PREDICATE_TYPE = "https://muniment.dev/predicate/export-manifest/v2"
"""The predicate type of export manifests."""

MAX_FILES = 1024
"""Limit on the number of files of an export."""

_N = TypeVar("_N", Decimal, Fraction)
_STEP = 3
_MAX_COUNT = 1_000_000
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?", re.ASCII)
"""The form of names of exports and budgets."""

_TIME = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z", re.ASCII)
_TYPE = "[a-z0-9][a-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = re.compile(f"{_TYPE}/{_TYPE}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_KEY_ID = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_CHARACTERS = re.compile(r'[^\x00-\x1f\x7f-\U0010ffff/\\:*?"<>|]+')
_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|COM[0-9]|LPT[0-9]) *", re.ASCII | re.I)


@dataclass(frozen=True, slots=True)
class Signer:
    """A signer: either a key, by its `key_id`, or an `identity` with its OIDC `issuer`."""

    key_id: str = ""
    identity: str = ""
    issuer: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the signer as JSON (export-manifest.md, section 2)."""
        if self.key_id:
            return {"keyId": self.key_id}
        return {"identity": self.identity, "issuer": self.issuer}


@dataclass(frozen=True, slots=True)
class File:
    """A file of the export.

    `size` is in bytes. `rows` is a claim of the signers, None if it is absent. `licenses` are the
    SPDX expressions of the file and of its field sets, in their order.
    """

    name: str
    sha256: str
    size: int
    media_type: str
    rows: int | None
    licenses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Geography:
    """A country (ISO 3166-1 alpha-2), or a state of it (ISO 3166-2). `state` can be empty."""

    country: str
    state: str


@dataclass(frozen=True, slots=True)
class Limit:
    """What a rule allows and forbids for one activity. Empty tuples set no limit."""

    allowed: tuple[Geography, ...] = ()
    forbidden: tuple[Geography, ...] = ()


@dataclass(frozen=True, slots=True)
class Use:
    """Where data is allowed to be, for the activities `storage` and `processing`."""

    storage: Limit
    processing: Limit

    def limit(self, activity: str) -> Limit:
        """Return the limit for an activity."""
        return self.storage if activity == "storage" else self.processing

    def geographies(self) -> Iterator[Geography]:
        """Yield all geographies."""
        for limit in (self.storage, self.processing):
            yield from limit.allowed
            yield from limit.forbidden


@dataclass(frozen=True, slots=True)
class Location:
    """A place, or a region of a cloud. `cloud_region` can be empty."""

    place: Geography
    cloud_region: str

    @property
    def label(self) -> str:
        """The most specific name of the location."""
        return self.cloud_region or self.place.state or self.place.country


@dataclass(frozen=True, slots=True)
class Claim:
    """A residency claim: `activity` is `storage` or `processing`.

    `evidence` are entries of the tenant's stream, as (index, leaf hash in hexadecimal).
    """

    activity: str
    locations: tuple[Location, ...]
    claimed_by: Signer
    evidence: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Privacy:
    """The privacy loss of an export, and the budget that it is charged to.

    Members that are absent are None. The names are those of export-manifest.md, section 5.
    """

    flavor: str
    unit: str
    relation: str
    epsilon: Decimal
    delta: Decimal | None
    rho: Decimal | None
    mechanisms: tuple[Mechanism, ...]
    sensitivity_by: Signer
    sampler: str
    sampler_by: Signer
    budget: str
    budget_epsilon: Decimal
    budget_delta: Decimal | None
    spent_epsilon: Decimal | None
    spent_rho: Decimal | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of a statement.

    It has `tenant`, `export_id`, `created`, `files`, residency `claims` and `spdx_list_version`.
    `use` and `privacy` are None if they are absent.
    """

    tenant: str
    export_id: str
    created: str
    files: tuple[File, ...]
    use: Use | None
    claims: tuple[Claim, ...]
    spdx_list_version: str
    privacy: Privacy | None

    def licenses(self) -> Iterator[str]:
        """Yield the SPDX expressions of the files, in their order."""
        for file in self.files:
            yield from file.licenses

    def locations(self) -> Iterator[Location]:
        """Yield the locations of the claims, in their order."""
        for claim in self.claims:
            yield from claim.locations


def parse_statement(payload: bytes) -> Manifest:
    """Parse the payload of an envelope (step 3). Raises ExportError."""
    try:
        document = parse_object(payload)
        for name, wanted, code in (
            ("_type", STATEMENT_TYPE, "statement-version"),
            ("predicateType", PREDICATE_TYPE, "predicate-type"),
        ):
            value = document.get(name)
            if isinstance(value, str) and value != wanted:
                raise ExportError(code, f"{name} {quote(value)} is not {wanted}", _STEP)
        reader = _Reader()
        manifest, subjects = reader.statement(document)
    except FormatError as error:
        raise ExportError("statement-malformed", f"statement: {error.message}", _STEP) from None
    if reader.malformed:
        raise ExportError("number-malformed", reader.malformed[0], _STEP)
    _check_ranges(manifest)
    _check_names(manifest)
    if subjects != [(file.name, file.sha256) for file in manifest.files]:
        reason = "the statement's subjects are not the predicate's files"
        raise ExportError("subjects-differ", reason, _STEP)
    return manifest


class _Reader:
    """Reads the members of a statement. The methods raise FormatError.

    `malformed` are faults of decimals and rationals, which have a code of their own.
    """

    def __init__(self) -> None:
        self.malformed: list[str] = []

    def statement(self, document: Object) -> tuple[Manifest, list[tuple[str, str]]]:
        """Return the manifest and the subjects, as (name, SHA-256 in hexadecimal)."""
        names = {"_type", "subject", "predicateType", "predicate"}
        members = as_members(document, "statement", names)
        as_string(members["_type"], "_type")
        as_string(members["predicateType"], "predicateType")
        subjects: list[tuple[str, str]] = []
        for value in as_list(members["subject"], "subject", MAX_FILES):
            subject = as_members(value, "subject", {"name", "digest"})
            name = as_string(subject["name"], "subject.name", empty=True)
            subjects.append((name, _digest(subject["digest"])))
        return self._predicate(members["predicate"]), subjects

    def _predicate(self, value: Json) -> Manifest:
        required = {"tenant", "exportId", "created", "files", "residency", "licenses"}
        members = as_members(value, "predicate", required, {"use", "privacy"})
        residency = as_members(members["residency"], "residency", {"claims"})
        licenses = as_members(members["licenses"], "licenses", {"spdxListVersion"})
        return Manifest(
            tenant=as_match(members["tenant"], "tenant", TENANT),
            export_id=as_match(members["exportId"], "exportId", NAME),
            created=_time(members["created"]),
            files=tuple(_file(f) for f in as_list(members["files"], "files", MAX_FILES)),
            use=read_use(members["use"]) if "use" in members else None,
            claims=tuple(_claim(c) for c in as_list(residency["claims"], "claims", 64)),
            spdx_list_version=as_text(licenses["spdxListVersion"], "spdxListVersion", 32),
            privacy=self._privacy(members["privacy"]) if "privacy" in members else None,
        )

    def _privacy(self, value: Json) -> Privacy:
        names = {"dp_flavor", "privacy_loss", "mechanisms", "sensitivity", "sampler", "budget"}
        members = as_members(value, "privacy", names)
        flavor = as_members(members["dp_flavor"], "dp_flavor", {"name"})
        names = {"privacy_unit", "neighboring_relation", "privacy_parameters"}
        described = "privacy_unit_description"
        lost = as_members(members["privacy_loss"], "privacy_loss", names, {described})
        if described in lost:
            as_text(lost[described], described, 4096)
        given = lost["privacy_parameters"]
        parameters = as_members(given, "privacy_parameters", {"epsilon"}, {"delta", "rho"})
        sensitivity = as_members(members["sensitivity"], "sensitivity", {"claimedBy"})
        sampler = as_members(members["sampler"], "sampler", {"name", "claimedBy"})
        required = {"name", "epsilon", "spent"}
        budget = as_members(members["budget"], "budget", required, {"delta"})
        spent = as_members(budget["spent"], "spent", frozenset(), {"epsilon", "rho"})
        mechanisms = as_list(members["mechanisms"], "mechanisms", 256)
        return Privacy(
            flavor=as_text(flavor["name"], "dp_flavor.name", 64),
            unit=as_text(lost["privacy_unit"], "privacy_unit", 256),
            relation=_one_of(lost["neighboring_relation"], ("unbounded", "bounded")),
            epsilon=self._decimal(parameters["epsilon"]),
            delta=self._optional(parameters, "delta"),
            rho=self._optional(parameters, "rho"),
            mechanisms=tuple(self._mechanism(m) for m in mechanisms),
            sensitivity_by=_signer(sensitivity["claimedBy"]),
            sampler=as_text(sampler["name"], "sampler.name", 256),
            sampler_by=_signer(sampler["claimedBy"]),
            budget=as_match(budget["name"], "budget.name", NAME),
            budget_epsilon=self._decimal(budget["epsilon"]),
            budget_delta=self._optional(budget, "delta"),
            spent_epsilon=self._optional(spent, "epsilon"),
            spent_rho=self._optional(spent, "rho"),
        )

    def _mechanism(self, value: Json) -> Mechanism:
        names = {"name", "sensitivity", "scale", "count"}
        members = as_members(value, "mechanisms", names)
        count = as_integer(members["count"], "count")
        if not 1 <= count <= _MAX_COUNT:
            raise FormatError(f"count: must be between 1 and {_MAX_COUNT}")
        return Mechanism(
            name=_one_of(members["name"], ("Gaussian", "Laplace")),
            sensitivity=self._number(members["sensitivity"], parse_rational, Fraction(1)),
            scale=self._number(members["scale"], parse_rational, Fraction(1)),
            count=count,
        )

    def _optional(self, members: Object, name: str) -> Decimal | None:
        return self._decimal(members[name]) if name in members else None

    def _decimal(self, value: Json) -> Decimal:
        return self._number(value, parse_decimal, Decimal("1", T))

    def _number(self, value: Json, parse: Callable[[str], _N], other: _N) -> _N:
        """Return a number, or `other` after noting that it is malformed."""
        text = as_string(value, "number", empty=True)
        try:
            return parse(text)
        except FormatError as error:
            self.malformed.append(error.message)
            return other


def _one_of(value: Json, choices: tuple[str, ...]) -> str:
    text = as_string(value, choices[0])
    if text not in choices:
        raise FormatError(f"{quote(text)} is not one of {', '.join(choices)}")
    return text


def _time(value: Json) -> str:
    text = as_string(value, "created")
    match = _TIME.fullmatch(text)
    try:
        known = match is not None and datetime(*map(int, match.groups())).year >= 1970  # type: ignore[arg-type]
    except ValueError:
        known = False
    if not known:
        raise FormatError("created: not a time since 1970, such as 2026-11-29T06:00:00Z")
    return text


def _digest(value: Json) -> str:
    return as_match(as_members(value, "digest", {"sha256"})["sha256"], "sha256", _HEX)


def _file(value: Json) -> File:
    required = {"name", "digest", "size", "mediaType", "license"}
    members = as_members(value, "files", required, {"rows", "fieldSets"})
    licenses = _licenses(members["license"])
    for element in as_list(members["fieldSets"], "fieldSets", 64) if "fieldSets" in members else ():
        field_set = as_members(element, "fieldSets", {"fields", "license"})
        for name in as_list(field_set["fields"], "fields", 1024):
            as_text(name, "fields", 256)
        licenses += _licenses(field_set["license"])
    return File(
        name=as_string(members["name"], "files.name", empty=True),
        sha256=_digest(members["digest"]),
        size=as_integer(members["size"], "size"),
        media_type=as_match(members["mediaType"], "mediaType", _MEDIA_TYPE),
        rows=as_integer(members["rows"], "rows") if "rows" in members else None,
        licenses=tuple(licenses),
    )


def _licenses(value: Json) -> list[str]:
    return [as_text(text, "license", MAX_EXPRESSION) for text in as_list(value, "license", 16)]


def read_use(value: Json) -> Use:
    """Read an object such as `use`. The codes are not compared with the tables yet.

    Raises FormatError.
    """
    names = ("storage-allowed", "storage-forbidden", "processing-included", "processing-excluded")
    members = as_members(value, "use", frozenset(), set(names))
    if not members:
        raise FormatError("use: no member limits the places")
    lists = [
        tuple(
            _geography(as_members(element, name, {"country"}, {"state"}))
            for element in (as_list(members[name], name, 512) if name in members else ())
        )
        for name in names
    ]
    return Use(Limit(lists[0], lists[1]), Limit(lists[2], lists[3]))


def _geography(members: Object) -> Geography:
    state = as_text(members["state"], "state", 64) if "state" in members else ""
    return Geography(as_text(members["country"], "country", 64), state)


def _claim(value: Json) -> Claim:
    required = {"activity", "locations", "claimedBy"}
    members = as_members(value, "claims", required, {"evidence"})
    evidence = as_list(members["evidence"], "evidence", 64) if "evidence" in members else []
    return Claim(
        activity=_one_of(members["activity"], ("storage", "processing")),
        locations=tuple(_location(v) for v in as_list(members["locations"], "locations", 64)),
        claimed_by=_signer(members["claimedBy"]),
        evidence=tuple(_evidence(element) for element in evidence),
    )


def _location(value: Json) -> Location:
    members = as_members(value, "locations", {"country"}, {"state", "cloudRegion"})
    name = "cloudRegion"
    return Location(
        _geography(members), as_text(members[name], name, 64) if name in members else ""
    )


def _evidence(value: Json) -> tuple[int, str]:
    members = as_members(value, "evidence", {"index", "leafHash"})
    return as_integer(members["index"], "index"), as_match(members["leafHash"], "leafHash", _HEX)


def _signer(value: Json) -> Signer:
    if isinstance(value, dict) and "keyId" in value:
        members = as_members(value, "claimedBy", {"keyId"})
        return Signer(key_id=as_match(members["keyId"], "keyId", _KEY_ID))
    members = as_members(value, "claimedBy", {"identity", "issuer"})
    return Signer(
        identity=as_text(members["identity"], "identity", 2048),
        issuer=as_text(members["issuer"], "issuer", 2048),
    )


def _check_ranges(manifest: Manifest) -> None:
    """Perform step 3.6."""
    privacy = manifest.privacy
    if privacy is None:
        return
    positive = all(m.sensitivity > 0 and m.scale > 0 for m in privacy.mechanisms)
    deltas = (privacy.delta, privacy.budget_delta)
    if not positive or not all(delta is None or delta.is_delta for delta in deltas):
        reason = "a sensitivity or scale is 0, or a delta is not between 0 and 1"
        raise ExportError("number-range", reason, _STEP)


def _check_names(manifest: Manifest) -> None:
    """Perform steps 3.7 and 3.8."""
    for file in manifest.files:
        if not is_safe_name(file.name):
            raise ExportError("name-unsafe", f"file {quote(file.name)}: unsafe name", _STEP)
    folded = {file.name.lower() for file in manifest.files}  # ASCII, after step 3.7
    if len(folded) != len(manifest.files):
        reason = "two files have the same name, without regard to case"
        raise ExportError("name-duplicate", reason, _STEP)


def is_safe_name(name: str) -> bool:
    """Report whether a file of an export can have the name: it is the same path everywhere."""
    segments = name.split("/")
    return len(name) <= 1024 and all(
        _CHARACTERS.fullmatch(segment)
        and segment not in (".", "..")
        and segment[0] != " "
        and segment[-1] not in " ."
        and not _DEVICE.fullmatch(segment.partition(".")[0])
        for segment in segments
    )

"""The manifest of a bundle, and the names of its members (bundle.md, sections 2 to 4)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..digest import Digest
from ..errors import FormatError
from ..kinds import KindName
from ..receipt import Header
from ..strictjson import (
    Json,
    Object,
    as_array,
    as_hash,
    as_integer,
    as_list,
    as_match,
    as_members,
    as_string,
    as_strings,
    parse_object,
)
from .archive import MAX_MEMBERS
from .errors import BundleError

MANIFEST = "manifest.json"
"""The name of the manifest's member."""

CHECKPOINT = "log/checkpoint"
"""The name of the checkpoint's member."""

POLICY = "log/policy"
"""The name of the member with the creator's policy."""

INDEX = "index.html"
"""The name of the page's member."""

MEDIA_TYPE = "application/vnd.muniment.evidence-bundle.v1+json"
"""The media type of manifests."""

MAX_MANIFEST_SIZE = 64 << 20
"""Size limit of manifests, in bytes."""

MAX_ARTIFACTS = 10_000
"""Limit on the number of selected artifacts."""

MAX_MANIFEST_VALUES = 3 << 20
"""Limit on the number of JSON values of a manifest, which has five for each member."""

_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ROLES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"log/checkpoint"), "checkpoint"),
    (re.compile(r"log/policy"), "policy"),
    (re.compile(r"log/tile/.*"), "tile"),
    (re.compile(r"index\.html|assessment/[^/]+"), "report"),
    (re.compile(r"entries/[0-9]{16}\.jsonl"), "entries"),
    (re.compile(r"evidence/[0-9]{16}\.payload(\.json)?"), "payload"),
    (re.compile(r"evidence/[0-9]{16}\.receipt\.json"), "receipt"),
)


def role_of(name: str) -> str:
    """Return the role of a member by its name, or the empty string if no member has the name."""
    return next((role for pattern, role in _ROLES if pattern.fullmatch(name)), "")


def entries_name(first: int) -> str:
    """Return the name of the member whose first record is that of the entry with this index."""
    return f"entries/{first:016}.jsonl"


def receipt_name(index: int) -> str:
    """Return the name of the receipt of the entry with this index."""
    return f"evidence/{index:016}.receipt.json"


def payload_name(index: int, media_type: str) -> str:
    """Return the name of the payload of an entry, by its index and media type."""
    base = media_type.partition(";")[0].strip(" \t")
    is_json = base == "application/json" or base.endswith("+json")
    return f"evidence/{index:016}.payload{'.json' if is_json else ''}"


@dataclass(frozen=True, slots=True)
class Member:
    """A member as the manifest lists it: its size in bytes, and its SHA-256."""

    name: str
    role: str
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """A parsed manifest (bundle.md, section 3).

    - `origin`, `size`, `root`: the log's origin, the number of its leaves, and the root hash.
    - `tenant`, `stream_id`: whose evidence it is, and the ID of the tenant's stream.
    - `time`, `since`: in Unix milliseconds. `since` is None if it is absent.
    - `entries`, `last`: the number of entries of the stream, and the leaf hash of the last one.
    - `incident`: the incident of triage that the bundle is about. None if there is none.
    - `digests`: the digests of the artifacts and their parts. None without artifacts.
    - `members`: all members but the manifest, in the order of the archive.
    """

    origin: str
    tenant: str
    size: int
    root: bytes
    time: int
    stream_id: bytes
    entries: int
    last: bytes
    since: int | None
    incident: str | None
    digests: frozenset[Digest] | None
    members: tuple[Member, ...]

    def needs(self, header: Header, time: int) -> bool:
        """Report whether the bundle must have the payload of an entry that was not erased.

        `time` is that of the entry, in Unix milliseconds (section 4).
        """
        recent = self.since is None or time >= self.since
        if header.kind in _DECISION_KINDS:
            return True
        if self.incident is not None:
            attributes = header.members.get("attributes")
            found = attributes.get("incident") if isinstance(attributes, Mapping) else None
            return header.kind == KindName.TRIAGE_ACTION and found in (self.incident, "*")
        if self.digests is None and header.kind != KindName.CONFIG and recent:
            return True
        if not header.digests:
            return header.kind in _EVENT_KINDS and recent
        return self.digests is not None and not self.digests.isdisjoint(canonical(header.digests))


_DECISION_KINDS = frozenset(
    {
        KindName.CONTROL,
        KindName.CONTROL_SET,
        KindName.EXCEPTION_DECISION,
        KindName.EXCEPTION_REQUEST,
        KindName.FINDING,
        KindName.KEY_EVENT,
    }
)
_EVENT_KINDS = frozenset(
    {
        KindName.BACKFILL_CHECKPOINT,
        KindName.INVENTORY,
        KindName.METRIC_SNAPSHOT,
        KindName.TRIAGE_ACTION,
        KindName.VERIFICATION_REPORT,
    }
)


def canonical(digests: Iterable[tuple[str, str]]) -> frozenset[Digest]:
    """Return digests, as (algorithm, value) pairs, in a form in which equal ones are equal."""
    return frozenset(Digest(algorithm, value).canonical() for algorithm, value in digests)


def parse_manifest(data: bytes) -> Manifest:
    """Parse a manifest (step 2.2). Raises BundleError."""
    try:
        members = parse_object(data, max_values=MAX_MANIFEST_VALUES)
        media_type = members.get("mediaType")
        if isinstance(media_type, str) and media_type != MEDIA_TYPE:
            raise BundleError("manifest-version", "the manifest is of another version")
        return _parse(members)
    except FormatError as error:
        raise BundleError("manifest-malformed", f"{MANIFEST}: {error.message}") from None


def _parse(document: Object) -> Manifest:
    required = {"mediaType", "origin", "tenant", "size", "root", "time", "stream", "selection"}
    members = as_members(document, MANIFEST, required | {"members"}, {"artifacts", "since"})
    as_string(members["mediaType"], "mediaType", empty=True)
    stream = as_members(members["stream"], "stream", {"id", "entries", "last"})
    since = as_integer(members["since"], "since") if "since" in members else None
    incident = _check_selection(members["selection"], since)
    artifacts = as_list(members.get("artifacts", [None]), "artifacts", MAX_ARTIFACTS)
    listed = as_list(members["members"], "members", MAX_MEMBERS)
    manifest = Manifest(
        origin=as_string(members["origin"], "origin", empty=True),
        tenant=as_string(members["tenant"], "tenant", empty=True),
        size=as_integer(members["size"], "size"),
        root=as_hash(members["root"], "root"),
        time=as_integer(members["time"], "time"),
        stream_id=as_hash(stream["id"], "stream.id"),
        entries=as_integer(stream["entries"], "stream.entries"),
        last=as_hash(stream["last"], "stream.last"),
        since=since,
        incident=incident,
        digests=_artifacts(artifacts) if "artifacts" in members else None,
        members=tuple(_member(value) for value in listed),
    )
    if manifest.size == 0 or manifest.entries > manifest.size:
        raise FormatError("size: must be at least 1, and at least stream.entries")
    if incident is not None and (manifest.digests is not None or since is not None):
        raise FormatError("selection.incident: excludes artifacts and since")
    if (manifest.entries == 0) != (manifest.last == bytes(32)):
        raise FormatError("stream.last: must be zero without entries, and only then")
    return manifest


def _check_selection(value: Json, since: int | None) -> str | None:
    """Check a selection, and return its incident."""
    names = {"release", "subjects", "since", "previous", "incident"}
    selection = as_members(value, "selection", frozenset(), names)
    if not selection.keys() & {"release", "subjects", "since", "incident"}:
        raise FormatError("selection: nothing is selected")
    if "incident" in selection and len(selection) > 1:
        raise FormatError("selection.incident: excludes the other members")
    for name in ("release", "previous", "incident"):
        if name in selection:
            as_string(selection[name], f"selection.{name}")
    if "subjects" in selection:
        for digest in as_array(selection["subjects"], "selection.subjects"):
            as_string(digest, "selection.subjects")
    if "since" in selection and as_integer(selection["since"], "selection.since") != since:
        raise FormatError("selection.since: differs from since")
    return as_string(selection["incident"], "incident") if "incident" in selection else None


def _artifacts(artifacts: Iterable[Json]) -> frozenset[Digest]:
    digests: set[Digest] = set()
    for value in artifacts:
        artifact = as_members(value, "artifacts", {"digest"}, {"name", "type", "parts"})
        for name in ("name", "type"):
            if name in artifact:
                as_string(artifact[name], f"artifacts.{name}")
        digests |= _digest(artifact)
        for part in as_array(artifact["parts"], "parts") if "parts" in artifact else ():
            members = as_members(part, "parts", {"digest"}, {"name"})
            if "name" in members:
                as_string(members["name"], "parts.name")
            digests |= _digest(members)
    return frozenset(digests)


def _digest(members: Mapping[str, Json]) -> frozenset[Digest]:
    return canonical(as_strings(members["digest"], "digest").items())


def _member(value: Json) -> Member:
    member = as_members(value, "members", {"name", "role", "size", "sha256"})
    return Member(
        name=as_string(member["name"], "members.name", empty=True),
        role=as_string(member["role"], "members.role", empty=True),
        size=as_integer(member["size"], "members.size"),
        sha256=bytes.fromhex(as_match(member["sha256"], "members.sha256", _HEX)),
    )

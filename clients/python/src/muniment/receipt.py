"""Parsers for receipts and headers (receipt.md, section 1; entry.md, section 4).

They neither hash nor verify anything.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import FormatError
from .strictjson import (
    Json,
    Object,
    as_array,
    as_base64,
    as_hash,
    as_integer,
    as_match,
    as_members,
    as_string,
    as_strings,
    parse_object,
    quote,
)

MEDIA_TYPE = "application/vnd.muniment.receipt.v2+json"
"""The media type of receipts."""

MAX_HEADER_SIZE = 1 << 20
"""Size limit of headers, in bytes."""

_COMMON = frozenset({"mediaType", "form", "tag", "time", "proof"})
_FORMS: Mapping[str, frozenset[str]] = {
    "full": frozenset({"link", "header", "payload"}),
    "detached": frozenset({"link", "header", "payload"}),
    "shared": frozenset({"linkHash", "header", "payload"}),
    "payload-erased": frozenset({"link", "header"}),
    "header-erased": frozenset({"link", "headerHash"}),
}

TENANT = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
"""The form of names of tenants."""

_KIND = re.compile(r"[a-z]([a-z0-9-]{0,62})", re.ASCII)
_POLICY_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Link:
    """An entry's place in its stream.

    `seq` counts from 0. `prev` is the leaf hash of the stream's previous entry, or zeros. Salt,
    stream ID and `prev` are 32 bytes long.
    """

    salt: bytes
    stream_id: bytes
    seq: int
    prev: bytes


@dataclass(frozen=True, slots=True)
class SaltedHeader:
    """The unparsed bytes of a header, with its 32-byte salt."""

    salt: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class SaltedPayload:
    """A payload's 32-byte salt, and the payload if the receipt contains it."""

    salt: bytes
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A parsed receipt. `proof` is not parsed yet.

    `time` is in Unix milliseconds. Parts that the form does not have are None.
    """

    form: str
    tag: bytes
    time: int
    link: Link | None
    link_hash: bytes | None
    header: SaltedHeader | None
    header_hash: bytes | None
    payload: SaltedPayload | None
    proof: str

    @property
    def erased(self) -> tuple[str, ...]:
        """The parts that the receipt claims were erased."""
        parts = {"payload": self.payload, "header": self.header}
        return tuple(name for name in ("header", "payload") if parts[name] is None)


@dataclass(frozen=True, slots=True)
class Header:
    """A parsed header (entry.md, section 4).

    `members` is the whole JSON object. The other fields are the ones that verification needs:

    - `origin`, `tenant`, `kind`, `predicate_type`, `controls`, `signers`: as in the header.
    - `digests`: the digests of all subjects, as (algorithm, value) pairs.
    - `result`, `admission`: the results of the log's verification and of its admission policy.
    - `external_digests`, `external_size`: the evidence kept elsewhere. Size in bytes.
    - `commitment`, `payload_size`: the payload's commitment C (32 bytes) and its size in bytes.
    """

    members: Object
    origin: str
    tenant: str
    kind: str
    predicate_type: str | None
    digests: frozenset[tuple[str, str]]
    controls: frozenset[str]
    signers: tuple[Mapping[str, str], ...]
    result: str
    admission: str | None
    external_digests: frozenset[tuple[str, str]] | None
    external_size: int | None
    commitment: bytes
    payload_size: int


def parse_receipt(data: bytes) -> Receipt:
    """Parse a receipt, but not the contents of its header and proof (step 1).

    Raises FormatError with the code `receipt-malformed` or `receipt-version`.
    """
    members = parse_object(data)
    media_type = members.get("mediaType")
    if isinstance(media_type, str) and media_type != MEDIA_TYPE:
        raise FormatError(f"mediaType {quote(media_type)} is not {MEDIA_TYPE}", "receipt-version")
    form = members.get("form")
    if not isinstance(form, str) or form not in _FORMS:
        raise FormatError("receipt: member form is missing or unknown")
    as_members(members, "receipt", _COMMON | _FORMS[form])
    as_string(members["mediaType"], "mediaType")
    payload = _payload(members["payload"], form) if "payload" in members else None
    return Receipt(
        form=form,
        tag=as_hash(members["tag"], "tag"),
        time=as_integer(members["time"], "time"),
        link=_link(members["link"]) if "link" in members else None,
        link_hash=as_hash(members["linkHash"], "linkHash") if "linkHash" in members else None,
        header=_header(members["header"]) if "header" in members else None,
        header_hash=(
            as_hash(members["headerHash"], "headerHash") if "headerHash" in members else None
        ),
        payload=payload,
        proof=as_string(members["proof"], "proof", empty=True),
    )


def _link(value: Json) -> Link:
    members = as_members(value, "link", {"salt", "streamId", "seq", "prev"})
    return Link(
        salt=as_hash(members["salt"], "link.salt"),
        stream_id=as_hash(members["streamId"], "link.streamId"),
        seq=as_integer(members["seq"], "link.seq"),
        prev=as_hash(members["prev"], "link.prev"),
    )


def _header(value: Json) -> SaltedHeader:
    members = as_members(value, "header", {"salt", "content"})
    return SaltedHeader(
        salt=as_hash(members["salt"], "header.salt"),
        content=as_string(members["content"], "header.content", empty=True).encode("utf-8"),
    )


def _payload(value: Json, form: str) -> SaltedPayload:
    members = as_members(value, "payload", {"salt"}, {"content"})
    if form == "full" and "content" not in members:
        raise FormatError("payload: member content is required in the form full")
    if form == "detached" and "content" in members:
        raise FormatError("payload: member content is not allowed in the form detached")
    content = as_base64(members["content"], "payload.content") if "content" in members else None
    return SaltedPayload(salt=as_hash(members["salt"], "payload.salt"), content=content)


def parse_header(data: bytes) -> Header:
    """Parse a header. Unknown kinds are accepted.

    Raises FormatError with the code `header-malformed`.
    """
    try:
        return _parse_header(data)
    except FormatError as error:
        raise FormatError(error.message, "header-malformed") from None


_HEADER_REQUIRED = frozenset(
    {"origin", "tenant", "kind", "mediaType", "submitter", "verification", "payload"}
)
_HEADER_OPTIONAL = frozenset(
    {
        "subjects",
        "predicateType",
        "signers",
        "materials",
        "controls",
        "attributes",
        "external",
        "idempotencyKey",
        "admissionPolicy",
        "admission",
    }
)


def _parse_header(data: bytes) -> Header:
    if len(data) > MAX_HEADER_SIZE:
        raise FormatError(f"header exceeds {MAX_HEADER_SIZE} bytes")
    members = as_members(parse_object(data), "header", _HEADER_REQUIRED, _HEADER_OPTIONAL)
    for name in ("mediaType", "submitter", "predicateType", "idempotencyKey"):
        if name in members:
            as_string(members[name], name)
    if "admissionPolicy" in members:
        as_match(members["admissionPolicy"], "admissionPolicy", _POLICY_DIGEST)
    _artifacts(members, "materials")
    if "attributes" in members:
        as_strings(members["attributes"], "attributes")
    predicate_type = members.get("predicateType")
    external = _external(members["external"]) if "external" in members else None
    payload = as_members(members["payload"], "payload", {"commitment", "size"})
    return Header(
        members=members,
        origin=as_string(members["origin"], "origin"),
        tenant=as_match(members["tenant"], "tenant", TENANT),
        kind=as_match(members["kind"], "kind", _KIND),
        predicate_type=predicate_type if isinstance(predicate_type, str) else None,
        digests=_artifacts(members, "subjects"),
        controls=frozenset(as_string(c, "controls") for c in _optional_array(members, "controls")),
        signers=tuple(_signer(element) for element in _optional_array(members, "signers")),
        result=_verification(members["verification"]),
        admission=_admission(members["admission"]) if "admission" in members else None,
        external_digests=None if external is None else external[0],
        external_size=None if external is None else external[1],
        commitment=as_hash(payload["commitment"], "payload.commitment"),
        payload_size=as_integer(payload["size"], "payload.size"),
    )


def _optional_array(members: Object, name: str) -> list[Json]:
    """Return the elements of a non-empty array, or none if the member is absent."""
    return as_array(members[name], name) if name in members else []


def _signer(value: Json) -> Mapping[str, str]:
    members = as_members(value, "signers", frozenset(), {"identity", "issuer", "keyId"})
    if not members:
        raise FormatError("signers: an element must not be empty")
    return {name: as_string(text, f"signers.{name}") for name, text in members.items()}


def _verification(value: Json) -> str:
    """Check the member `verification` and return its result."""
    optional = {"format", "trustedRoot", "reason"}
    members = as_members(value, "verification", {"result"}, optional)
    for name, text in members.items():
        as_string(text, f"verification.{name}")
    if "trustedRoot" in members:
        as_match(members["trustedRoot"], "verification.trustedRoot", _POLICY_DIGEST)
    return _one_of(members["result"], "verification.result", ("verified", "unverified", "failed"))


def _admission(value: Json) -> str:
    """Check the member `admission` and return its result."""
    members = as_members(value, "admission", {"result"}, {"rule", "reason"})
    for name, text in members.items():
        as_string(text, f"admission.{name}")
    return _one_of(members["result"], "admission.result", ("admitted", "recorded"))


def _one_of(value: Json, where: str, choices: tuple[str, ...]) -> str:
    text = as_string(value, where)
    if text not in choices:
        raise FormatError(f"{where}: must be one of {', '.join(choices)}")
    return text


def _external(value: Json) -> tuple[frozenset[tuple[str, str]], int]:
    """Check the member `external` and return the evidence's digests and its size in bytes."""
    members = as_members(value, "external", {"digest", "size"}, {"location", "mediaType"})
    for name in ("location", "mediaType"):
        if name in members:
            as_string(members[name], f"external.{name}")
    digests = frozenset(as_strings(members["digest"], "external.digest").items())
    return digests, as_integer(members["size"], "external.size")


def _artifacts(members: Object, name: str) -> frozenset[tuple[str, str]]:
    """Check subjects or materials, and return their digests."""
    digests: set[tuple[str, str]] = set()
    for element in _optional_array(members, name):
        artifact = as_members(element, name, {"digest"}, {"name"})
        if "name" in artifact:
            as_string(artifact["name"], f"{name}.name")
        digests.update(as_strings(artifact["digest"], f"{name}.digest").items())
    return frozenset(digests)

"""Reading of receipts and headers (receipt.md, section 1; entry.md, section 4).

Nothing is hashed or verified here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import FormatError
from .proof import Proof, parse_proof
from .strictjson import (
    Json,
    as_array,
    as_base64,
    as_hash,
    as_integer,
    as_members,
    as_object,
    as_string,
    parse_object,
)

MEDIA_TYPE = "application/vnd.muniment.receipt.v1+json"

MAX_HEADER_SIZE = 1 << 20
"""Largest header, in bytes."""

_COMMON = frozenset({"mediaType", "form", "tag", "time", "proof"})
_FORMS: Mapping[str, frozenset[str]] = {
    "full": frozenset({"link", "header", "payload"}),
    "detached": frozenset({"link", "header", "payload"}),
    "shared": frozenset({"linkHash", "header", "payload"}),
    "payload-erased": frozenset({"link", "header"}),
    "header-erased": frozenset({"link", "headerHash"}),
}

_TENANT = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_KIND = re.compile(r"[a-z]([a-z0-9-]{0,62})", re.ASCII)
_POLICY_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Link:
    """Place in the stream: 32 bytes each of salt, stream ID and previous leaf hash, and seq."""

    salt: bytes
    stream_id: bytes
    seq: int
    prev: bytes


@dataclass(frozen=True, slots=True)
class SaltedHeader:
    """A header, byte for byte and not yet parsed, with its 32-byte salt."""

    salt: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class SaltedPayload:
    """A payload's 32-byte salt, and the payload if the receipt carries it."""

    salt: bytes
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A parsed receipt. Time is in Unix milliseconds; parts that the form lacks are None."""

    form: str
    tag: bytes
    time: int
    link: Link | None
    link_hash: bytes | None
    header: SaltedHeader | None
    header_hash: bytes | None
    payload: SaltedPayload | None
    proof: Proof

    @property
    def erased(self) -> bool:
        """Whether the form is one whose payload the log has erased."""
        return self.payload is None


@dataclass(frozen=True, slots=True)
class Header:
    """The members of a header that verification looks at.

    `digests` has an (algorithm, value) pair for each digest of each subject. `payload_size` is in
    bytes, `commitment` is C, 32 bytes.
    """

    origin: str
    tenant: str
    kind: str
    digests: frozenset[tuple[str, str]]
    commitment: bytes
    payload_size: int


def parse_receipt(data: bytes) -> Receipt:
    """Read a receipt, its proof included but not the header's content; FormatError if malformed."""
    members = parse_object(data)
    form = members.get("form")
    if not isinstance(form, str) or form not in _FORMS:
        raise FormatError("receipt: form missing or unknown")
    as_members(members, "receipt", _COMMON | _FORMS[form])
    if as_string(members["mediaType"], "mediaType") != MEDIA_TYPE:
        raise FormatError("mediaType is not that of a receipt of version 1")
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
        proof=parse_proof(as_string(members["proof"], "proof")),
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
        raise FormatError("payload: member content missing in form full")
    if form == "detached" and "content" in members:
        raise FormatError("payload: member content in form detached")
    content = members.get("content")
    return SaltedPayload(
        salt=as_hash(members["salt"], "payload.salt"),
        content=None if content is None else as_base64(content, "payload.content"),
    )


def parse_header(data: bytes) -> Header:
    """Read a header, or raise FormatError. Kinds that are not known are accepted."""
    if len(data) > MAX_HEADER_SIZE:
        raise FormatError(f"header is longer than {MAX_HEADER_SIZE} bytes")
    members = as_members(
        parse_object(data),
        "header",
        {"origin", "tenant", "kind", "mediaType", "submitter", "verification", "payload"},
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
        },
    )
    for name in ("origin", "mediaType", "submitter", "predicateType", "idempotencyKey"):
        if name in members:
            as_string(members[name], name)
    if "admissionPolicy" in members:
        _match(members["admissionPolicy"], "admissionPolicy", _POLICY_DIGEST)
    if "signers" in members:
        for element in as_array(members["signers"], "signers"):
            _check_signer(element)
    _check_verification(members["verification"])
    if "admission" in members:
        _check_admission(members["admission"])
    if "materials" in members:
        for element in as_array(members["materials"], "materials"):
            _artifact(element, "materials")
    if "controls" in members:
        for element in as_array(members["controls"], "controls"):
            as_string(element, "controls")
    if "attributes" in members:
        _strings(members["attributes"], "attributes")
    if "external" in members:
        _check_external(members["external"])
    payload = as_members(members["payload"], "payload", {"commitment", "size"})
    digests: set[tuple[str, str]] = set()
    if "subjects" in members:
        for element in as_array(members["subjects"], "subjects"):
            digests.update(_artifact(element, "subjects").items())
    return Header(
        origin=as_string(members["origin"], "origin"),
        tenant=_match(members["tenant"], "tenant", _TENANT),
        kind=_match(members["kind"], "kind", _KIND),
        digests=frozenset(digests),
        commitment=as_hash(payload["commitment"], "payload.commitment"),
        payload_size=as_integer(payload["size"], "payload.size"),
    )


def _match(value: Json, where: str, pattern: re.Pattern[str]) -> str:
    text = as_string(value, where)
    if pattern.fullmatch(text) is None:
        raise FormatError(f"{where}: not of the form that is asked for")
    return text


def _check_signer(value: Json) -> None:
    members = as_members(value, "signers", frozenset(), {"identity", "issuer", "keyId"})
    if not members:
        raise FormatError("signers: empty object")
    for name, text in members.items():
        as_string(text, f"signers.{name}")


def _check_verification(value: Json) -> None:
    optional = {"format", "trustedRoot", "reason"}
    members = as_members(value, "verification", {"result"}, optional)
    for name, text in members.items():
        as_string(text, f"verification.{name}")
    if members["result"] not in ("verified", "unverified", "failed"):
        raise FormatError("verification.result is not known")
    if "trustedRoot" in members:
        _match(members["trustedRoot"], "verification.trustedRoot", _POLICY_DIGEST)


def _check_admission(value: Json) -> None:
    members = as_members(value, "admission", {"result"}, {"rule", "reason"})
    for name, text in members.items():
        as_string(text, f"admission.{name}")
    if members["result"] not in ("admitted", "recorded"):
        raise FormatError("admission.result is not known")


def _check_external(value: Json) -> None:
    members = as_members(value, "external", {"digest", "size"}, {"location", "mediaType"})
    _strings(members["digest"], "external.digest")
    as_integer(members["size"], "external.size")
    for name in ("location", "mediaType"):
        if name in members:
            as_string(members[name], f"external.{name}")


def _artifact(value: Json, where: str) -> dict[str, str]:
    """Check an element of subjects or materials, and return its digests."""
    members = as_members(value, where, {"digest"}, {"name"})
    if "name" in members:
        as_string(members["name"], f"{where}.name")
    return _strings(members["digest"], f"{where}.digest")


def _strings(value: Json, where: str) -> dict[str, str]:
    """Check an object of strings; neither it nor a name nor a string in it may be empty."""
    members = as_object(value, where)
    if not members:
        raise FormatError(f"{where}: empty object")
    if "" in members:
        raise FormatError(f"{where}: a member without a name")
    return {name: as_string(text, where) for name, text in members.items()}

"""What the caller expects of an entry (receipt.md, section 4, step 10)."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from . import hashes
from .digest import Digest, parse_digest
from .encoding import HASH_SIZE
from .errors import CallerError, NotVerified
from .receipt import Header, Receipt
from .strictjson import quote

_STREAM_ID = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)

ByteSource = bytes | bytearray | memoryview | Iterable[bytes]
"""Bytes, or pieces of them that are read once, so that a large file need not be in memory."""


def pieces(source: ByteSource) -> Iterable[bytes]:
    """Return the pieces of a byte source."""
    return [bytes(source)] if isinstance(source, bytes | bytearray | memoryview) else source


@dataclass(frozen=True, slots=True)
class Expectations:
    """Expectations, None or False where absent. See `verify` for their meaning."""

    tenant: str | None
    kind: str | None
    subject: Digest | None
    predicate_type: str | None
    control: str | None
    require_verified: bool
    signer: str | None
    issuer: str | None
    admitted: bool
    stream: bytes | None
    stream_key: bytes | None
    external: ByteSource | None

    def check(self, receipt: Receipt, header: Header | None) -> bytes | None:
        """Raise NotVerified if one is not met; return the SHA-256 of `external` if it is given."""
        if header is not None:
            self._check_header(header)
        elif self._concern_header():
            _refuse("header-erased", "the header, of which something is expected, is erased")
        self._check_stream(receipt)
        if self.external is None or header is None:
            return None
        return _check_external(header, self.external)

    def _concern_header(self) -> bool:
        texts = (self.tenant, self.kind, self.subject, self.predicate_type, self.control)
        others = (self.signer, self.issuer, self.external)
        return (
            self.require_verified
            or self.admitted
            or any(expected is not None for expected in (*texts, *others))
        )

    def _check_header(self, header: Header) -> None:
        if self.tenant is not None and header.tenant != self.tenant:
            _refuse("tenant-mismatch", f"the tenant is {header.tenant}")
        if self.kind is not None and header.kind != self.kind:
            _refuse("kind-mismatch", f"the kind is {header.kind}")
        if self.subject is not None and not self.subject.is_among(header.digests):
            _refuse("subject-mismatch", "the expected subject is not among the header's")
        if self.predicate_type is not None and header.predicate_type != self.predicate_type:
            found = header.predicate_type
            reason = "there is no predicate type" if found is None else f"it is {quote(found)}"
            _refuse("predicate-type-mismatch", reason)
        if self.control is not None and self.control not in header.controls:
            _refuse("control-mismatch", "the expected control is not among the header's")
        who = self.signer is not None or self.issuer is not None
        if (self.require_verified or who) and header.result != "verified":
            _refuse(
                "signature-unverified", f"the log's verification has the result {header.result}"
            )
        if who and not self._has_signer(header):
            _refuse("signer-mismatch", "no signer has the expected identity, key or issuer")
        if self.admitted and header.admission != "admitted":
            _refuse("not-admitted", "no admission policy admitted the entry")

    def _has_signer(self, header: Header) -> bool:
        return any(
            (self.signer is None or self.signer in (s.get("identity"), s.get("keyId")))
            and (self.issuer is None or self.issuer == s.get("issuer"))
            for s in header.signers
        )

    def _check_stream(self, receipt: Receipt) -> None:
        if self.stream is None and self.stream_key is None:
            return
        link = receipt.link
        if link is None:
            _refuse("link-hidden", "a stream is expected, and the receipt hides its stream")
        if self.stream is not None and link.stream_id != self.stream:
            _refuse("stream-mismatch", "the entry is of another stream")
        if self.stream_key is not None:
            if link.stream_id != hashes.stream_id(self.stream_key):
                _refuse("stream-mismatch", "the entry is of another stream than the key's")
            if receipt.tag != hashes.tag(self.stream_key, link.seq):
                _refuse("tag-mismatch", "the tag is not that of the key and the sequence number")


def parse_expectations(
    *,
    tenant: str | None = None,
    kind: str | None = None,
    subject: str | None = None,
    predicate_type: str | None = None,
    control: str | None = None,
    require_verified: bool = False,
    signer: str | None = None,
    issuer: str | None = None,
    admitted: bool = False,
    stream: str | None = None,
    stream_key: bytes | None = None,
    external: ByteSource | None = None,
) -> Expectations:
    """Return the expectations, or raise CallerError if one of them is malformed."""
    if stream_key is not None and len(stream_key) != HASH_SIZE:
        raise CallerError("stream-key-malformed", f"stream_key is not {HASH_SIZE} bytes long")
    texts = {
        "tenant": tenant,
        "kind": kind,
        "subject": subject,
        "predicate_type": predicate_type,
        "control": control,
        "signer": signer,
        "issuer": issuer,
        "stream": stream,
    }
    for name, text in texts.items():
        if text == "":
            reason = f"{name} is empty: leave it out if any will do"
            raise CallerError("expectation-malformed", reason)
    if stream is not None and _STREAM_ID.fullmatch(stream) is None:
        raise CallerError("expectation-malformed", "stream must be 64 hexadecimal digits")
    return Expectations(
        tenant=tenant,
        kind=kind,
        subject=None if subject is None else parse_digest(subject),
        predicate_type=predicate_type,
        control=control,
        require_verified=require_verified,
        signer=signer,
        issuer=issuer,
        admitted=admitted,
        stream=None if stream is None else bytes.fromhex(stream),
        stream_key=stream_key,
        external=external,
    )


def _refuse(code: str, message: str) -> NoReturn:
    raise NotVerified(code, message)


def _check_external(header: Header, evidence: ByteSource) -> bytes:
    if header.external_digests is None:
        _refuse(
            "external-unexpected", "the entry refers to no evidence: its payload is the evidence"
        )
    digest = hashlib.sha256()
    size = 0
    for piece in pieces(evidence):
        digest.update(piece)
        size += len(piece)
    if size != header.external_size:
        _refuse("external-mismatch", f"the evidence has {size} bytes, not {header.external_size}")
    if not Digest("sha256", digest.hexdigest()).is_among(header.external_digests):
        _refuse("external-mismatch", f"the evidence has the digest sha256:{digest.hexdigest()}")
    return digest.digest()

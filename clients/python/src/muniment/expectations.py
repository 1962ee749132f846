"""The caller's expectations (receipt.md, section 4, step 10)."""

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
"""Bytes, or an iterable of their pieces, which need not fit in memory. It is read once."""


def pieces(source: ByteSource) -> Iterable[bytes]:
    """Return the pieces of a byte source."""
    return [bytes(source)] if isinstance(source, bytes | bytearray | memoryview) else source


@dataclass(frozen=True, slots=True)
class Expectations:
    """Expectations. None and False expect nothing. `verify` documents their meaning."""

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
        """Raise NotVerified if an expectation is not met.

        Returns the SHA-256 of `external`, or None if that was not given.
        """
        if header is not None:
            self._check_header(header)
        elif self._concern_header():
            _refuse("header-erased", "the header is erased, so expectations cannot be checked")
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
            _refuse("tenant-mismatch", f"the entry belongs to the tenant {header.tenant}")
        if self.kind is not None and header.kind != self.kind:
            _refuse("kind-mismatch", f"the entry is of kind {header.kind}")
        if self.subject is not None and not self.subject.is_among(header.digests):
            _refuse("subject-mismatch", "the expected subject is not among the entry's subjects")
        if self.predicate_type is not None and header.predicate_type != self.predicate_type:
            found = header.predicate_type
            has = "no predicate type" if found is None else f"the predicate type {quote(found)}"
            _refuse("predicate-type-mismatch", f"the entry has {has}")
        if self.control is not None and self.control not in header.controls:
            _refuse("control-mismatch", "the expected control is not among the entry's controls")
        who = self.signer is not None or self.issuer is not None
        if (self.require_verified or who) and header.result != "verified":
            reason = f"the log did not verify the signatures: its result is {header.result}"
            _refuse("signature-unverified", reason)
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
            _refuse("link-hidden", "a shared receipt hides the stream, so it cannot be checked")
        if self.stream is not None and link.stream_id != self.stream:
            _refuse("stream-mismatch", "the entry belongs to another stream")
        if self.stream_key is not None:
            if link.stream_id != hashes.stream_id(self.stream_key):
                _refuse("stream-mismatch", "the entry does not belong to the key's stream")
            if receipt.tag != hashes.tag(self.stream_key, link.seq):
                reason = f"the tag is not the one of entry {link.seq} of the stream"
                _refuse("tag-mismatch", reason)


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
        raise CallerError("stream-key-malformed", f"stream_key: must be {HASH_SIZE} bytes long")
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
            reason = f"{name}: must not be empty; omit it to accept any value"
            raise CallerError("expectation-malformed", reason)
    if stream is not None and _STREAM_ID.fullmatch(stream) is None:
        raise CallerError("expectation-malformed", "stream: must be 64 hexadecimal digits")
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
        reason = "the entry's payload is the evidence itself, not a reference to it"
        _refuse("external-unexpected", reason)
    digest = hashlib.sha256()
    size = 0
    for piece in pieces(evidence):
        digest.update(piece)
        size += len(piece)
    if size != header.external_size:
        reason = f"the evidence has {size} bytes; the header records {header.external_size}"
        _refuse("external-mismatch", reason)
    if not Digest("sha256", digest.hexdigest()).is_among(header.external_digests):
        reason = f"the header does not record the evidence's digest sha256:{digest.hexdigest()}"
        _refuse("external-mismatch", reason)
    return digest.digest()

"""Bodies of log entries (sigstore-verification.md, section 6)."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import FormatError
from ..strictjson import Json, Object, parse_object
from . import members as m


@dataclass(frozen=True, slots=True)
class Body:
    """What a body is about. `verifier` is the DER of a certificate or key, None if it is none."""

    signature: bytes
    verifier: bytes | None
    is_key: bool
    algorithm: str
    digest: bytes


def _verifier(pem: bytes) -> tuple[bytes | None, bool]:
    try:
        label, der = m.read_pem(pem)
    except FormatError:
        return None, False
    return der, label == "PUBLIC KEY"


def _hash(value: m.Value, where: str) -> tuple[str, bytes]:
    found = m.fields(value, where)
    digits = m.text(found.get("value"), f"{where}.value")
    algorithm = m.text(found.get("algorithm"), f"{where}.algorithm")
    try:
        if any(c.isspace() for c in digits):
            raise ValueError
        return algorithm, bytes.fromhex(digits)
    except ValueError:
        raise FormatError(f"{where}: not hexadecimal") from None


def _hashedrekord(spec: Object) -> Body:
    signature = m.fields(spec.get("signature"), "spec.signature")
    key = m.fields(signature.get("publicKey"), "spec.signature.publicKey").get("content")
    data = m.fields(spec.get("data"), "spec.data")
    return Body(
        m.binary(signature.get("content"), "spec.signature.content"),
        *_verifier(m.binary(key, "spec.signature.publicKey.content")),
        *_hash(data.get("hash"), "spec.data.hash"),
    )


def _dsse(spec: Object) -> Body:
    signature = m.only(spec.get("signatures"), "spec.signatures")
    return Body(
        m.binary(signature.get("signature"), "spec.signatures.signature"),
        *_verifier(m.binary(signature.get("verifier"), "spec.signatures.verifier")),
        *_hash(spec.get("payloadHash"), "spec.payloadHash"),
    )


def _intoto(spec: Object) -> Body:
    content = m.fields(spec.get("content"), "spec.content")
    envelope = m.fields(content.get("envelope"), "spec.content.envelope")
    signature = m.only(envelope.get("signatures"), "spec.content.envelope.signatures")
    where = "spec.content.envelope.signatures.sig"
    inner = m.binary(signature.get("sig"), where).decode("latin-1")
    return Body(
        m.binary(inner, where),
        *_verifier(m.binary(signature.get("publicKey"), "signatures.publicKey")),
        *_hash(content.get("payloadHash"), "spec.content.payloadHash"),
    )


def _hashedrekord_v2(spec: Object) -> Body:
    entry = m.fields(spec.get("hashedRekordV002"), "spec.hashedRekordV002")
    signature = m.fields(entry.get("signature"), "signature")
    verifier = m.fields(signature.get("verifier"), "signature.verifier")
    is_key = "publicKey" in verifier
    raw: Json = verifier.get("publicKey" if is_key else "x509Certificate")
    data = m.fields(entry.get("data"), "data")
    return Body(
        m.binary(signature.get("content"), "signature.content"),
        m.binary(m.fields(raw, "signature.verifier").get("rawBytes"), "rawBytes"),
        is_key,
        m.text(data.get("algorithm"), "data.algorithm"),
        m.binary(data.get("digest"), "data.digest"),
    )


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of entry: the forms of signatures it can have, and how to read its `spec`."""

    bare: bool
    envelope: bool
    read: Callable[[Object], Body]


KINDS: Mapping[tuple[str, str], Kind] = {
    ("hashedrekord", "0.0.1"): Kind(True, False, _hashedrekord),
    ("dsse", "0.0.1"): Kind(False, True, _dsse),
    ("intoto", "0.0.2"): Kind(False, True, _intoto),
    ("hashedrekord", "0.0.2"): Kind(True, True, _hashedrekord_v2),
}


def read_body(data: bytes, kind: str, version: str) -> Body:
    """Read a body of a kind in KINDS. Raises FormatError."""
    entry = m.fields(parse_object(data), "entry")
    found = m.text(entry.get("kind"), "kind"), m.text(entry.get("apiVersion"), "apiVersion")
    if found != (kind, version):
        raise FormatError("the body is of another kind or version")
    return KINDS[found].read(m.fields(entry.get("spec"), "spec"))


def canonical_v2(
    digest: bytes, signature: bytes, details: str, verifier: bytes, *, is_key: bool
) -> bytes:
    """Return the only body that an entry of Rekor v2 can have."""

    def b64(data: bytes) -> str:
        return base64.b64encode(data).decode("ascii")

    member = "publicKey" if is_key else "x509Certificate"
    return (
        '{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":'
        f'{{"algorithm":"SHA2_{8 * len(digest)}","digest":"{b64(digest)}"}},'
        f'"signature":{{"content":"{b64(signature)}","verifier":{{"keyDetails":"{details}",'
        f'"{member}":{{"rawBytes":"{b64(verifier)}"}}}}}}}}}}}}'
    ).encode("ascii")

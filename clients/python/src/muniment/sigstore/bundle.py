"""The bundle (sigstore-verification.md, section 2)."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import FormatError
from ..strictjson import Json, Object, parse_object
from . import members as m
from .errors import NotVerified

MAX_SIZE = 256 << 20
"""Size limit of bundles, in bytes."""

_MAX_ENTRIES = 32
_MAX_STAMPS = 32
_MAX_CHAIN = 16
_MAX_HASHES = 63

MEDIA_TYPE_PREFIX = "application/vnd.dev.sigstore.bundle"
"""What the media types of all versions of bundles begin with."""

_VERSIONS: Mapping[str, int] = {
    f"{MEDIA_TYPE_PREFIX}+json;version=0.1": 1,
    f"{MEDIA_TYPE_PREFIX}+json;version=0.2": 2,
    f"{MEDIA_TYPE_PREFIX}+json;version=0.3": 3,
    f"{MEDIA_TYPE_PREFIX}.v0.3+json": 3,
}


@dataclass(frozen=True, slots=True)
class Proof:
    """An inclusion proof. `checkpoint` is empty if it is absent."""

    checkpoint: str
    root: bytes
    size: int
    index: int
    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a transparency log. `integrated_time` is in Unix seconds, 0 if absent."""

    log: bytes
    kind: str
    version: str
    body: bytes
    index: int
    integrated_time: int
    promise: bytes | None
    proof: Proof | None

    @property
    def is_v2(self) -> bool:
        """Whether the entry is one of Rekor v2."""
        return (self.kind, self.version) == ("hashedrekord", "0.0.2")


@dataclass(frozen=True, slots=True)
class Bare:
    """A bare signature over an artifact."""

    algorithm: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """The content of a DSSE envelope."""

    payload_type: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Bundle:
    """A parsed bundle. `certificate` is None if it was signed with a key."""

    certificate: bytes | None
    entries: tuple[Entry, ...]
    stamps: tuple[bytes, ...]
    signature: bytes
    content: Bare | Envelope


def parse_bundle(data: bytes) -> Bundle:
    """Perform step 1. Raises NotVerified."""
    if len(data) > MAX_SIZE:
        raise NotVerified("bundle-malformed", f"the bundle exceeds {MAX_SIZE} bytes")
    try:
        tree = parse_object(data)
        media_type = tree.get("mediaType")
        version = _VERSIONS.get(media_type, 0) if isinstance(media_type, str) else 0
        if isinstance(media_type, str) and version == 0:
            raise NotVerified("bundle-version", "unsupported media type")
        bundle = _parse(tree, version)
    except FormatError as error:
        raise NotVerified("bundle-malformed", error.message) from None
    for entry in bundle.entries:
        _check_entry(entry, version)
    return bundle


def _parse(tree: Json, version: int) -> Bundle:
    names = {"mediaType", "verificationMaterial", "messageSignature", "dsseEnvelope"}
    top = m.fields(tree, "bundle", names)
    m.text(top.get("mediaType"), "mediaType")
    if ("messageSignature" in top) == ("dsseEnvelope" in top):
        raise FormatError("must have either messageSignature or dsseEnvelope")
    names = {
        "certificate",
        "x509CertificateChain",
        "publicKey",
        "tlogEntries",
        "timestampVerificationData",
    }
    material = m.fields(top.get("verificationMaterial"), "verificationMaterial", names)
    certificate = _signer(material, version)
    entries = tuple(
        _entry(value, f"tlogEntries[{i}]")
        for i, value in enumerate(m.items(material.get("tlogEntries"), "tlogEntries", _MAX_ENTRIES))
    )
    stamps = _stamps(material.get("timestampVerificationData"))
    if "messageSignature" in top:
        signature, content = _bare(top["messageSignature"])
        return Bundle(certificate, entries, stamps, signature, content)
    signature, envelope = _envelope(top["dsseEnvelope"])
    return Bundle(certificate, entries, stamps, signature, envelope)


def _signer(material: Object, version: int) -> bytes | None:
    kinds = [k for k in ("certificate", "x509CertificateChain", "publicKey") if k in material]
    if len(kinds) != 1:
        raise FormatError("verificationMaterial: must have exactly one certificate, chain or key")
    where = kinds[0]
    if where == "certificate":
        return certificate(material[where], where)
    if where == "publicKey":
        hint = m.fields(material[where], where, {"hint"}).get("hint")
        m.optional_text(hint, "publicKey.hint")
        return None
    if version == 3:
        raise FormatError("a bundle of version 0.3 has no x509CertificateChain")
    return chain(material[where], where)[0]


def certificate(value: Json, where: str) -> bytes:
    """Return the DER of a certificate. Raises FormatError."""
    return m.binary(m.fields(value, where, {"rawBytes"}).get("rawBytes"), f"{where}.rawBytes")


def chain(value: m.Value, where: str) -> list[bytes]:
    """Return the DER of the certificates of a chain. Raises FormatError."""
    certificates = m.fields(value, where, {"certificates"}).get("certificates")
    found = [certificate(item, where) for item in m.items(certificates, where, _MAX_CHAIN)]
    if not found:
        raise FormatError(f"{where}: no certificates")
    return found


def _entry(value: Json, where: str) -> Entry:
    names = {
        "logId",
        "kindVersion",
        "canonicalizedBody",
        "logIndex",
        "integratedTime",
        "inclusionPromise",
        "inclusionProof",
    }
    entry = m.fields(value, where, names)
    kind = m.fields(entry.get("kindVersion"), f"{where}.kindVersion", {"kind", "version"})
    log = m.fields(entry.get("logId"), f"{where}.logId", {"keyId"}).get("keyId")
    promise = None
    if "inclusionPromise" in entry:
        stamp = "signedEntryTimestamp"
        promised = m.fields(entry["inclusionPromise"], f"{where}.inclusionPromise", {stamp})
        promise = m.binary(promised.get(stamp), f"{where}.inclusionPromise.{stamp}")
    return Entry(
        log=m.binary(log, f"{where}.logId.keyId"),
        kind=m.text(kind.get("kind"), f"{where}.kindVersion.kind"),
        version=m.text(kind.get("version"), f"{where}.kindVersion.version"),
        body=m.binary(entry.get("canonicalizedBody"), f"{where}.canonicalizedBody"),
        index=m.integer(entry.get("logIndex"), f"{where}.logIndex"),
        integrated_time=m.integer(entry.get("integratedTime"), f"{where}.integratedTime"),
        promise=promise,
        proof=_proof(entry["inclusionProof"], f"{where}.inclusionProof")
        if "inclusionProof" in entry
        else None,
    )


def _proof(value: Json, where: str) -> Proof:
    names = {"checkpoint", "rootHash", "treeSize", "logIndex", "hashes"}
    proof = m.fields(value, where, names)
    checkpoint = ""
    if "checkpoint" in proof:
        envelope = m.fields(proof["checkpoint"], f"{where}.checkpoint", {"envelope"})
        checkpoint = m.text(envelope.get("envelope"), f"{where}.checkpoint.envelope")
    hashes = m.items(proof.get("hashes"), f"{where}.hashes", _MAX_HASHES)
    return Proof(
        checkpoint=checkpoint,
        root=m.digest(proof.get("rootHash"), f"{where}.rootHash"),
        size=m.integer(proof.get("treeSize"), f"{where}.treeSize"),
        index=m.integer(proof.get("logIndex"), f"{where}.logIndex"),
        hashes=tuple(m.digest(item, f"{where}.hashes") for item in hashes),
    )


def _stamps(value: m.Value) -> tuple[bytes, ...]:
    if value is None:
        return ()
    where = "timestampVerificationData"
    stamps = m.fields(value, where, {"rfc3161Timestamps"}).get("rfc3161Timestamps")
    name = "signedTimestamp"
    return tuple(
        m.binary(m.fields(item, where, {name}).get(name), where)
        for item in m.items(stamps, where, _MAX_STAMPS)
    )


def _bare(value: Json) -> tuple[bytes, Bare]:
    where = "messageSignature"
    bare = m.fields(value, where, {"messageDigest", "signature"})
    where = "messageSignature.messageDigest"
    digest = m.fields(bare.get("messageDigest"), where, {"algorithm", "digest"})
    content = Bare(
        m.text(digest.get("algorithm"), f"{where}.algorithm"),
        m.binary(digest.get("digest"), f"{where}.digest"),
    )
    return m.binary(bare.get("signature"), "messageSignature.signature"), content


def _envelope(value: Json) -> tuple[bytes, Envelope]:
    where = "dsseEnvelope"
    envelope = m.fields(value, where, {"payload", "payloadType", "signatures"})
    payload = envelope.get("payload")
    content = Envelope(
        m.text(envelope.get("payloadType"), f"{where}.payloadType"),
        b"" if payload == "" else m.binary(payload, f"{where}.payload"),
    )
    signatures = m.items(envelope.get("signatures"), f"{where}.signatures", 1)
    if len(signatures) != 1:
        raise FormatError("dsseEnvelope.signatures: must be exactly one")
    signature = m.fields(signatures[0], f"{where}.signatures[0]", {"sig", "keyid"})
    m.optional_text(signature.get("keyid"), f"{where}.signatures[0].keyid")
    return m.binary(signature.get("sig"), f"{where}.signatures[0].sig"), content


def _check_entry(entry: Entry, version: int) -> None:
    if version == 1 and entry.promise is None:
        reason = "a bundle of version 0.1 must have an inclusion promise for each log entry"
        raise NotVerified("promise-missing", reason)
    if (version > 1 or entry.is_v2) and entry.proof is None:
        raise NotVerified("proof-missing", "a log entry has no inclusion proof")
    if entry.proof is not None and not entry.proof.checkpoint:
        raise NotVerified("proof-missing", "an inclusion proof has no checkpoint")

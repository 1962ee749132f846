"""The trusted root (sigstore-verification.md, section 3)."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ..errors import FormatError
from ..strictjson import Json, parse_object
from . import members as m
from .algorithms import Key, is_authority_key, load_key
from .bundle import chain
from .certificates import UNREADABLE, is_ca, load_certificate
from .keyform import info_of_pkcs1
from .urls import host_of

MAX_SIZE = 4 << 20
"""Size limit of a trusted root, in bytes."""

_MAX_ELEMENTS = 20_000
_MEDIA_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Period:
    """A period of time in Unix milliseconds, ends included. None is no limit."""

    start: int | None = None
    end: int | None = None

    def contains(self, time: int) -> bool:
        """Report whether a time is in the period."""
        return (self.start is None or self.start <= time) and (self.end is None or time <= self.end)


def milliseconds(time: datetime) -> int:
    """Return a time in Unix milliseconds, rounded down."""
    return int(time.replace(microsecond=0).timestamp()) * 1000 + time.microsecond // 1000


@dataclass(frozen=True, slots=True)
class Log:
    """A transparency log, of signatures or of certificates."""

    id: bytes
    host: str
    key: Key
    valid: Period


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority for certificates or timestamps. The last certificate is the anchor."""

    certificates: tuple[x509.Certificate, ...]
    valid: Period


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """The trusted logs and authorities."""

    logs: dict[bytes, Log]
    ct_logs: dict[bytes, Log]
    certificate_authorities: tuple[Authority, ...]
    timestamp_authorities: tuple[Authority, ...]


def parse_trusted_root(data: bytes) -> TrustedRoot:
    """Parse a trusted root. Raises FormatError."""
    if len(data) > MAX_SIZE:
        raise FormatError(f"the trusted root exceeds {MAX_SIZE} bytes")
    names = {"mediaType", "tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities"}
    top = m.fields(parse_object(data), "trusted root", names)
    if top.get("mediaType") != _MEDIA_TYPE:
        raise FormatError("unsupported media type")

    def logs(name: str) -> dict[bytes, Log]:
        found: dict[bytes, Log] = {}
        for item in m.items(top.get(name), name, _MAX_ELEMENTS):
            log = _log(item, name)
            if log.id in found:
                raise FormatError(f"{name}: two logs have the same ID")
            found[log.id] = log
        return found

    def authorities(name: str) -> tuple[Authority, ...]:
        found = m.items(top.get(name), name, _MAX_ELEMENTS)
        return tuple(_authority(item, name) for item in found)

    return TrustedRoot(
        logs("tlogs"),
        logs("ctlogs"),
        authorities("certificateAuthorities"),
        authorities("timestampAuthorities"),
    )


def _log(value: Json, where: str) -> Log:
    names = {"baseUrl", "hashAlgorithm", "publicKey", "logId", "checkpointKeyId", "operator"}
    log = m.fields(value, where, names)
    if log.get("hashAlgorithm") != "SHA2_256":
        raise FormatError(f"{where}: unsupported hash algorithm")
    m.optional_text(log.get("operator"), f"{where}.operator")
    if "checkpointKeyId" in log:
        m.binary(m.fields(log["checkpointKeyId"], where, {"keyId"}).get("keyId"), where)
    public = m.fields(log.get("publicKey"), where, {"rawBytes", "keyDetails", "validFor"})
    valid = _period(public.get("validFor"), where)
    if valid.start is None:
        raise FormatError(f"{where}: the validity of a key has no start")
    raw = m.binary(public.get("rawBytes"), f"{where}.publicKey.rawBytes")
    key_id = m.fields(log.get("logId"), f"{where}.logId", {"keyId"}).get("keyId")
    return Log(
        id=m.binary(key_id, f"{where}.logId.keyId"),
        host=host_of(m.optional_text(log.get("baseUrl"), f"{where}.baseUrl")),
        key=_key(raw, m.text(public.get("keyDetails"), f"{where}.keyDetails")),
        valid=valid,
    )


def _key(raw: bytes, details: str) -> Key:
    types = {
        "PKIX_ECDSA_P256_SHA_256": ec.EllipticCurvePublicKey,
        "PKIX_ECDSA_P384_SHA_384": ec.EllipticCurvePublicKey,
        "PKIX_ECDSA_P521_SHA_512": ec.EllipticCurvePublicKey,
        "PKIX_RSA_PKCS1V15_2048_SHA256": rsa.RSAPublicKey,
        "PKIX_RSA_PKCS1V15_3072_SHA256": rsa.RSAPublicKey,
        "PKIX_RSA_PKCS1V15_4096_SHA256": rsa.RSAPublicKey,
        "PKIX_ED25519": ed25519.Ed25519PublicKey,
        "PKCS1_RSA_PKCS1V5": rsa.RSAPublicKey,
    }
    key = load_key(info_of_pkcs1(raw) if details == "PKCS1_RSA_PKCS1V5" else raw)
    if details not in types or not isinstance(key, types[details]):
        raise FormatError("the key is not of the type in keyDetails")
    return key


def _authority(value: Json, where: str) -> Authority:
    names = {"subject", "uri", "certChain", "validFor", "operator"}
    authority = m.fields(value, where, names)
    for name in ("uri", "operator"):
        m.optional_text(authority.get(name), f"{where}.{name}")
    if "subject" in authority:
        subject = m.fields(authority["subject"], where, {"organization", "commonName"})
        for item in subject.values():
            m.optional_text(item, f"{where}.subject")
    try:
        certificates = tuple(
            load_certificate(der) for der in chain(authority.get("certChain"), f"{where}.certChain")
        )
    except UNREADABLE as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{where}: a certificate cannot be read") from error
    if not all(is_authority_key(certificate.public_key()) for certificate in certificates):
        raise FormatError(f"{where}: a certificate's key is of an unsupported type")
    if not is_ca(certificates[-1]):
        raise FormatError(f"{where}: the last certificate is not a CA")
    return Authority(certificates, _period(authority.get("validFor"), where))


def _period(value: m.Value, where: str) -> Period:
    if value is None:
        return Period()
    period = m.fields(value, where, {"start", "end"})

    def time(name: str) -> int | None:
        if name not in period:
            return None
        match = _TIME.fullmatch(m.text(period[name], where))
        try:
            if match is None:
                raise ValueError
            whole = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
        except ValueError:
            raise FormatError(f"{where}: must be a time such as 2026-01-02T03:04:05Z") from None
        return milliseconds(whole) + int(f"{(match[2] or '.')[1:]:0<3}"[:3])

    return Period(time("start"), time("end"))

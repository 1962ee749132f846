"""Certificates and paths (sigstore-verification.md, sections 8 and 10)."""

from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat import asn1
from cryptography.x509.oid import ExtensionOID

from .certificates import UNREADABLE, extension_of, is_ca, names_of
from .trustedroot import Authority, milliseconds

CODE_SIGNING = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.3")
TIME_STAMPING = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.8")
_ANY_USAGE = x509.ObjectIdentifier("2.5.29.37.0")
_OTHER_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
_ISSUER_V1 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")

_CRITICAL = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}
_SIGNATURES = {
    "1.2.840.10045.4.3.2",  # ECDSA with SHA-256, SHA-384 and SHA-512
    "1.2.840.10045.4.3.3",
    "1.2.840.10045.4.3.4",
    "1.2.840.113549.1.1.11",  # RSA PKCS #1 v1.5 with SHA-256, SHA-384 and SHA-512
    "1.2.840.113549.1.1.12",
    "1.2.840.113549.1.1.13",
    "1.3.101.112",  # Ed25519
}


def is_valid_at(certificate: x509.Certificate, time: int) -> bool:
    """Report whether a time in Unix milliseconds is in the certificate's period of validity."""
    start = milliseconds(certificate.not_valid_before_utc)
    return start <= time <= milliseconds(certificate.not_valid_after_utc)


def find_path(
    certificate: x509.Certificate,
    authority: Authority,
    purpose: x509.ObjectIdentifier,
    time: int,
    more: Iterable[x509.Certificate] = (),
) -> list[x509.Certificate] | None:
    """Return the path to the authority's anchor, None if there is none.

    `time` is in Unix milliseconds. Certificates of `more` can be part of the path.
    """
    *intermediates, anchor = authority.certificates
    usage = extension_of(certificate, x509.ExtendedKeyUsage)
    if is_ca(certificate) or usage is None or purpose not in usage:
        return None
    if not _is_usable(certificate, time):
        return None
    candidates = [anchor, *(c for c in (*intermediates, *more) if c != certificate)]
    return _extend([certificate], candidates, anchor, purpose, time)


def _extend(
    path: list[x509.Certificate],
    candidates: Sequence[x509.Certificate],
    anchor: x509.Certificate,
    purpose: x509.ObjectIdentifier,
    time: int,
) -> list[x509.Certificate] | None:
    for issuer in candidates:
        if issuer in path or not _issued(path, issuer, purpose, time):
            continue
        longer = [*path, issuer]
        if issuer == anchor:
            return longer
        found = _extend(longer, candidates, anchor, purpose, time)
        if found is not None:
            return found
    return None


def _is_usable(certificate: x509.Certificate, time: int) -> bool:
    if not is_valid_at(certificate, time):
        return False
    return all(e.oid in _CRITICAL for e in certificate.extensions if e.critical)


def _issued(
    path: list[x509.Certificate],
    issuer: x509.Certificate,
    purpose: x509.ObjectIdentifier,
    time: int,
) -> bool:
    child = path[-1]
    if names_of(child).issuer != names_of(issuer).subject or not _is_usable(issuer, time):
        return False
    basic = extension_of(issuer, x509.BasicConstraints)
    if basic is None or not basic.ca:
        return False
    if basic.path_length is not None and basic.path_length < len(path) - 1:
        return False
    key_usage = extension_of(issuer, x509.KeyUsage)
    if key_usage is not None and not key_usage.key_cert_sign:
        return False
    usage = extension_of(issuer, x509.ExtendedKeyUsage)
    if usage is not None and purpose not in usage and _ANY_USAGE not in usage:
        return False
    if child.signature_algorithm_oid.dotted_string not in _SIGNATURES:
        return False
    try:
        child.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def subject_name(certificate: x509.Certificate) -> str:
    """Return the name of a certificate's holder, empty if it has none."""
    names = extension_of(certificate, x509.SubjectAlternativeName)
    if names is None:
        return ""
    for kind in (x509.UniformResourceIdentifier, x509.RFC822Name):
        values = [value for value in names.get_values_for_type(kind) if value]
        if values:
            return values[0]
    for other in names.get_values_for_type(x509.OtherName):
        if other.type_id == _OTHER_NAME:
            return _utf8_string(other.value)
    return ""


def issuer_name(certificate: x509.Certificate) -> str:
    """Return the OIDC issuer of a certificate, empty if it has none."""
    for oid in (_ISSUER_V2, _ISSUER_V1):
        try:
            extension = certificate.extensions.get_extension_for_oid(oid).value
        except x509.ExtensionNotFound:
            continue
        if not isinstance(extension, x509.UnrecognizedExtension):
            return ""
        if oid == _ISSUER_V2:
            return _utf8_string(extension.value)
        return extension.value.decode("utf-8", "replace")
    return ""


def _utf8_string(der: bytes) -> str:
    try:
        return asn1.decode_der(str, der)
    except ValueError:
        return ""

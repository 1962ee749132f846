"""X.509 certificates (sigstore-verification.md, section 8)."""

from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat import asn1

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
)
"""The errors of certificates that cannot be read."""


@dataclass(frozen=True, slots=True)
class Names:
    """The DER of the names and the serial number of a certificate."""

    issuer: bytes
    serial: int
    subject: bytes


@asn1.sequence
class _Head:
    # The names of a TBSCertificate. asn1 has no open sequences, so that the
    # rest is listed too.
    version: asn1.TLV
    serial: int
    algorithm: asn1.TLV
    issuer: asn1.TLV
    validity: asn1.TLV
    subject: asn1.TLV
    public_key: asn1.TLV
    extensions: asn1.TLV


@asn1.sequence
class _Whole:
    tbs: _Head
    algorithm: asn1.TLV
    signature: asn1.BitString


def load_certificate(der: bytes) -> x509.Certificate:
    """Read a certificate of version 3 as a whole. Raises one of UNREADABLE."""
    certificate = x509.load_der_x509_certificate(der)
    certificate.extensions  # noqa: B018 - they are parsed now, not when they are used
    certificate.public_key()
    _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    _ = certificate.issuer, certificate.subject
    whole = asn1.decode_der(_Whole, der)
    if asn1.encode_der(whole.algorithm) != asn1.encode_der(whole.tbs.algorithm):
        raise ValueError("two signature algorithms")
    if certificate.version != x509.Version.v3 or whole.tbs.extensions.tag_bytes != b"\xa3":
        raise ValueError("not a certificate of version 3 with extensions")
    return certificate


def names_of(certificate: x509.Certificate) -> Names:
    """Return the names of a certificate of version 3 with extensions. Raises ValueError."""
    head = asn1.decode_der(_Head, certificate.tbs_certificate_bytes)
    return Names(asn1.encode_der(head.issuer), head.serial, asn1.encode_der(head.subject))


def is_ca(certificate: x509.Certificate) -> bool:
    """Report whether a certificate is a CA."""
    basic = extension_of(certificate, x509.BasicConstraints)
    return basic is not None and basic.ca


def extension_of(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """Return an extension of a certificate, None if it has none."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None

"""Signed certificate timestamps (sigstore-verification.md, section 9)."""

import hashlib
import struct

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.certificate_transparency import SignedCertificateTimestamp, Version

from .algorithms import signed_by
from .trustedroot import Log, milliseconds


def has_scts(certificate: x509.Certificate) -> bool:
    """Report whether a certificate has the extension with timestamps."""
    return any(
        e.oid == x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2") for e in certificate.extensions
    )


def has_valid_sct(path: list[x509.Certificate], logs: dict[bytes, Log]) -> bool:
    """Report whether a log signed that it includes the first certificate of a path."""
    certificate, issuer = path[:2]
    kind = x509.PrecertificateSignedCertificateTimestamps
    found = certificate.extensions.get_extension_for_class(kind).value
    issuer_key = issuer.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    tbs = certificate.tbs_precertificate_bytes
    head = hashlib.sha256(issuer_key).digest() + len(tbs).to_bytes(3, "big")
    return any(_is_valid(sct, head + tbs, logs) for sct in found)


def _is_valid(sct: SignedCertificateTimestamp, entry: bytes, logs: dict[bytes, Log]) -> bool:
    log = logs.get(sct.log_id)
    time = milliseconds(sct.timestamp)
    if log is None or not log.valid.contains(time) or sct.version != Version.v1:
        return False
    if not isinstance(log.key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        return False
    extensions = sct.extension_bytes
    # version, certificate_timestamp, time, precert_entry, entry, extensions
    message = struct.pack(">BBQH", 0, 0, time, 1) + entry
    message += struct.pack(">H", len(extensions)) + extensions
    if not isinstance(sct.signature_hash_algorithm, SHA256):
        return False
    return signed_by(log.key, "sha256", message, sct.signature)

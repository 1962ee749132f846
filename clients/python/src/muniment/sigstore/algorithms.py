"""Keys and signatures (sigstore-verification.md, section 4)."""

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from ..errors import FormatError
from .keyform import check_form
from .members import read_pem

Key = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
"""A public key of a supported type."""

HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}

SIGSTORE_HASHES = {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}
"""Maps Sigstore's names of hashes to those of HASHES."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """What a key's type determines: its name in Rekor v2, and its hashes, the usual one first.

    Both are empty for Ed25519.
    """

    details: str
    hashes: tuple[str, ...]


_CURVES = {
    "secp256r1": Algorithm("PKIX_ECDSA_P256_SHA_256", ("sha256",)),
    "secp384r1": Algorithm("PKIX_ECDSA_P384_SHA_384", ("sha384", "sha256")),
    "secp521r1": Algorithm("PKIX_ECDSA_P521_SHA_512", ("sha512", "sha256")),
}


def algorithm_of(key: object) -> Algorithm | None:
    """Return the algorithm of a key, None if its type is not supported."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name)
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in (2048, 3072, 4096):
        return Algorithm(f"PKIX_RSA_PKCS1V15_{key.key_size}_SHA256", ("sha256",))
    if isinstance(key, ed25519.Ed25519PublicKey):
        return Algorithm("", ())
    return None


def is_authority_key(key: object) -> bool:
    """Report whether authorities can have the key. They can have RSA keys of any size."""
    return isinstance(key, rsa.RSAPublicKey) or algorithm_of(key) is not None


def load_key(der: bytes) -> Key:
    """Read a SubjectPublicKeyInfo. Raises FormatError if it is not of a supported type.

    Its encoding must be the usual one.
    """
    check_form(der)
    try:
        key = serialization.load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        raise FormatError("not a public key") from None
    if isinstance(key, Key) and algorithm_of(key) is not None:
        return key
    raise FormatError("the key's type is not supported")


def read_key(pem: bytes) -> Key:
    """Read the PEM form of a SubjectPublicKeyInfo, such as cosign.pub. Raises FormatError."""
    label, der = read_pem(pem)
    if label != "PUBLIC KEY":
        raise FormatError("not a public key")
    return load_key(der)


def spki(key: Key) -> bytes:
    """Return the SubjectPublicKeyInfo of a key."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def signed_by(key: object, algorithm: str | None, message: bytes, signature: bytes) -> bool:
    """Report whether the key made the signature.

    `algorithm` is a key of HASHES, or None for Ed25519.
    """
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            if algorithm is not None:
                return False
            key.verify(signature, message)
        elif algorithm is None:
            return False
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(HASHES[algorithm]))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), HASHES[algorithm])
        else:
            return False
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


def digest(algorithm: str, data: bytes) -> bytes:
    """Return a digest by an algorithm of HASHES."""
    return hashlib.new(algorithm, data).digest()

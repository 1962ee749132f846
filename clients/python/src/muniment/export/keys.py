"""Public keys of signers (export-manifest.md, section 7, step 2)."""

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from ..errors import FormatError
from ..sigstore.errors import CallerError
from ..sigstore.members import read_pem

_CURVES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
_MIN_RSA, _MAX_RSA = 2048, 8192


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key: Ed25519, ECDSA on P-256, P-384 or P-521, or RSA of 2,048 to 8,192 bits.

    `id` is `sha256:` and the digest of its SubjectPublicKeyInfo.
    """

    id: str
    key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey

    @staticmethod
    def parse(pem: bytes) -> "PublicKey":
        """Parse the PEM form of a SubjectPublicKeyInfo, such as cosign.pub.

        Raises `muniment.sigstore.CallerError` with the code `key-malformed`.
        """
        try:
            label, der = read_pem(pem)
            if label != "PUBLIC KEY":
                raise FormatError("not a public key")
            key = serialization.load_der_public_key(der)
        except (FormatError, ValueError, UnsupportedAlgorithm):
            raise CallerError("key-malformed", "not a public key in PEM") from None
        if not isinstance(
            key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
        ):
            raise CallerError("key-malformed", "the type of the key is not supported")
        if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in _CURVES:
            raise CallerError("key-malformed", "the curve of the key is not supported")
        if isinstance(key, rsa.RSAPublicKey) and not _MIN_RSA <= key.key_size <= _MAX_RSA:
            reason = f"an RSA key must have {_MIN_RSA} to {_MAX_RSA} bits"
            raise CallerError("key-malformed", reason)
        canonical = key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return PublicKey(f"sha256:{hashlib.sha256(canonical).hexdigest()}", key)

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Report whether `signature` is this key's signature of `message`."""
        try:
            if isinstance(self.key, ed25519.Ed25519PublicKey):
                self.key.verify(signature, message)
            elif isinstance(self.key, rsa.RSAPublicKey):
                self.key.verify(signature, message, PKCS1v15(), hashes.SHA256())
            else:
                self.key.verify(signature, message, ec.ECDSA(_CURVES[self.key.curve.name]))
        except (InvalidSignature, ValueError, UnsupportedAlgorithm):
            return False
        return True

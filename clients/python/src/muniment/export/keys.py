"""Public keys of signers (export-manifest.md, section 7, step 2)."""

import hashlib
from dataclasses import dataclass

from ..errors import FormatError
from ..sigstore.algorithms import Key, algorithm_of, read_key, signed_by, spki
from ..sigstore.errors import CallerError


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key of a type in sigstore-verification.md, section 4.

    `id` is `sha256:` and the digest of its SubjectPublicKeyInfo.
    """

    id: str
    key: Key

    @staticmethod
    def parse(pem: bytes) -> "PublicKey":
        """Parse the PEM form of a SubjectPublicKeyInfo, such as cosign.pub.

        Raises `muniment.sigstore.CallerError` with the code `key-malformed`.
        """
        try:
            key = read_key(pem)
        except FormatError as error:
            raise CallerError("key-malformed", error.message) from None
        return PublicKey(f"sha256:{hashlib.sha256(spki(key)).hexdigest()}", key)

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Report whether `signature` is this key's signature of `message`."""
        algorithm = algorithm_of(self.key)
        hashes = (algorithm.hashes if algorithm is not None else ()) or (None,)
        return any(signed_by(self.key, hash_, message, signature) for hash_ in hashes)

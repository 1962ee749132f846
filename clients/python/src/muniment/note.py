"""Signed notes and verifier keys (C2SP signed-note and tlog-cosignature)."""

import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from .encoding import decode_base64
from .errors import FormatError

ED25519 = 0x01
"""Algorithm byte of Ed25519 signatures of the note's text."""

COSIGNATURE_V1 = 0x04
"""Algorithm byte of timestamped Ed25519 cosignatures."""

ML_DSA_44 = 0x06
"""Algorithm byte of timestamped ML-DSA-44 cosignatures."""

_KEY_SIZES = {ED25519: 32, COSIGNATURE_V1: 32, ML_DSA_44: 1312}
_SIGNATURE_SIZES = {ED25519: 64, COSIGNATURE_V1: 8 + 64, ML_DSA_44: 8 + 2420}

MAX_SIGNATURES = 100
"""Limit on the number of signature lines in a note."""

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
# The characters with the Unicode property White_Space. Python's \s and
# str.isspace differ from it.
_UNICODE_SPACE = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
_KEY_HASH = re.compile(r"[0-9a-f]{8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature line: the key's name, its 4-byte hash, and a signature of at least 1 byte."""

    name: str
    key_hash: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A signed note: its text with the final newline, and its signature lines in order."""

    text: bytes
    signatures: tuple[Signature, ...]


def parse_note(note: str) -> Note:
    """Parse a signed note with 1 to 100 signature lines, without verifying them.

    Raises FormatError.
    """
    if _CONTROL.search(note):
        raise FormatError("the note contains a control character")
    text, separator, lines = note.rpartition("\n\n")
    if not separator or not lines.endswith("\n"):
        raise FormatError("no empty line before the signatures, or no newline at the end")
    signature_lines = lines[:-1].split("\n")
    if len(signature_lines) > MAX_SIGNATURES:
        raise FormatError(f"the note has more than {MAX_SIGNATURES} signature lines")
    signatures = tuple(_parse_line(line) for line in signature_lines)
    return Note(text=(text + "\n").encode("utf-8"), signatures=signatures)


def _parse_line(line: str) -> Signature:
    fields = line.split(" ")
    if len(fields) != 3 or fields[0] != "\N{EM DASH}":
        raise FormatError("malformed signature line")
    _check_name(fields[1])
    data = decode_base64(fields[2])
    if len(data) < 5:
        raise FormatError("a signature line must encode at least 5 bytes")
    return Signature(name=fields[1], key_hash=data[:4], signature=data[4:])


def _check_name(name: str) -> None:
    if not name or "+" in name or _UNICODE_SPACE.search(name) or _CONTROL.search(name):
        raise FormatError("a key name must not be empty or contain a space or plus")


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A verifier key: its name, its 4-byte hash, the algorithm byte, and the raw public key."""

    name: str
    key_hash: bytes
    algorithm: int
    key: bytes

    def __str__(self) -> str:
        """Return `<key name>+<key hash>`, with the hash in hexadecimal."""
        return f"{self.name}+{self.key_hash.hex()}"

    def verifies(self, text: bytes, signature: bytes) -> bool:
        """Report whether `signature` is this key's signature of the note `text`.

        A signature of the wrong length does not verify.
        """
        if len(signature) != _SIGNATURE_SIZES[self.algorithm]:
            return False
        try:
            if self.algorithm == ED25519:
                Ed25519PublicKey.from_public_bytes(self.key).verify(signature, text)
                return True
            time = int.from_bytes(signature[:8], "big")
            if time > 2**63 - 1:
                return False
            if self.algorithm == COSIGNATURE_V1:
                message = b"cosignature/v1\ntime %d\n%b" % (time, text)
                Ed25519PublicKey.from_public_bytes(self.key).verify(signature[8:], message)
            else:
                message = self._subtree_message(time, text)
                MLDSA44PublicKey.from_public_bytes(self.key).verify(signature[8:], message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def _subtree_message(self, time: int, text: bytes) -> bytes:
        """Return the message that an ML-DSA-44 cosignature of a checkpoint signs.

        Raises ValueError if `text` is not a checkpoint, or its origin is longer than 255 bytes.
        """
        origin, size, root, rest = text.split(b"\n")
        name = self.name.encode("utf-8")
        if rest or len(origin) > 255:
            raise ValueError("not a checkpoint, or the origin is too long")
        head = b"subtree/v1\n\0" + bytes([len(name)]) + name + time.to_bytes(8, "big")
        tree = bytes([len(origin)]) + origin + bytes(8) + int(size).to_bytes(8, "big")
        return head + tree + decode_base64(root.decode("ascii"))


def parse_verifier_key(text: str) -> VerifierKey:
    """Parse a verifier key, `<name>+<key hash>+<base64>`.

    Raises FormatError if it is malformed, its algorithm is not supported, or its hash is wrong.
    """
    fields = text.split("+", 2)  # base64 can contain a plus
    if len(fields) != 3:
        raise FormatError("a key must have the form <name>+<key hash>+<base64>")
    name, key_hash, encoded = fields
    _check_name(name)
    if _KEY_HASH.fullmatch(key_hash) is None:
        raise FormatError("the key hash must be 8 lowercase hexadecimal digits")
    data = decode_base64(encoded)
    if not data or data[0] not in _KEY_SIZES:
        raise FormatError("unsupported key algorithm")
    if len(data) != 1 + _KEY_SIZES[data[0]]:
        raise FormatError("the key has the wrong length for its algorithm")
    if data[0] == ML_DSA_44 and len(name.encode("utf-8")) > 255:
        raise FormatError("the name of an ML-DSA-44 key must not exceed 255 bytes")
    if data[0] == ML_DSA_44 and not _has_ml_dsa(data[1:]):
        raise FormatError("this build of the cryptography package does not support ML-DSA-44")
    expected = hashlib.sha256(name.encode("utf-8") + b"\n" + data).digest()[:4]
    if expected.hex() != key_hash:
        raise FormatError("the key hash does not match the name and key")
    return VerifierKey(name=name, key_hash=expected, algorithm=data[0], key=data[1:])


def _has_ml_dsa(key: bytes) -> bool:
    """Report whether the OpenSSL that cryptography is linked with implements ML-DSA-44."""
    try:
        MLDSA44PublicKey.from_public_bytes(key)
    except UnsupportedAlgorithm:
        return False
    return True

"""Expected digests, and equality of digests (receipt.md, section 4)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .errors import CallerError

_ALGORITHM = re.compile(r"[A-Za-z0-9._+/-]{1,64}", re.ASCII)
_VALUE = re.compile(r"[\x21-\x7e]{1,1024}")
_HEX = re.compile(r"[0-9A-Fa-f]+", re.ASCII)
_UPPER = {code: code + 0x20 for code in range(ord("A"), ord("Z") + 1)}

_DIGITS: Mapping[str, tuple[int, ...]] = {
    "md5": (32,),
    "sha1": (40,),
    "ripemd160": (40,),
    "sha224": (56,),
    "sha512_224": (56,),
    "sha3_224": (56,),
    "sha256": (64,),
    "sha512_256": (64,),
    "sha3_256": (64,),
    "sm3": (64,),
    "blake3": (64,),
    "sha384": (96,),
    "sha3_384": (96,),
    "sha512": (128,),
    "sha3_512": (128,),
    "gitcommit": (40, 64),
    "gittree": (40, 64),
    "gitblob": (40, 64),
    "gittag": (40, 64),
}
"""The number of hexadecimal digits in a value of each well-known algorithm."""


def fold(text: str) -> str:
    """Return `text` with its ASCII letters, and only those, in lower case."""
    return text.translate(_UPPER)


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest, with algorithm and value as written."""

    algorithm: str
    value: str

    def is_among(self, digests: Iterable[tuple[str, str]]) -> bool:
        """Report whether this digest equals one of the (algorithm, value) pairs."""
        mine = self.canonical()
        return any(Digest(*digest).canonical() == mine for digest in digests)

    def canonical(self) -> "Digest":
        """Return the digest in a form in which equal digests are equal."""
        value = fold(self.value) if _HEX.fullmatch(self.value) else self.value
        return Digest(fold(self.algorithm), value)


def parse_digest(text: str) -> Digest:
    """Parse the digest `<algorithm>:<value>`. Raises CallerError if it is malformed."""
    algorithm, _, value = text.partition(":")
    well_formed = _ALGORITHM.fullmatch(algorithm) and _VALUE.fullmatch(value)
    digits = _DIGITS.get(fold(algorithm))
    if well_formed and digits is not None:
        well_formed = _HEX.fullmatch(value) if len(value) in digits else None
    if not well_formed:
        reason = "subject: must be a digest, such as sha256: and 64 hexadecimal digits"
        raise CallerError("expectation-malformed", reason)
    return Digest(algorithm, value)

"""Strict base64 and decimals, as used in JSON, proofs and policies."""

import base64
import binascii
import re

from .errors import FormatError

MAX_INTEGER = 2**53 - 1
"""The largest integer in JSON and in proofs."""

HASH_SIZE = 32
"""Length of hashes, salts and keys, in bytes."""

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)


def decode_base64(text: str) -> bytes:
    """Decode standard base64 with padding.

    Raises FormatError for other characters, wrong padding, and unused bits that are not zero.
    """
    try:
        raw = text.encode("ascii")
        data = binascii.a2b_base64(raw, strict_mode=True)
    except (UnicodeEncodeError, binascii.Error):
        raise FormatError("not standard base64 with padding") from None
    # The decoder ignores unused bits. Encoding again reveals them.
    if base64.b64encode(data) != raw:
        raise FormatError("not canonical base64")
    return data


def decode_base64_hash(text: str) -> bytes:
    """Decode the base64 of 32 bytes. Raises FormatError for any other length."""
    data = decode_base64(text)
    if len(data) != HASH_SIZE:
        raise FormatError(f"must be {HASH_SIZE} bytes long, not {len(data)}")
    return data


def parse_decimal(text: str) -> int:
    """Parse a decimal from 0 to 2**53 - 1 without sign or leading zeros. Raises FormatError."""
    if _DECIMAL.fullmatch(text) is None:
        raise FormatError("not a decimal from 0 to 2^53-1 without leading zeros")
    value = int(text)
    if value > MAX_INTEGER:
        raise FormatError("exceeds 2^53-1")
    return value

"""Strict base64 and decimals, shared by the JSON, proof and policy readers."""

import base64
import binascii
import re

from .errors import FormatError

MAX_INTEGER = 2**53 - 1
"""The largest integer of the format, in JSON and in the proof."""

HASH_SIZE = 32
"""Length of hashes, salts and keys, in bytes."""

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)


def decode_base64(text: str) -> bytes:
    """Return the bytes that `text` encodes in standard, padded, canonical base64.

    The empty text gives no bytes. Raises FormatError for any other character, missing or
    misplaced padding, and unused bits that are not zero.
    """
    try:
        raw = text.encode("ascii")
        data = binascii.a2b_base64(raw, strict_mode=True)
    except (UnicodeEncodeError, binascii.Error):
        raise FormatError("not standard padded base64") from None
    # One text for one value: encoding again shows unused bits that are set.
    if base64.b64encode(data) != raw:
        raise FormatError("not canonical base64")
    return data


def decode_base64_hash(text: str) -> bytes:
    """Return the 32 bytes that `text` encodes; FormatError for another length or bad base64."""
    data = decode_base64(text)
    if len(data) != HASH_SIZE:
        raise FormatError(f"{len(data)} bytes where {HASH_SIZE} belong")
    return data


def parse_decimal(text: str) -> int:
    """Return a decimal from 0 to 2**53 - 1 without sign or leading zero, or raise FormatError."""
    if _DECIMAL.fullmatch(text) is None:
        raise FormatError("not a decimal without sign and leading zeros, or too large")
    value = int(text)
    if value > MAX_INTEGER:
        raise FormatError("greater than 2^53-1")
    return value

"""The file of a tenant's stream key (receipt.md, section 3)."""

import re

from .errors import CallerError

_FILE = re.compile(rb"[0-9a-f]{64}\n?")

MAX_STREAM_KEY_SIZE = 65
"""Largest stream key file, in bytes."""


def parse_stream_key(data: bytes) -> bytes:
    """Return the 32 bytes of the stream key in a file with this content.

    Raises CallerError with a message that never repeats the content.
    """
    if _FILE.fullmatch(data) is None:
        reason = "a stream key file has 64 lowercase hexadecimal digits and nothing else"
        raise CallerError("stream-key-malformed", reason)
    return bytes.fromhex(data[:64].decode("ascii"))

"""Stream key files (receipt.md, section 3)."""

import re

from . import charset
from .errors import CallerError

_FILE = re.compile(rb"[0-9a-f]{64}\n?")

MAX_STREAM_KEY_SIZE = 65
"""Size limit of stream key files, in bytes."""


def parse_stream_key(data: bytes) -> bytes:
    """Parse the content of a stream key file, and return the 32-byte key.

    Raises CallerError. Its message never quotes the file.
    """
    if _FILE.fullmatch(data) is None:
        reason = "a stream key file must contain 64 lowercase hexadecimal digits and nothing else"
        raise CallerError("stream-key-malformed", charset.explain(data) or reason)
    return bytes.fromhex(data[:64].decode("ascii"))

"""Reads files in pieces, so that they need not fit in memory."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from .errors import CallerError
from .printable import printable

File = str | Path | bytes
"""A file: its path, or its bytes."""

_PIECE = 1 << 20


def pieces(file: File, limit: int | None = None) -> Iterator[bytes]:
    """Yield the content of a file, at most `limit` bytes of it.

    Raises CallerError with the code `unreadable`.
    """
    if isinstance(file, bytes):
        yield file if limit is None else file[:limit]
        return
    try:
        with Path(file).open("rb", buffering=0) as opened:
            left = limit
            while left is None or left > 0:
                piece = opened.read(_PIECE if left is None else min(_PIECE, left))
                if not piece:
                    return
                left = None if left is None else left - len(piece)
                yield piece
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "read failed"
        raise CallerError("unreadable", f"{printable(str(file))}: {reason}") from None


def read(file: File, limit: int) -> bytes:
    """Return at most `limit` bytes of a file. Raises CallerError."""
    return b"".join(pieces(file, limit))


def sha256(file: File) -> str | None:
    """Return the SHA-256 of a file in hexadecimal, or None if it cannot be read."""
    digest = hashlib.sha256()
    try:
        for piece in pieces(file):
            digest.update(piece)
    except CallerError:
        return None
    return digest.hexdigest()

"""The archive of a bundle (bundle.md, section 1)."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..strictjson import quote
from .errors import BundleError

MAX_MEMBERS = 500_000
"""Limit on the number of members of an archive."""

BLOCK = 512
"""Size of headers, and the multiple to which members are padded, in bytes."""

PIECE = 256 << 10
"""Size of the pieces in which content is read, in bytes."""

_NAME_SIZE = 100
_SIZE = slice(124, 135)
_SUM = slice(148, 156)
_NAME = re.compile(rb"[a-z0-9./-]{1,100}")
_OCTAL = re.compile(rb"[0-7]{11}")
_ZEROS = bytes(BLOCK)

BundleSource = Path | bytes | BinaryIO
"""A bundle: the path of its file, its bytes, or a file opened for reading that can seek."""


@dataclass(frozen=True, slots=True)
class File:
    """A member of an archive: its name, and the offset and size of its content in bytes."""

    name: str
    offset: int
    size: int


class Source:
    """Random access to the bytes of a bundle. Use it as a context manager.

    Its methods raise BundleError with the code `unreadable`.
    """

    def __init__(self, source: BundleSource) -> None:
        self._owned = isinstance(source, Path)
        try:
            if isinstance(source, Path):
                self._file: BinaryIO | io.FileIO = source.open("rb", buffering=0)
            elif isinstance(source, bytes):
                self._file = io.BytesIO(source)
            else:
                self._file = source
            self.size = self._file.seek(0, io.SEEK_END)
        except (OSError, ValueError) as error:
            raise _unreadable(error) from None

    def __enter__(self) -> "Source":
        """Return the source itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file if this object opened it."""
        if self._owned:
            self._file.close()

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset` on."""
        parts: list[bytes] = []
        try:
            self._file.seek(offset)
            while length > 0:
                part = self._file.read(length)
                if not part:
                    raise BundleError("unreadable", "the bundle became shorter while it was read")
                parts.append(part)
                length -= len(part)
        except (OSError, ValueError) as error:
            if isinstance(error, BundleError):
                raise
            raise _unreadable(error) from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def pieces(self, file: File) -> Iterator[bytes]:
        """Yield the content of a member, in pieces."""
        for at in range(0, file.size, PIECE):
            yield self.read(file.offset + at, min(PIECE, file.size - at))


def _unreadable(error: Exception) -> BundleError:
    reason = getattr(error, "strerror", None) or "read failed"
    return BundleError("unreadable", f"the bundle cannot be read: {reason}")


def header(name: bytes, size: int) -> bytes:
    """Return the only header that a member with this name and size in bytes can have."""
    block = bytearray(BLOCK)
    block[: len(name)] = name
    block[100:124] = b"0000644\x000000000\x000000000\x00"
    block[124:136] = b"%011o\x00" % size
    block[136:157] = b"00000000000\x00        0"
    block[257:265] = b"ustar\x0000"
    block[329:345] = b"0000000\x000000000\x00"
    block[_SUM] = b"%06o\x00 " % sum(block)
    return bytes(block)


def _parse_header(block: bytes, offset: int) -> tuple[str, int]:
    name = block[:_NAME_SIZE].partition(b"\0")[0]
    parts = name.split(b"/")
    if _NAME.fullmatch(name) is None or any(part in (b"", b".", b"..") for part in parts):
        reason = f"the header at offset {offset} has no name of a member"
        raise BundleError("archive-malformed", reason)
    text = name.decode("ascii")
    if _OCTAL.fullmatch(block[_SIZE]) is None:
        raise BundleError("archive-malformed", f"{text}: the size is not an octal number")
    size = int(block[_SIZE], 8)
    if block != header(name, size):
        reason = f"{text}: the header has other bytes than the format specifies"
        raise BundleError("archive-malformed", reason)
    return text, size


def read_archive(source: Source) -> list[File]:
    """Return the members of an archive, after checking everything but their content (step 1).

    Raises BundleError.
    """
    files: list[File] = []
    at, last = 0, ""
    while True:
        if at + 2 * BLOCK > source.size:
            raise BundleError("archive-malformed", "the archive ends too early")
        block = source.read(at, BLOCK)
        if block == _ZEROS:
            _check_end(source, at)
            return files
        name, size = _parse_header(block, at)
        at += BLOCK
        padding = -size % BLOCK
        if name <= last:
            reason = f"{quote(name)}: the members are not sorted, or it occurs twice"
            raise BundleError("archive-malformed", reason)
        if size + padding > source.size - at:
            raise BundleError("archive-malformed", f"{quote(name)}: the archive ends within it")
        if len(files) == MAX_MEMBERS:
            raise BundleError("archive-malformed", f"more than {MAX_MEMBERS} members")
        if source.read(at + size, padding) != _ZEROS[:padding]:
            reason = f"{quote(name)}: the bytes after it are not zero"
            raise BundleError("archive-malformed", reason)
        files.append(File(name, at, size))
        last = name
        at += size + padding


def _check_end(source: Source, at: int) -> None:
    if source.read(at + BLOCK, BLOCK) != _ZEROS:
        raise BundleError("archive-malformed", "one block of zero bytes at the end, not two")
    if at + 2 * BLOCK != source.size:
        raise BundleError("archive-malformed", "bytes follow the end of the archive")
    if at == 0:
        raise BundleError("archive-malformed", "the archive has no members")

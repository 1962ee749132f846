"""The files of an export (export-manifest.md, section 7, step 8)."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..strictjson import quote
from .errors import ExportError
from .statement import File

Files = Path | Mapping[str, bytes]
"""The files of an export: a folder, or the content of each file by its name."""

_STEP = 8
_PIECE = 1 << 20
# A file cannot be at a path with one of these errors.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


def check_files(expected: tuple[File, ...], files: Files) -> None:
    """Compare the files with those of the manifest. They need not fit in memory.

    Raises ExportError. Links are neither followed nor accepted.
    """
    for file in expected:
        if not _is_there(files, file.name):
            reason = f"file {quote(file.name)} is missing, or is not a regular file"
            raise ExportError("file-missing", reason, _STEP)
    own = {file.name for file in expected}
    for name in _names(files):
        if name not in own:
            raise ExportError("file-extra", f"file {quote(name)} is not in the manifest", _STEP)
    for file in expected:
        _check_content(file, files)


def _is_there(files: Files, name: str) -> bool:
    """Perform step 8.1 for a file. Neither it nor a folder on its path can be a link."""
    if not isinstance(files, Path):
        return name in files
    path = files
    segments = name.split("/")
    for number, segment in enumerate(segments, 1):
        path /= segment
        try:
            mode = os.lstat(path).st_mode
        except OSError as error:
            if error.errno in _ABSENT:
                return False
            raise _unreadable(name, error) from None
        if not (stat.S_ISREG(mode) if number == len(segments) else stat.S_ISDIR(mode)):
            return False
    return True


def _names(files: Files) -> Iterator[str]:
    """Yield the names of everything but folders, with slashes."""
    if not isinstance(files, Path):
        yield from files
        return
    folders = [("", files)]
    while folders:
        prefix, folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = prefix + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        folders.append((f"{name}/", folder / entry.name))
                    else:
                        yield name
        except OSError as error:
            raise _unreadable(prefix, error) from None


def _pieces(file: File, files: Files) -> Iterator[bytes]:
    """Yield the content of a file in pieces, at most one byte more than its stated size."""
    if not isinstance(files, Path):
        yield bytes(files[file.name][: file.size + 1])
        return
    left = file.size + 1
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        opened = os.open(files.joinpath(*file.name.split("/")), flags)
        try:
            while left > 0 and (piece := os.read(opened, min(_PIECE, left))):
                left -= len(piece)
                yield piece
        finally:
            os.close(opened)
    except OSError as error:
        raise _unreadable(file.name, error) from None


def _check_content(file: File, files: Files) -> None:
    """Perform step 8.3 for a file."""
    digest, size = hashlib.sha256(), 0
    for piece in _pieces(file, files):
        digest.update(piece)
        size += len(piece)
    if size != file.size:
        reason = f"file {quote(file.name)} does not have the stated {file.size} bytes"
        raise ExportError("file-size", reason, _STEP)
    if digest.hexdigest() != file.sha256:
        reason = f"file {quote(file.name)} has another digest than in the manifest"
        raise ExportError("file-digest", reason, _STEP)


def _unreadable(name: str, error: OSError) -> ExportError:
    return ExportError("unreadable", f"{quote(name)}: {error.strerror or 'read failed'}")

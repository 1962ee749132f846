"""Reads error details, which are protobuf messages in Connect's JSON errors.

Only two types matter here: `buf.validate.Violations` and `google.rpc.RetryInfo`. Details of other
types, and malformed ones, are ignored: an error without its details is still an error.
"""

import base64
import binascii
from collections.abc import Iterator

from .errors import Violation

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class MalformedError(Exception):
    """The bytes are no protobuf message."""


def violations(message: bytes) -> Iterator[Violation]:
    """Yield the violations of a `buf.validate.Violations` message."""
    for raw in _messages(message, 1):
        path = "".join(_element(element) for f in _messages(raw, 5) for element in _messages(f, 1))
        yield Violation(path.removeprefix("."), _text(raw, 3), _text(raw, 2))


def retry_delay(message: bytes) -> float | None:
    """Return the delay of a `google.rpc.RetryInfo` message, in seconds."""
    for delay in _messages(message, 1):
        return _number(delay, 1) + _number(delay, 2) / 1e9
    return None


def decode(value: object) -> bytes:
    """Return the bytes of a detail: base64, usually without padding. Raises MalformedError."""
    if not isinstance(value, str):
        raise MalformedError
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (ValueError, binascii.Error):
        raise MalformedError from None


def _element(message: bytes) -> str:
    """Return one element of a field's path, such as `.submissions[3]`."""
    name = "." + _text(message, 2)
    for number, kind, value in _fields(message):
        if number in (6, 8, 9) and kind == _VARINT:
            return f"{name}[{value!r}]"
        if number == 10 and isinstance(value, bytes):
            return f'{name}["{value.decode("utf-8", "replace")}"]'
    return name


def _messages(message: bytes, wanted: int) -> Iterator[bytes]:
    for number, _, value in _fields(message):
        if number == wanted and isinstance(value, bytes):
            yield value


def _text(message: bytes, wanted: int) -> str:
    return "".join(value.decode("utf-8", "replace") for value in _messages(message, wanted))


def _number(message: bytes, wanted: int) -> int:
    for number, _, value in _fields(message):
        if number == wanted and isinstance(value, int):
            return value
    return 0


def _fields(message: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield number, wire type and value of each field. Raises MalformedError."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, kind, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise MalformedError
        if at + size > len(message):
            raise MalformedError
        yield key >> 3, kind, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at == len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise MalformedError

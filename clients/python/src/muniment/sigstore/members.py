"""Members of JSON documents (sigstore-verification.md, section 2).

The functions raise FormatError. A member that is null counts as absent.
"""

import re
from collections.abc import Set

from ..encoding import decode_base64, parse_decimal
from ..errors import FormatError
from ..strictjson import Json, Object, quote

Value = Json
"""The value of a member, None if it is absent."""


def fields(value: Value, where: str, allowed: Set[str] | None = None) -> Object:
    """Return the members of an object that are not null. With `allowed`, others are an error."""
    if not isinstance(value, dict):
        raise FormatError(f"{where}: must be an object")
    for name in value:
        if allowed is not None and name not in allowed:
            raise FormatError(f"{where}: unknown member {quote(name)}")
    return {name: item for name, item in value.items() if item is not None}


def items(value: Value, where: str, most: int) -> list[Json]:
    """Return the elements of an array, which can be absent."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise FormatError(f"{where}: must be an array")
    if len(value) > most:
        raise FormatError(f"{where}: more than {most} elements")
    return value


def only(value: Value, where: str) -> Object:
    """Return the only element of an array of objects."""
    elements = items(value, where, 1)
    if len(elements) != 1:
        raise FormatError(f"{where}: must be exactly one")
    return fields(elements[0], where)


def text(value: Value, where: str) -> str:
    """Return a string that is not empty."""
    if not isinstance(value, str) or not value:
        raise FormatError(f"{where}: must be a string that is not empty")
    return value


def optional_text(value: Value, where: str) -> str:
    """Return a string that can be absent or empty."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FormatError(f"{where}: must be a string")
    return value


def binary(value: Value, where: str) -> bytes:
    """Return the bytes of a base64 string that is not empty."""
    try:
        return decode_base64(text(value, where))
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from None


def digest(value: Value, where: str) -> bytes:
    """Return the bytes of a base64 string if they are 32."""
    data = binary(value, where)
    if len(data) != 32:
        raise FormatError(f"{where}: must be 32 bytes")
    return data


def integer(value: Value, where: str) -> int:
    """Return an integer, also from its decimal digits, and 0 if it is absent."""
    if value is None:
        return 0
    if isinstance(value, str):
        return parse_decimal(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise FormatError(f"{where}: must be an integer")
    return value


_PEM = re.compile(
    r"[ \t\r\n]*-----BEGIN (CERTIFICATE|PUBLIC KEY)-----\r?\n"
    r"([A-Za-z0-9+/=\r\n]+)-----END (CERTIFICATE|PUBLIC KEY)-----[ \t\r\n]*"
)


def read_pem(data: bytes) -> tuple[str, bytes]:
    """Return the label and the content of the only block of a PEM text."""
    match = _PEM.fullmatch(data.decode("latin-1"))
    if match is None or match[1] != match[3]:
        raise FormatError("not one PEM block of a certificate or public key")
    return match[1], decode_base64(match[2].replace("\r", "").replace("\n", ""))

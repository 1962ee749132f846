"""A JSON parser with the strict rules of entry.md, section 7.

The only numbers are integers from 0 to 2**53 - 1. The formats have no null or boolean members, but
the parser accepts both: a wrong type ranks after every error of syntax.
"""

import re
from collections.abc import Set

from . import charset
from .encoding import MAX_INTEGER, decode_base64, decode_base64_hash
from .errors import FormatError

_TYPE_NAMES = {
    str: "string",
    int: "integer",
    list: "array",
    dict: "object",
    bool: "boolean",
    type(None): "null",
}

Json = str | int | bool | None | list["Json"] | dict[str, "Json"]
"""A JSON value."""

Object = dict[str, Json]
"""The members of a JSON object."""

MAX_DEPTH = 16
"""Limit on nesting. The outermost object is level 1."""

_SPACE = re.compile(r"[ \t\r\n]*")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_INTEGER = re.compile(r"0|[1-9][0-9]*", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_HEX4 = re.compile(r"[0-9A-Fa-f]{4}", re.ASCII)
_ESCAPES = {
    '"': '"',
    "\\": "\\",
    "/": "/",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_WORD = re.compile("|".join(_WORDS))
_MAX_DIGITS = len(str(MAX_INTEGER))

MAX_VALUES = 1 << 19
"""Limit on the number of values in a document (rule 10). A receipt has fewer than 50."""


def parse_object(data: bytes, *, any_numbers: bool = False, max_values: int = MAX_VALUES) -> Object:
    """Parse a document that consists of one JSON object.

    With `any_numbers`, rule 7 does not apply, and every number that is not an integer from 0 to
    2**53 - 1 is read as 0. Raises FormatError if it violates the rules, or has more than
    `max_values` values.
    """
    try:
        return _Reader(data.decode("utf-8"), any_numbers, max_values).document()
    except UnicodeDecodeError as error:
        reason = charset.explain(data) or f"invalid UTF-8 at byte {error.start}"
        raise FormatError(reason) from None
    except FormatError as error:
        raise FormatError(charset.explain(data) or error.message) from None


class _Reader:
    """A recursive-descent parser of `text`. MAX_DEPTH bounds the recursion."""

    def __init__(self, text: str, any_numbers: bool, max_values: int) -> None:
        self._text = text
        self._any_numbers = any_numbers
        self._max_values = max_values
        self._at = 0
        self._values = 0

    def document(self) -> Object:
        self._space()
        if self._peek() != "{":
            raise self._error("not a JSON object")
        value = self._object(1)
        self._space()
        if self._at != len(self._text):
            raise self._error("data after the object")
        return value

    def _error(self, message: str) -> FormatError:
        return FormatError(f"{message} (at character {self._at})")

    def _peek(self) -> str:
        """Return the next character, or the empty string at the end."""
        return self._text[self._at : self._at + 1]

    def _space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        if match is not None:
            self._at = match.end()

    def _take(self, character: str) -> bool:
        """Skip white space, then `character` if it follows. Report whether it did."""
        if self._peek() != character:
            self._space()
            if self._peek() != character:
                return False
        self._at += 1
        return True

    def _value(self, depth: int) -> Json:
        """Parse a value. An object or array is at nesting level `depth`."""
        self._values += 1
        if self._values > self._max_values:
            raise self._error(f"more than {self._max_values} values")
        self._space()
        first = self._peek()
        if first == '"':
            return self._string()
        if first == "{":
            return self._object(depth)
        if first == "[":
            return self._array(depth)
        word = _WORD.match(self._text, self._at)
        if word is not None:
            self._at = word.end()
            return _WORDS[word[0]]
        return self._any_number() if self._any_numbers else self._integer()

    def _open(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self._error(f"more than {MAX_DEPTH} levels of nesting")
        self._at += 1

    def _object(self, depth: int) -> Object:
        self._open(depth)
        members: Object = {}
        if self._take("}"):
            return members
        while True:
            self._space()
            if self._peek() != '"':
                raise self._error("expected a member name")
            name = self._string()
            if name in members:
                raise self._error(f"duplicate member {quote(name)}")
            if not self._take(":"):
                raise self._error("expected a colon")
            members[name] = self._value(depth + 1)
            if self._take("}"):
                return members
            if not self._take(","):
                raise self._error("expected a comma or closing brace")

    def _array(self, depth: int) -> list[Json]:
        self._open(depth)
        elements: list[Json] = []
        if self._take("]"):
            return elements
        while True:
            elements.append(self._value(depth + 1))
            if self._take("]"):
                return elements
            if not self._take(","):
                raise self._error("expected a comma or closing bracket")

    def _integer(self) -> int:
        # The caller requires a comma or closing bracket next, which rejects
        # leading zeros, fractions and exponents.
        match = _INTEGER.match(self._text, self._at)
        if match is None:
            raise self._error("expected a value; numbers must be integers without a sign")
        digits = match[0]
        if len(digits) > _MAX_DIGITS or (value := int(digits)) > MAX_INTEGER:
            raise self._error("integer exceeds 2^53-1")
        self._at = match.end()
        return value

    def _any_number(self) -> int:
        match = _NUMBER.match(self._text, self._at)
        if match is None:
            raise self._error("expected a value")
        self._at = match.end()
        text = match[0]
        if _INTEGER.fullmatch(text) and len(text) <= _MAX_DIGITS and int(text) <= MAX_INTEGER:
            return int(text)
        return 0

    def _string(self) -> str:
        self._at += 1
        parts: list[str] = []
        while True:
            match = _PLAIN.match(self._text, self._at)
            if match is not None:
                parts.append(match[0])
                self._at = match.end()
            character = self._peek()
            if character == '"':
                self._at += 1
                return "".join(parts)
            if character != "\\":
                raise self._error("control character in a string, or unterminated string")
            parts.append(self._escape())

    def _escape(self) -> str:
        """Parse an escape sequence, or the two of a surrogate pair."""
        letter = self._text[self._at + 1 : self._at + 2]
        if letter != "u":
            if letter not in _ESCAPES:
                raise self._error("unknown escape")
            self._at += 2
            return _ESCAPES[letter]
        unit = self._unit()
        if 0xD800 <= unit <= 0xDBFF and self._text.startswith("\\u", self._at):
            low = self._unit()
            if 0xDC00 <= low <= 0xDFFF:
                return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
        if 0xD800 <= unit <= 0xDFFF:
            raise self._error("unpaired surrogate")
        return chr(unit)

    def _unit(self) -> int:
        """Parse an escape of the form backslash, `u`, four hexadecimal digits.

        Returns the UTF-16 code unit.
        """
        match = _HEX4.match(self._text, self._at + 2)
        if match is None:
            raise self._error("expected four hexadecimal digits")
        self._at = match.end()
        return int(match[0], 16)


def quote(text: str) -> str:
    """Quote untrusted text for a message: in printable ASCII, truncated to 60 characters."""
    return ascii(text if len(text) <= 60 else text[:60] + "…")


def as_string(value: Json, where: str, *, empty: bool = False) -> str:
    """Return `value` if it is a string, which may be empty only with `empty`.

    Raises FormatError otherwise.
    """
    if not isinstance(value, str):
        raise _wrong_type(value, where, str)
    if not value and not empty:
        raise FormatError(f"{where}: must not be empty")
    return value


def as_integer(value: Json, where: str) -> int:
    """Return `value` if it is an integer. Raises FormatError otherwise."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(value, where, int)
    return value


def as_array(value: Json, where: str) -> list[Json]:
    """Return `value` if it is a non-empty array. Raises FormatError otherwise."""
    if not isinstance(value, list):
        raise _wrong_type(value, where, list)
    if not value:
        raise FormatError(f"{where}: must not be empty")
    return value


def as_object(value: Json, where: str) -> Object:
    """Return `value` if it is an object. Raises FormatError otherwise."""
    if not isinstance(value, dict):
        raise _wrong_type(value, where, dict)
    return value


def as_text(value: Json, where: str, most: int) -> str:
    """Return `value` if it is a string of 1 to `most` bytes of UTF-8.

    Raises FormatError otherwise.
    """
    text = as_string(value, where)
    if len(text.encode("utf-8")) > most:
        raise FormatError(f"{where}: must have 1 to {most} bytes")
    return text


def as_list(value: Json, where: str, most: int) -> list[Json]:
    """Return `value` if it is an array of 1 to `most` elements. Raises FormatError otherwise."""
    elements = as_array(value, where)
    if len(elements) > most:
        raise FormatError(f"{where}: more than {most} elements")
    return elements


def as_match(value: Json, where: str, pattern: re.Pattern[str]) -> str:
    """Return `value` if it is a string that matches `pattern` as a whole.

    Raises FormatError otherwise.
    """
    text = as_string(value, where)
    if pattern.fullmatch(text) is None:
        raise FormatError(f"{where}: malformed value")
    return text


def as_strings(value: Json, where: str) -> dict[str, str]:
    """Return `value` if it is a non-empty object of non-empty names and strings.

    Raises FormatError otherwise.
    """
    members = as_object(value, where)
    if not members:
        raise FormatError(f"{where}: must not be empty")
    if "" in members:
        raise FormatError(f"{where}: a member has an empty name")
    return {name: as_string(text, where) for name, text in members.items()}


def as_members(
    value: Json, where: str, required: Set[str], optional: Set[str] = frozenset()
) -> Object:
    """Return `value` if it is an object with all `required` members, and no unknown ones.

    Raises FormatError otherwise.
    """
    members = as_object(value, where)
    for name in members:
        if name not in required and name not in optional:
            raise FormatError(f"{where}: unknown member {quote(name)}")
    for name in sorted(required):
        if name not in members:
            raise FormatError(f"{where}: member {name} is missing")
    return members


def as_base64(value: Json, where: str) -> bytes:
    """Return the bytes of a base64 string, which can be empty. Raises FormatError otherwise."""
    text = as_string(value, where, empty=True)
    try:
        return decode_base64(text)
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from None


def as_hash(value: Json, where: str) -> bytes:
    """Return the bytes of a base64 string if they are 32. Raises FormatError otherwise."""
    text = as_string(value, where, empty=True)
    try:
        return decode_base64_hash(text)
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from None


def _wrong_type(value: Json, where: str, wanted: type) -> FormatError:
    return FormatError(f"{where}: must be {_TYPE_NAMES[wanted]}, not {_TYPE_NAMES[type(value)]}")

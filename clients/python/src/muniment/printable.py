"""Escaping of untrusted text for terminals and JSON."""

import re
import unicodedata

_OCTET = re.compile("[\udc80-\udcff]")


def printable(text: str) -> str:
    """Return `text` with the characters escaped that could garble or spoof terminal output.

    These include control characters, format characters such as bidirectional overrides, line
    separators, and bytes of file names that are not UTF-8.
    """
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    if _OCTET.match(character):
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]


def unicode_name(path: str) -> str:
    """Return a file name for JSON, with U+FFFD in place of each byte that is not valid UTF-8."""
    return _OCTET.sub("\ufffd", path)


def escape(text: str) -> str:
    r"""Return `text` with unsafe characters as `\uXXXX` (receipt.md, section 5).

    They control a terminal, reorder or break text, or are invisible. JSON keeps its meaning,
    because such characters occur only in its strings.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_code_units(c) if _is_unsafe(c) else c for c in text)


def _is_unsafe(character: str) -> bool:
    if "\u2060" <= character <= "\u2069" or "\U000e0000" <= character <= "\U000e007f":
        return True
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Cs")


def _code_units(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))

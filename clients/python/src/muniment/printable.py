"""Escaping of untrusted text for terminals and JSON."""

import re

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

"""Untrusted text for terminals and JSON."""

import re

_OCTET = re.compile("[\udc80-\udcff]")


def printable(text: str) -> str:
    """Return `text` with every character escaped that could disturb or deceive on a terminal.

    These are control characters, format characters such as those that change the direction of
    writing, line separators, and octets of file names that are not UTF-8.
    """
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    if _OCTET.match(character):
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]


def unicode_name(path: str) -> str:
    """Return a file's name for JSON: octets that are not UTF-8 are U+FFFD."""
    return _OCTET.sub("\ufffd", path)

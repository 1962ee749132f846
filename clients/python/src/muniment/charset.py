"""The encodings of text files that are not plain UTF-8."""

_MARKS = (
    (b"\xef\xbb\xbf", "UTF-8 with a byte order mark"),
    # The mark of UTF-16 is a prefix of one of UTF-32.
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_FORMS = ((4, 0, "UTF-32"), (4, 3, "UTF-32"), (2, 0, "UTF-16"), (2, 1, "UTF-16"))


def explain(refused: bytes) -> str | None:
    """Return the cause and remedy if the encoding of a refused text is the reason, else None."""
    encoding = _encoding(refused)
    if encoding is None:
        return None
    return f"it is encoded in {encoding}: save it as UTF-8 without BOM"


def _encoding(text: bytes) -> str | None:
    for mark, encoding in _MARKS:
        if text.startswith(mark):
            return encoding
    # Without a mark, the first character is one of ASCII, padded with zeros.
    for width, at, encoding in _FORMS:
        unit = text[:width]
        rest = unit[:at] + unit[at + 1 :]
        if len(unit) == width and rest == bytes(width - 1) and 0x20 < unit[at] < 0x7F:
            return encoding
    return None

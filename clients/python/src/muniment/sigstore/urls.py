"""URLs of transparency logs (docs/spec/verify.md, section 2)."""

import re

_MAX_URL = 2048
_URL = re.compile(
    r"(https?)://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(/[A-Za-z0-9._~/-]*)?",
    re.ASCII,
)


def normal_form(url: str) -> str | None:
    """Return the normal form of a URL, or None if it is of another form."""
    match = _match(url)
    if match is None:
        return None
    scheme, host, port, path = match.groups()
    number = None if port is None else int(port)
    if number == {"https": 443, "http": 80}[scheme]:
        number = None
    shown = "" if number is None else f":{number}"
    return f"{scheme}://{host.lower()}{shown}{(path or '').rstrip('/')}"


def host_of(url: str) -> str:
    """Return the host of a URL without brackets, empty if the URL is of another form."""
    match = _match(url)
    return "" if match is None else match[2].strip("[]")


def _match(url: str) -> re.Match[str] | None:
    return _URL.fullmatch(url) if len(url) <= _MAX_URL else None

"""Every name of Python in the tables of docs/sdks.md, which compare the SDKs, exists."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import muniment
import muniment.client

PAGE = Path(__file__).resolve().parents[3] / "docs" / "sdks.md"
COLUMN = 3


def names(heading: str) -> list[str]:
    """Return the names in the tables of a section, at least one for each row."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("|")]
    found: list[str] = []
    for row in rows[2:]:
        spans = re.findall(r"`([^`]+)`", row[COLUMN])
        assert spans, f"{row[1].strip()}: no name for Python"
        found += spans
    assert rows[0][COLUMN].strip() == "Python"
    assert len(rows) > 10
    return found


def owners(name: str, package: object) -> Iterator[tuple[object, str]]:
    """Yield what must have a name, and the rest of the name."""
    if name.startswith("report."):
        yield muniment.Report, name.removeprefix("report.")
    elif package is muniment.client and name[0].islower():
        yield muniment.client.Client, name
        yield muniment.client.AsyncClient, name
    else:
        yield package, name


def check(span: str, package: object) -> None:
    """Raise an AttributeError or a TypeError if the name, or a call like this, is impossible."""
    name, called, inside = span.rstrip(")").partition("(")
    arguments = [argument for argument in inside.split(",") if argument]
    named = dict(argument.strip().split("=") for argument in arguments if "=" in argument)
    for owner, path in owners(name, package):
        value = owner
        for member in path.split("."):
            value = getattr(value, member)
        assert callable(value)
        if called and inside != "…" and owner is package:
            inspect.signature(value).bind(*[a for a in arguments if "=" not in a], **named)


@pytest.mark.parametrize("span", names("Verify"))
def test_verify(span: str) -> None:
    check(span, muniment)


@pytest.mark.parametrize("span", names("Call the API"))
def test_call(span: str) -> None:
    check(span, muniment.client)


@pytest.mark.parametrize(
    "span", ["Configuration.load()", "verify_nothing", "report.to_nothing()", "nothing", "Nothing"]
)
def test_a_missing_name(span: str) -> None:
    for package in (muniment, muniment.client):
        with pytest.raises((AttributeError, TypeError)):
            check(span, package)

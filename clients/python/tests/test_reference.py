"""The API reference: every public symbol is documented."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import pdoc
import pdoc.doc
import pytest

PACKAGES = (
    "muniment",
    "muniment.bundle",
    "muniment.client",
    "muniment.configuration",
    "muniment.export",
    "muniment.report",
    "muniment.sigstore",
)
"""The modules that programs import from."""


def _is_named(name: str, docstring: str) -> bool:
    return f"`{name}`" in docstring


def undocumented(namespace: pdoc.doc.Module | pdoc.doc.Class, text: str) -> Iterator[str]:
    """Yield the members without a docstring that `text`, of what contains them, does not name."""
    for member in namespace.members.values():
        inherited = isinstance(namespace, pdoc.doc.Class) and member.taken_from != (
            namespace.modulename,
            member.qualname,
        )
        if member.name.startswith("_") or inherited or isinstance(member, pdoc.doc.Module):
            continue
        named = isinstance(member, pdoc.doc.Variable) and _is_named(member.name, text)
        if not member.docstring.strip() and not named:
            yield member.qualname
        if isinstance(member, pdoc.doc.Class):
            bases = member.obj.__mro__
            inner = "\n".join(base.__doc__ or "" for base in bases if base is not object)
            yield from undocumented(member, inner)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_symbol_is_documented(package: str) -> None:
    module = pdoc.doc.Module(importlib.import_module(package))
    assert module.docstring
    assert list(undocumented(module, module.docstring)) == []


def test_the_reference_is_built(tmp_path: Path) -> None:
    pdoc.pdoc("muniment.configuration", output_directory=tmp_path)
    page = (tmp_path / "muniment" / "configuration.html").read_text(encoding="utf-8")
    assert 'id="Configuration.load"' in page

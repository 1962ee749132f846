"""The metadata of the package."""

import tomllib
from pathlib import Path

from muniment import __version__

FOLDER = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]


def test_license() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    for name in PROJECT["license-files"]:
        assert (FOLDER / name).read_bytes() == (FOLDER.parents[1] / name).read_bytes()


def test_version() -> None:
    assert PROJECT["version"] == __version__

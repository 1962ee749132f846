"""The metadata of the package."""

import tomllib
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1]


def test_license() -> None:
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    for name in project["license-files"]:
        assert (FOLDER / name).read_bytes() == (FOLDER.parents[1] / name).read_bytes()

"""The tables of licences and places (export-manifest.md, sections 3 and 4).

The files in the folder `tables` are copies of docs/spec/tables.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


def _read(name: str) -> dict[str, Any]:
    file = resources.files(__package__) / "tables" / f"{name}.json"
    table: dict[str, Any] = json.loads(file.read_bytes())
    return table


@dataclass(frozen=True, slots=True)
class Spdx:
    """The SPDX list of a version: the IDs of licences, deprecated ones too, and of exceptions."""

    version: str
    licenses: frozenset[str]
    exceptions: frozenset[str]


@cache
def spdx() -> Spdx:
    """Return the pinned list of licences."""
    table = _read("spdx")
    licenses = frozenset(table["licenses"]) | frozenset(table["deprecated"])
    return Spdx(table["version"], licenses, frozenset(table["exceptions"]))


@dataclass(frozen=True, slots=True)
class Places:
    """Codes of countries (ISO 3166-1 alpha-2) and states (ISO 3166-2), and places of regions.

    `regions` maps the name of a cloud region to the code of its place.
    """

    iso_version: str
    cloud_version: str
    countries: frozenset[str]
    states: frozenset[str]
    regions: Mapping[str, str]


@cache
def places() -> Places:
    """Return the tables of places."""
    iso, cloud = _read("iso3166"), _read("cloud-regions")
    states = {f"{c}-{part}" for c, parts in iso["countries"].items() for part in parts.split()}
    return Places(
        iso_version=iso["version"],
        cloud_version=cloud["version"],
        countries=frozenset(iso["countries"]),
        states=frozenset(states),
        regions=cloud["regions"],
    )

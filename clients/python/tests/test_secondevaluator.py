"""The second evaluator against the vectors of decisions and facts."""

from typing import Any

import pytest

from secondevaluator import join, purl
from secondevaluator.base import read_time
from secondevaluator.decide import decide
from secondevaluator.facts import extract
from secondevaluator.resolve import resolve
from vectors import load

FACTS = load("facts.json")


@pytest.mark.parametrize("case", load("decisions.json")["cases"], ids=lambda case: case["name"])
def test_decisions(case: dict[str, Any]) -> None:
    assert decide(case) == case["decision"]


@pytest.mark.parametrize("case", load("resolutions.json")["cases"], ids=lambda case: case["name"])
def test_resolutions(case: dict[str, Any]) -> None:
    expected = {name: case[name] for name in ("accepted", "acceptedBy") if name in case}
    assert resolve(case) == expected


@pytest.mark.parametrize("case", FACTS["facts"], ids=lambda case: case["name"])
def test_facts(case: dict[str, Any]) -> None:
    assert _facts(case) == case["facts"]


@pytest.mark.parametrize("case", FACTS["purls"], ids=lambda case: case["purl"])
def test_purls(case: dict[str, Any]) -> None:
    url = purl.parse(case["purl"])
    assert (str(url) if url else None) == case["canonical"]


@pytest.mark.parametrize("case", FACTS["unresolved"], ids=lambda case: case["name"])
def test_unresolved(case: dict[str, Any]) -> None:
    subject = case["subject"]
    scans, vex = (list(map(_document, case[name] or [])) for name in ("scans", "vex"))
    try:
        found = join.unresolved(subject["digests"], subject.get("purls", []), scans, vex)
    except join.UndecidedError:
        assert case["unresolved"] is None
    else:
        assert list(map(_listed, found)) == case["unresolved"]


def _facts(case: dict[str, Any]) -> dict[str, Any] | None:
    names = {"kind", "mediaType", "predicateType"} & case.keys()
    return extract({str(name): case[name] for name in names}, case["document"])


def _document(entry: dict[str, Any]) -> join.Document:
    subjects = entry["subjects"] or []
    return join.Document(entry["index"], read_time(entry["time"]), subjects, _facts(entry))


def _listed(found: join.Vulnerability) -> dict[str, Any]:
    listed = {
        "id": found.facts["id"],
        "package": found.facts.get("package", {}),
        "scan": found.scan,
    }
    if found.vex is not None:
        listed |= {"vex": found.vex, "statement": found.status}
    return listed

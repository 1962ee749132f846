"""The index of bad input, docs/spec/vectors/bad-input.json."""

from typing import Any

import pytest

from vectors import load

ITEMS = load("bad-input.json")
CASES = [(item["item"], case) for item in ITEMS for case in item["cases"]]


def test_every_item_has_a_vector() -> None:
    assert len(ITEMS) == 19
    assert all(item["cases"] for item in ITEMS)


# The tests of each file run all of its cases with their codes.
@pytest.mark.parametrize(
    ("item", "case"), CASES, ids=[f"{item}: {case['file']}: {case['name']}" for item, case in CASES]
)
def test_bad_input(item: str, case: dict[str, Any]) -> None:
    file = load(case["file"])
    vectors = file if isinstance(file, list) else file["cases"]
    found = [v.get("reason") for v in vectors if v["name"] == case["name"]]
    assert found == [case["reason"]], item

"""The second evaluator against the vectors of decisions."""

from typing import Any

import pytest

from secondevaluator.decide import decide
from vectors import load


@pytest.mark.parametrize("case", load("decisions.json")["cases"], ids=lambda case: case["name"])
def test_decisions(case: dict[str, Any]) -> None:
    assert decide(case) == case["decision"]

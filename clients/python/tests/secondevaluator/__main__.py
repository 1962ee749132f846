"""Compares the two evaluators: `python -m secondevaluator COMMAND …`.

`generate SEED N FILE` writes cases of decisions, one a line. `compare CASES OUTCOMES` decides them
and compares the decisions with those of the evaluator in Go, one a line (.ci/decisions).
`claims SEED N FILE` and `resolve CLAIMS OUTCOMES` do the same for resolutions of findings.
`documents VECTORS SEED N FILE` and `facts DOCUMENTS FACTS` do the same for facts. Problems are not
compared, because decisions do not depend on them.
"""

from __future__ import annotations

import collections
import json
import sys
from collections.abc import Callable
from pathlib import Path

from .base import Json
from .decide import decide
from .documents import mutate, nulls
from .facts import extract
from .generate import Generator
from .resolve import resolve

SHOWN = 5


def generate(seed: int, count: int, file: Path) -> None:
    """Write the cases 0 to count − 1 of a seed."""
    with file.open("w") as out:
        for number in range(count):
            out.write(json.dumps(Generator(seed, number).case()) + "\n")


def claims(seed: int, count: int, file: Path) -> None:
    """Write claims that entries resolve findings, in the worlds of a seed."""
    with file.open("w") as out:
        for number in range(count):
            out.write(json.dumps(Generator(seed, number).resolution()) + "\n")


def compare(cases: Path, outcomes: Path, answer: Callable[[Json], Json] = decide) -> int:
    """Compare answers. Return the number of cases with different ones."""
    different = 0
    counts: collections.Counter[str] = collections.Counter()
    with cases.open() as left, outcomes.open() as right:
        for line, outcome in zip(left, right, strict=True):
            case, theirs = json.loads(line), json.loads(outcome)
            ours = answer(case)
            counts.update(_kinds(ours))
            if ours != theirs:
                different += 1
                if different <= SHOWN:
                    _show(case, ours, theirs)
    print(", ".join(f"{kind} {n}" for kind, n in sorted(counts.items())))
    return different


def documents(vectors: Path, seed: int, count: int, file: Path) -> None:
    """Write changed documents of the vectors: count random ones, after those with null."""
    cases = json.loads(vectors.read_text())["facts"]
    with file.open("w") as out:
        for case in (*nulls(cases), *(mutate(cases, seed, number) for number in range(count))):
            out.write(json.dumps(case) + "\n")


def compare_facts(documents: Path, facts: Path) -> int:
    """Compare facts. Return the number of documents with different ones."""
    different = 0
    counts: collections.Counter[str] = collections.Counter()
    with documents.open() as left, facts.open() as right:
        for line, outcome in zip(left, right, strict=True):
            case = json.loads(line)
            names = {"kind", "mediaType", "predicateType"} & case.keys()
            ours = _without_problems(extract({n: case[n] for n in names}, case["document"]))
            theirs = _without_problems(json.loads(outcome))
            counts.update(list(ours))
            if ours != theirs:
                different += 1
                if different <= SHOWN:
                    _show(case, ours, theirs)
    print(", ".join(f"{kind} {n}" for kind, n in sorted(counts.items())))
    return different


def _without_problems(facts: Json | None) -> Json:
    return {
        n: v for n, v in (facts or {"none": 1}).items() if n not in ("problems", "problemCount")
    }


def compare_resolutions(cases: Path, outcomes: Path) -> int:
    """Compare resolutions. Return the number of cases with different ones."""
    return compare(cases, outcomes, resolve)


def _kinds(decision: Json) -> list[str]:
    if "accepted" in decision:
        return ["accepted" if decision["accepted"] else "refused"]
    kinds = [decision["decision"], decision.get("reason", "")]
    kinds += [r["reason"] for r in decision.get("results", [])]
    return [kind for kind in kinds if kind]


def _show(case: Json, ours: Json, theirs: Json) -> None:
    print(f"case {case['name']}: {json.dumps(case)}")
    for name in {**ours, **theirs}:
        if ours.get(name) != theirs.get(name):
            print(f"  {name}\n    second: {ours.get(name)}\n    Go:     {theirs.get(name)}")


def main(arguments: list[str]) -> int:
    """Run a command."""
    match arguments:
        case ["generate", seed, count, file]:
            generate(int(seed), int(count), Path(file))
            return 0
        case ["documents", vectors, seed, count, file]:
            documents(Path(vectors), int(seed), int(count), Path(file))
            return 0
        case ["claims", seed, count, file]:
            claims(int(seed), int(count), Path(file))
            return 0
        case ["compare" | "facts" | "resolve" as command, cases, outcomes]:
            commands: dict[str, Callable[[Path, Path], int]] = {
                "compare": compare,
                "facts": compare_facts,
                "resolve": compare_resolutions,
            }
            different = commands[command](Path(cases), Path(outcomes))
            if different:
                print(f"they disagree about {different} cases")
            return 1 if different else 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Random documents: those of facts.json with a few values changed."""

from __future__ import annotations

import json
import random
from typing import Any, Final

from .base import Json
from .reader import Number, Obj, parse

VALUES: Final[list[str]] = [
    "null", '""', "7", "-1", "0", "1e400", "true", "[]", "{}", "[null]", '[""]', '["x", "x"]',
    '{"a": 1, "a": 2}', '"x"', '"CVE-2026-1"', '"pkg:npm/a@1"', '"pkg:"', '"high"', '"10"',
    '"2026-04-19T12:00:00Z"', '"2026-04-19t12:00:00z"', '"1970-01-01T00:00:00Z"', "9.05", "[{}]",
    '"2026-04-19T12:00:00.0009+01:00"', '"\\ud800"', '[7, "x"]', '"not_affected"', "[[]]",
    '{"sha256": "AA", "SHA256": "bb"}', '{"SHA-256": "AA", "sha3-256": ""}', '"' + "x" * 4097 + '"',
]  # fmt: skip


class Document:
    """A mutable JSON document that keeps repeated members."""

    def __init__(self, text: str) -> None:
        self.root = [self._editable(parse(text))]

    def _editable(self, value: Any) -> Any:
        if isinstance(value, Obj):
            return Obj([(name, self._editable(member)) for name, member in value.pairs])
        if isinstance(value, list):
            return [self._editable(element) for element in value]
        return value

    def places(self) -> list[tuple[Any, int]]:
        """Return every place: an object or array, and a position in it."""
        found: list[tuple[Any, int]] = []
        pending: list[Any] = [self.root]
        while pending:
            holder = pending.pop()
            count = len(holder.pairs) if isinstance(holder, Obj) else len(holder)
            for position in range(count):
                found.append((holder, position))
                value = holder.pairs[position][1] if isinstance(holder, Obj) else holder[position]
                if isinstance(value, Obj | list):
                    pending.append(value)
        return found

    def text(self) -> str:
        """Write the document."""
        return _write(self.root[0])


def _write(value: Any) -> str:
    if isinstance(value, Obj):
        members = (f"{json.dumps(name)}: {_write(member)}" for name, member in value.pairs)
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_write, value)) + "]"
    return value.text if isinstance(value, Number) else json.dumps(value)


def mutate(cases: list[Json], seed: int, number: int) -> Json:
    """Return a case of facts.json with up to three changes."""
    chosen = random.Random(f"{seed}/{number}")
    case = chosen.choice(cases)
    try:
        document = Document(case["document"])
    except ValueError:
        return case
    for _ in range(chosen.randint(1, 3)):
        places = document.places()
        if not places:
            break
        holder, position = chosen.choice(places)
        value = parse(chosen.choice(VALUES))
        if isinstance(holder, Obj):
            name = holder.pairs[position][0]
            match chosen.choice(["replace", "replace", "remove", "repeat", "move"]):
                case "replace":
                    holder.pairs[position] = (name, value)
                case "remove":
                    del holder.pairs[position]
                case "repeat":
                    holder.pairs.append((name, value))
                case "move":
                    holder.pairs.append(holder.pairs.pop(position))
        elif chosen.random() < 0.7 or holder is document.root:
            holder[position] = value
        else:
            holder.insert(position, holder[position])
    changed = {name: member for name, member in case.items() if name != "facts"}
    return changed | {"name": f"{seed}/{number}: {case['name']}", "document": document.text()}

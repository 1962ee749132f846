"""Documents: those of facts.json with null in each place, and with random changes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
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

    def objects(self) -> list[tuple[Obj, str]]:
        """Return every object with its path, in which elements of arrays have the same name."""
        found: list[tuple[Obj, str]] = []
        pending: list[tuple[Any, str]] = [(self.root[0], "")]
        while pending:
            value, path = pending.pop()
            if isinstance(value, Obj):
                found.append((value, path))
                pending += [(member, f"{path}.{name}") for name, member in value.pairs]
            elif isinstance(value, list):
                pending += [(element, f"{path}[]") for element in value]
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


def nulls(cases: list[Json]) -> Iterator[Json]:
    """Return the cases of facts.json with null in one place, for each place and each member.

    The members are those of all objects in the place of an object with the same path, so that null
    takes the place of members that a case does not have, too.
    """
    documents = [(case, document) for case in cases if (document := _read(case))]
    members: dict[tuple[str, str], set[str]] = {}
    for case, document in documents:
        for holder, path in document.objects():
            names = members.setdefault((_type(case), path), set())
            names.update(name for name, _ in holder.pairs)
    for case, document in documents:
        for holder, position in document.places():
            pairs: list[Any] = holder.pairs if isinstance(holder, Obj) else holder
            before = pairs[position]
            pairs[position] = (before[0], None) if isinstance(holder, Obj) else None
            yield _changed(case, document, "null")
            pairs[position] = before
        for holder, path in document.objects():
            present = {name for name, _ in holder.pairs}
            for name in sorted(members[_type(case), path] - present):
                holder.pairs.append((name, None))
                yield _changed(case, document, f"null for {name}")
                holder.pairs.pop()


def _read(case: Json) -> Document | None:
    try:
        return Document(case["document"])
    except ValueError:
        return None


def _type(case: Json) -> str:
    return str(case.get("predicateType") or case.get("kind") or case.get("mediaType"))


def _changed(case: Json, document: Document, name: str) -> Json:
    changed = {name: member for name, member in case.items() if name != "facts"}
    return changed | {"name": f"{name}: {case['name']}", "document": document.text()}


def mutate(cases: list[Json], seed: int, number: int) -> Json:
    """Return a case of facts.json with up to three changes."""
    chosen = random.Random(f"{seed}/{number}")
    case = chosen.choice(cases)
    document = _read(case)
    if document is None:
        return case
    for _ in range(chosen.randint(1, 3)):
        places = document.places()
        if not places:
            break
        holder, position = chosen.choice(places)
        value = parse(chosen.choice(VALUES))
        if isinstance(holder, Obj):
            name = holder.pairs[position][0]
            match chosen.choice(["null", "replace", "replace", "remove", "repeat", "move"]):
                case "null":
                    holder.pairs[position] = (name, None)
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
    return _changed(case, document, f"{seed}/{number}")

"""Reading JSON documents by a table of members (facts.md, sections 4 and 5)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

Json = dict[str, Any]

LOST: Final = object()  # the value is malformed
ABSENT: Final = object()  # the value gives no fact

Reader = Callable[["Context", Any, str], Any]


class Obj:
    """A JSON object with its members in order, duplicates included."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs

    def has(self, name: str) -> bool:
        return any(key == name for key, _ in self.pairs)


class Number(float):
    """A number and its text."""

    text: str

    def __new__(cls, text: str) -> Number:
        number = super().__new__(cls, text)
        number.text = text
        return number


def parse(data: str) -> Any:
    """Parse any JSON of RFC 8259, or raise ValueError."""

    def constant(name: str) -> Any:
        raise ValueError(name)

    decoder = json.JSONDecoder(
        object_pairs_hook=Obj, parse_int=Number, parse_float=Number, parse_constant=constant
    )
    return decoder.decode(data)


def clean(text: str) -> str:
    """Return the text with U+FFFD for unpaired surrogates."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


@dataclass
class Context:
    """What reading a document collects."""

    problems: list[Json] = field(default_factory=list)
    late: list[Json] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    exceeded: dict[str, str] = field(default_factory=dict)
    too_deep: bool = False

    def problem(self, path: str, code: str) -> Any:
        self.problems.append({"path": path, "code": code})
        return LOST

    def drop(self, *groups: str) -> None:
        for group in groups:
            self.dropped[group] = self.dropped.get(group, 0) + 1


def absent(value: Any) -> bool:
    """Report whether a value counts as absent."""
    return value is None or value == ""


def join(path: str, name: str) -> str:
    """Return the path of a member."""
    return f"{path}.{name}" if path else name


@dataclass
class Member:
    """A member of an object: its mark, reader and the name of its fact."""

    mark: str
    read: Reader
    fact: str


Tree = dict[str, "Member | Tree"]


def tree(*rows: tuple[str, str, Reader, str]) -> Tree:
    """Build the tree of rows: path of the member, mark, reader and fact."""
    root: Tree = {}
    for path, mark, read, fact in rows:
        *way, last = path.split(".")
        node = root
        for name in way:
            inner = node.setdefault(name, {})
            assert isinstance(inner, dict)
            node = inner
        node[last] = Member(mark, read, fact)
    return root


def first_missing(node: Tree, facts: Json, path: str) -> str | None:
    """Return the path of the first required member without a fact."""
    for name, member in node.items():
        if isinstance(member, Member):
            if member.mark == "r" and member.fact not in facts:
                return join(path, name)
        elif found := first_missing(member, facts, join(path, name)):
            return found
    return None


def read_object(context: Context, node: Tree, value: Any, path: str, facts: Json) -> Any:
    """Read the members of an object into facts."""
    value = Obj([]) if value is None else value
    if not isinstance(value, Obj):
        return context.problem(path, "wrong-type")
    seen: set[str] = set()
    lost: set[str] = set()
    for name, child in value.pairs:
        member = node.get(name)
        if member is None:
            continue
        where = join(path, name)
        if name in seen:
            context.problem(where, "duplicate-member")
            lost.add(name)
        elif child is None:
            pass
        elif isinstance(member, dict):
            if read_object(context, member, child, where, facts) is LOST:
                lost.add(name)
        else:
            result = member.read(context, child, where)
            if result is LOST and member.mark in "rs":
                lost.add(name)
            elif result not in (LOST, ABSENT):
                facts[member.fact] = result
        seen.add(name)
    missing = first_missing({n: m for n, m in node.items() if n not in lost}, facts, path)
    if missing:
        return context.problem(missing, "missing")
    return LOST if lost else facts


def obj(*rows: tuple[str, str, Reader, str]) -> Reader:
    """Return the reader of an object with these members."""
    node = tree(*rows)

    def read(context: Context, value: Any, path: str) -> Any:
        return read_object(context, node, value, path, {})

    return read


def text(allowed: Callable[[str], Any] | None = None) -> Reader:
    """Return the reader of a string. allowed returns the fact, or None for a wrong value."""

    def read(context: Context, value: Any, path: str) -> Any:
        if absent(value):
            return ABSENT
        if not isinstance(value, str):
            return context.problem(path, "wrong-type")
        value = clean(value)
        if len(value.encode()) > 4096:
            return context.problem(path, "too-long")
        if allowed is None:
            return value
        result = allowed(value)
        return context.problem(path, "wrong-value") if result is None else result

    return read


def required(read: Reader) -> Reader:
    """Return the reader of an element that must not be absent."""

    def present(context: Context, value: Any, path: str) -> Any:
        result = read(context, value, path)
        return context.problem(path, "missing") if result is ABSENT else result

    return present


def one_of(*values: str) -> Reader:
    """Return the reader of an enumeration."""
    return text(lambda value: value if value in values else None)


def number(low: float, high: float) -> Reader:
    """Return the reader of a number in a range."""

    def read(context: Context, value: Any, path: str) -> Any:
        if not isinstance(value, Number):
            return context.problem(path, "wrong-type")
        if not low <= value <= high or value == float("inf"):
            return context.problem(path, "wrong-value")
        return float(value)

    return read


def integer(low: int, high: int = (1 << 53) - 1) -> Reader:
    """Return the reader of an integer in a range."""
    inner = number(low, high)

    def read(context: Context, value: Any, path: str) -> Any:
        found = inner(context, value, path)
        if found is LOST or found.is_integer():
            return found if found is LOST else int(found)
        return context.problem(path, "wrong-value")

    return read


def some(read: Reader) -> Reader:
    """Return the reader of an array that counts as absent without elements."""

    def present(context: Context, value: Any, path: str) -> Any:
        return ABSENT if value == [] else read(context, value, path)

    return present


def boolean(context: Context, value: Any, path: str) -> Any:
    """Read true or false."""
    return value if isinstance(value, bool) else context.problem(path, "wrong-type")


def canonical_time(value: str) -> str | None:
    """Return a time of RFC 3339 in UTC with milliseconds, or None."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", value):
        return None
    try:
        time = datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    time = time.replace(microsecond=time.microsecond // 1000 * 1000)
    if time <= datetime(1970, 1, 1, tzinfo=UTC):
        return None
    fraction = f".{time.microsecond // 1000:03d}".rstrip("0").rstrip(".")
    return f"{time:%Y-%m-%dT%H:%M:%S}{fraction}Z"


time: Final = text(canonical_time)


def items(element: Reader, limit: int = 1 << 62) -> Reader:
    """Return the reader of an array that is lost with each of its elements."""

    def read(context: Context, value: Any, path: str) -> Any:
        if not isinstance(value, list):
            return context.problem(path, "wrong-type")
        found: list[Any] = []
        lost = False
        for position, child in enumerate(value):
            where = f"{path}[{position}]"
            result = element(context, child, where)
            if result is LOST:
                lost = True
            elif result is not ABSENT and len(found) == limit:
                context.problem(where, "too-long")
                lost = True
            elif result is not ABSENT:
                found.append(result)
        return LOST if lost else found

    return read


def texts(limit: int = 64, found: list[str] | None = None) -> Reader:
    """Return the reader of a list of strings, without empty and repeated ones.

    found can be shared by several lists, which then have one limit together.
    """

    def read(context: Context, value: Any, path: str) -> Any:
        names: list[str] = [] if found is None else found

        def one(context: Context, child: Any, where: str) -> Any:
            name = text()(context, child, where)
            if name in (LOST, ABSENT) or name in names:
                return LOST if name is LOST else ABSENT
            if len(names) == limit:
                return context.problem(where, "too-long")
            names.append(name)
            return ABSENT

        return LOST if items(one)(context, value, path) is LOST else names or ABSENT

    return read


def elements(element: Reader, *groups: str) -> Reader:
    """Return the reader of an array marked E: lost elements are dropped."""

    def read(context: Context, value: Any, path: str) -> Any:
        if not isinstance(value, list):
            return context.problem(path, "wrong-type")
        found: list[Any] = []
        for position, child in enumerate(value):
            result = element(context, child, f"{path}[{position}]")
            if result is LOST:
                context.drop(*groups)
            elif result is not ABSENT:
                found.append(result)
        if len(found) > 50000:
            for group in groups:
                context.exceeded[group] = "elements"
        return found

    return read

"""SPDX expressions and allow-lists (export-manifest.md, section 4)."""

import re
from collections.abc import Set
from dataclasses import dataclass

from ..errors import FormatError
from ..strictjson import quote
from .tables import spdx

MAX_EXPRESSION = 1024
"""Size limit of an expression, in bytes."""

_MAX_NESTING = 16
_ID = re.compile(r"[A-Za-z0-9.-]+", re.ASCII)
_OPERATORS = frozenset({"AND", "OR", "WITH"})
_REFERENCE = re.compile(r"LicenseRef-.+")


@dataclass(frozen=True, slots=True)
class Atom:
    """A licence, with `+` or its LicenseRef, and an exception, empty if there is none."""

    license: str
    exception: str

    @property
    def text(self) -> str:
        """The text that an allow-list must have."""
        return f"{self.license} WITH {self.exception}" if self.exception else self.license

    def atoms(self) -> list["Atom"]:
        """Return the atom itself."""
        return [self]

    def is_allowed(self, allowed: Set[str]) -> bool:
        """Report whether an allow-list, a set of texts of atoms, has the atom."""
        return self.text in allowed

    @property
    def is_known(self) -> bool:
        """Whether the SPDX list has the licence and the exception. LicenseRefs are known."""
        own = self.license.startswith(("LicenseRef-", "DocumentRef-"))
        known = own or self.license.removesuffix("+") in spdx().licenses
        return known and (not self.exception or self.exception in spdx().exceptions)


@dataclass(frozen=True, slots=True)
class Compound:
    """Two or more operands that `AND` or `OR` joins."""

    operator: str
    operands: tuple["Expression", ...]

    def atoms(self) -> list[Atom]:
        """Return the atoms of the expression, in order."""
        return [atom for operand in self.operands for atom in operand.atoms()]

    def is_allowed(self, allowed: Set[str]) -> bool:
        """Report whether an allow-list, a set of texts of atoms, admits the expression."""
        decide = all if self.operator == "AND" else any
        return decide(operand.is_allowed(allowed) for operand in self.operands)


Expression = Atom | Compound
"""A parsed expression."""


def parse_expression(text: str) -> Expression:
    """Parse an expression by the grammar. Raises FormatError."""
    parser = _Parser(text)
    expression = parser.expression(0)
    if parser.at != len(text):
        raise FormatError(f"licence {quote(text)}: unexpected text at character {parser.at}")
    return expression


class _Parser:
    """A recursive-descent parser. _MAX_NESTING bounds the recursion."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.at = 0

    def _error(self, message: str) -> FormatError:
        return FormatError(f"licence {quote(self._text)}: {message} (at character {self.at})")

    def expression(self, depth: int) -> Expression:
        return self._list("OR", depth)

    def _list(self, operator: str, depth: int) -> Expression:
        operands = [self._operand(operator, depth)]
        while self._operator(operator):
            operands.append(self._operand(operator, depth))
        return operands[0] if len(operands) == 1 else Compound(operator, tuple(operands))

    def _operand(self, operator: str, depth: int) -> Expression:
        return self._list("AND", depth) if operator == "OR" else self._factor(depth)

    def _spaces(self) -> int:
        """Skip spaces, and return their number."""
        start = self.at
        while self._text.startswith(" ", self.at):
            self.at += 1
        return self.at - start

    def _operator(self, name: str) -> bool:
        """Skip an operator with spaces around it, if one follows. Report whether it did."""
        start = self.at
        if self._spaces() and self._text.startswith(f"{name} ", self.at):
            self.at += len(name)
            self._spaces()
            return True
        self.at = start
        return False

    def _factor(self, depth: int) -> Expression:
        if not self._text.startswith("(", self.at):
            return self._atom()
        if depth == _MAX_NESTING:
            raise self._error("too many parentheses within each other")
        self.at += 1
        self._spaces()
        inner = self.expression(depth + 1)
        self._spaces()
        if not self._text.startswith(")", self.at):
            raise self._error("a parenthesis is not closed")
        self.at += 1
        return inner

    def _atom(self) -> Atom:
        name = self._license()
        return Atom(name, self._id() if self._operator("WITH") else "")

    def _license(self) -> str:
        name = self._id()
        if name.startswith("DocumentRef-"):
            if name == "DocumentRef-" or not self._text.startswith(":", self.at):
                raise self._error("a DocumentRef without a LicenseRef")
            self.at += 1
            return f"{name}:{self._reference(self._id())}"
        if name.startswith("LicenseRef-"):
            return self._reference(name)
        if self._text.startswith("+", self.at):
            self.at += 1
            return f"{name}+"
        return name

    def _reference(self, name: str) -> str:
        if _REFERENCE.fullmatch(name) is None:
            raise self._error("not a LicenseRef")
        return name

    def _id(self) -> str:
        match = _ID.match(self._text, self.at)
        if match is None or match[0] in _OPERATORS:
            raise self._error("expected a licence")
        self.at = match.end()
        return match[0]


def check_allowed(text: str) -> None:
    """Raise FormatError unless `text` is that of an atom with known parts."""
    expression = parse_expression(text)
    if not isinstance(expression, Atom) or expression.text != text or not expression.is_known:
        raise FormatError(f"{quote(text)} is not a single licence that is known")


def decide(expression: str, allowed: Set[str] | None) -> str:
    """Return `allowed`, or a code of step 6. Without an allow-list, known licences are allowed."""
    try:
        parsed = parse_expression(expression)
    except FormatError:
        return "license-malformed"
    if not all(atom.is_known for atom in parsed.atoms()):
        return "license-unknown"
    if allowed is not None and not parsed.is_allowed(allowed):
        return "license-not-allowed"
    return "allowed"

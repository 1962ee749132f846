"""What the records of a stream claim: kinds and spends (docs/spec/verify.md, section 4)."""

from typing import Any

from .bundle.records import Record
from .errors import FormatError
from .export.epsilon import ZCDP
from .export.number import DIGITS, T, parse_decimal
from .export.statement import PREDICATE_TYPE
from .kinds import KindName

_ATTRIBUTES = ("budget", "flavor", "privacyUnit", "neighboringRelation")


class StreamClaims:
    """Counts the entries of a stream by kind, and adds the spends of each budget."""

    def __init__(self) -> None:
        self._times: list[int] = []
        self._kinds: dict[str, int] = {}
        self._spends: dict[tuple[str, ...], list[int]] = {}
        self.unreadable = False

    def add(self, record: Record) -> None:
        """Add the next record of the stream."""
        self._times = [self._times[0] if self._times else record.time, record.time]
        if record.header is None:
            self.unreadable = True
            return
        kind = record.header.kind
        self._kinds[kind] = self._kinds.get(kind, 0) + 1
        if record.header.predicate_type == PREDICATE_TYPE:
            self._add_spend(kind, record)

    def _add_spend(self, kind: str, record: Record) -> None:
        if kind != KindName.EXPORT_MANIFEST:
            self.unreadable = True
            return
        attributes = record.attributes
        if "budget" not in attributes:
            return
        name = "rho" if attributes.get("flavor") == ZCDP else "epsilon"
        try:
            amount = parse_decimal(attributes.get(name, "")).units
        except FormatError:
            self.unreadable = True
            return
        total = self._spends.setdefault(tuple(attributes.get(a, "") for a in _ATTRIBUTES), [0, 0])
        total[0] += 1
        total[1] += amount

    def to_json(self) -> dict[str, Any]:
        """Return the members of `claimed` that only streams have."""
        claimed: dict[str, Any] = {}
        if self._times:
            claimed = {"first": self._times[0], "newest": self._times[1]}
        by_bytes = sorted(self._kinds.items(), key=lambda item: item[0].encode("utf-8"))
        claimed["kinds"] = [{"kind": kind, "entries": count} for kind, count in by_bytes]
        if not self.unreadable:
            claimed["spends"] = [
                dict(zip(_ATTRIBUTES, key, strict=True)) | {"spends": count, "sum": _decimal(total)}
                for key, (count, total) in sorted(
                    self._spends.items(), key=lambda item: [t.encode("utf-8") for t in item[0]]
                )
            ]
        return claimed


def _decimal(units: int) -> str:
    """Return a decimal of units of 1/T, without trailing zeros of a fraction."""
    whole, rest = divmod(units, T)
    fraction = f"{rest:0{DIGITS}d}".rstrip("0")
    return f"{whole}.{fraction}" if fraction else str(whole)

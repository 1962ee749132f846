"""The stream of the tenant (export-manifest.md, section 6; section 7, step 10)."""

from dataclasses import dataclass

from ..bundle.archive import BundleSource, Source
from ..bundle.errors import BundleError
from ..bundle.opened import Bundle
from ..bundle.records import Record, records
from ..bundle.verify import check_inputs, verify_source
from ..errors import FormatError
from ..kinds import KindName
from ..policy import Policy
from ..statement import Statement
from .epsilon import ZCDP
from .errors import ExportError
from .number import parse_decimal
from .privacy import spent
from .statement import PREDICATE_TYPE, Manifest, Privacy

_STEP = 10


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What a complete stream shows.

    `size` and `entries` are the numbers of leaves of the log and of entries of the stream. `spends`
    is the number of spends of the budget up to the manifest's, and `later` of those after it.
    """

    size: int
    entries: int
    spends: int
    later: int

    def to_json(self) -> dict[str, int]:
        """Return the member `stream` of the JSON report."""
        return {
            "size": self.size,
            "entries": self.entries,
            "spends": self.spends,
            "later": self.later,
        }


def check_stream(
    stream: BundleSource,
    policies: list[Policy],
    stream_key: bytes,
    manifest: Manifest,
    receipt: Statement,
) -> StreamFacts:
    """Perform step 10. Raises ExportError."""
    try:
        check_inputs(policies, stream_key, None, manifest.tenant)
        with Source(stream) as source:
            bundle, report = verify_source(source, policies, stream_key, None, manifest.tenant)
            scan = _Scan(manifest, receipt)
            scan.read(bundle)
    except BundleError as error:
        step = _STEP if error.step else 0
        raise ExportError(error.code, f"stream: {error.message}", step) from None
    scan.judge()
    return StreamFacts(report.size, report.entries, scan.spends, scan.later)


def _attributes(privacy: Privacy) -> dict[str, str | None]:
    """Return the attributes that the header of the manifest's entry has."""
    return {
        "flavor": privacy.flavor,
        "privacyUnit": privacy.unit,
        "neighboringRelation": privacy.relation,
        "epsilon": privacy.epsilon.text,
        "delta": None if privacy.delta is None else privacy.delta.text,
        "rho": None if privacy.rho is None else privacy.rho.text,
    }


class _Scan:
    """Collects what step 10 needs of the records. The first fault of each kind counts."""

    def __init__(self, manifest: Manifest, receipt: Statement) -> None:
        self._manifest = manifest
        self._receipt = receipt
        self._own: Record | None = None
        self._missing = {entry for claim in manifest.claims for entry in claim.evidence}
        self._hidden: ExportError | None = None  # step 10.5
        self._fault: ExportError | None = None  # step 10.6
        self._sum = 0
        self.spends = 0
        self.later = 0

    def read(self, bundle: Bundle) -> None:
        """Read the records."""
        for record in records(bundle):
            self._missing.discard((record.index, record.leaf_hash.hex()))
            found = record.index, record.leaf_hash
            if found == (self._receipt.index, self._receipt.leaf_hash):
                self._own = record
            if self._manifest.privacy is not None:
                self._count(record, self._manifest.privacy)

    def _count(self, record: Record, privacy: Privacy) -> None:
        up_to = record.index <= self._receipt.index
        header = record.header
        if header is None or (
            header.predicate_type == PREDICATE_TYPE and header.kind != KindName.EXPORT_MANIFEST
        ):
            if up_to and self._hidden is None:
                reason = f"entry {record.index}: its header does not show whether it is a spend"
                self._hidden = ExportError("spend-unreadable", reason, _STEP)
        elif not _is_spend(record, privacy.budget):
            return
        elif not up_to:
            self.later += 1
        else:
            self.spends += 1
            if self._fault is None:
                self._fault = self._add(record, privacy)

    def _add(self, record: Record, privacy: Privacy) -> ExportError | None:
        """Add the amount of a spend. Return the fault that prevents it, if any (step 10.6)."""
        attributes, expected = record.attributes, _attributes(privacy)
        names = ("flavor", "privacyUnit", "neighboringRelation")
        if any(attributes.get(name) != expected[name] for name in names):
            reason = f"entry {record.index}: its losses are of another sort than the manifest's"
            return ExportError("spend-differs", reason, _STEP)
        try:
            name = "rho" if privacy.flavor == ZCDP else "epsilon"
            self._sum += parse_decimal(attributes.get(name, "")).units
        except FormatError as error:
            reason = f"entry {record.index}: {error.message}"
            return ExportError("spend-unreadable", reason, _STEP)
        return None

    def judge(self) -> None:
        """Perform steps 10.2 to 10.7."""
        privacy = self._manifest.privacy
        if self._own is None:
            reason = "the stream has no entry with the index and leaf hash of the receipt"
            raise ExportError("entry-missing", reason, _STEP)
        if privacy is not None and not _is_same(self._own, privacy):
            reason = "the header of the manifest's entry has another spend than the manifest"
            raise ExportError("entry-differs", reason, _STEP)
        if self._missing:
            reason = f"the stream has no entry {min(self._missing)[0]} with the stated leaf hash"
            raise ExportError("evidence-missing", reason, _STEP)
        for fault in (self._hidden, self._fault):
            if fault is not None:
                raise fault
        if privacy is not None and self._sum > spent(privacy).units:
            reason = "the recorded exports spent more of the budget than the manifest states"
            raise ExportError("spent-understated", reason, _STEP)


def _is_spend(record: Record, budget: str) -> bool:
    header = record.header
    return (
        header is not None
        and (header.kind, header.predicate_type) == (KindName.EXPORT_MANIFEST, PREDICATE_TYPE)
        and record.attributes.get("budget") == budget
    )


def _is_same(record: Record, privacy: Privacy) -> bool:
    attributes = record.attributes
    return _is_spend(record, privacy.budget) and all(
        attributes.get(name) == text for name, text in _attributes(privacy).items()
    )

"""The report of a verification (docs/spec/verify.md, sections 4, 5 and 7)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from .files import File, sha256
from .page import page
from .printable import escape

Kind = Literal["receipt", "sigstore-bundle", "export", "stream", "evidence-bundle"]
"""The kinds of verification."""

Verdict = Literal["verified", "not-verified", "error"]
"""`error`: the file may be good or bad."""

VERIFIER = "muniment-python"
"""The name of this verifier in reports that are recorded."""

WARNINGS: Mapping[str, str] = {
    "artifact-not-checked": (
        "No artifact was given, so it is not known what the signature is about."
    ),
    "completeness-not-checked": (
        "No stream key was given, so entries could be missing at the end of the stream."
    ),
    "content-not-checked": "The bytes of the evidence were not checked.",
    "erased": "A part is absent because it was erased, or is said to have been.",
    "evidence-not-checked": (
        "No stream was given, so the entries that support claims about places were not found."
    ),
    "files-not-checked": (
        "The files of the export were not given, so nothing is known about them."
    ),
    "licenses-not-decided": "No list of allowed licences was given.",
    "not-admitted": ("The log recorded the entry although its admission policy did not admit it."),
    "not-recorded": "No receipt was given, so the export may not be recorded in a log.",
    "not-witnessed": (
        "The trust policy requires no witness, so the log could show others something else."
    ),
    "other-list": "The manifest was written for another version of the SPDX list.",
    "reports-not-compared": (
        "The reports in the bundle are its creator's account: this program does not compute them."
    ),
    "residency-not-decided": "Nothing limits the places where the data may be.",
    "residency-without-evidence": "A claim about places has no evidence entries.",
    "signature-failed": "The log states that the signature of the evidence is invalid.",
    "signature-unverified": "The log did not verify the signature of the evidence.",
    "spends-not-checked": (
        "No stream was given, so other spends of the privacy budget are not known."
    ),
    "spends-unreadable": (
        "Spends of privacy budgets cannot be added: an entry could be one, or has no readable "
        "amount."
    ),
}
"""Maps the code of each warning to its sentence."""

_VERDICTS: Mapping[Verdict, str] = {
    "verified": "✓ VERIFIED",
    "not-verified": "✗ NOT VERIFIED",
    "error": "? ERROR",
}
_ANCHORS: Mapping[str | None, str] = {
    None: "",
    "receipt": "#receipts",
    "sigstore-bundle": "#sigstore-bundles",
    "export": "#exports",
    "stream": "#streams",
    "evidence-bundle": "#evidence-bundles",
}
_TIMES = frozenset({"time", "first", "newest", "integratedTime"})
_LAST_TIME = 253_402_300_800_000
_MAX_DETAIL = 2048

Item = tuple[str, str]
"""A label and a value."""


@dataclass(frozen=True, slots=True)
class Report:
    """The report of one verification. It is no boolean: compare `verdict` with `verified`.

    - `file`: the file, as the caller named it.
    - `kind`: None if it was not recognized.
    - `code`, `step`, `message`: of the first failing check. None if verified.
    - `proven`, `claimed`: what the file proves, and what others claim. Empty unless verified.
    - `warnings`: the checks that were not performed, and what else weakens the verdict.
    """

    file: str
    kind: Kind | None
    verdict: Verdict
    code: str | None = None
    step: int | None = None
    message: str | None = None
    proven: Mapping[str, Any] = field(default_factory=dict)
    claimed: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def is_verified(self) -> bool:
        """Whether the verdict is `verified`. Read the warnings too."""
        return self.verdict == "verified"

    def __bool__(self) -> bool:
        """Refuse to be a boolean: `if report:` would ignore an error, or the warnings."""
        raise TypeError("a report is no boolean: compare report.verdict with 'verified'")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of the report."""
        members: dict[str, Any] = {"file": self.file, "kind": self.kind, "verdict": self.verdict}
        if self.is_verified:
            members |= {
                "proven": dict(self.proven),
                "claimed": dict(self.claimed),
                "warnings": list(self.warnings),
            }
        else:
            members |= {"code": self.code, "step": self.step, "message": self.message}
        return {name: value for name, value in members.items() if value is not None}

    def to_json(self) -> str:
        """Return the report as JSON on one line, safe to print on a terminal."""
        return escape(json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":")))

    def to_text(self) -> str:
        """Return the report as text for people. Each line ends with a line feed."""
        lines = ["  ".join(filter(None, (_VERDICTS[self.verdict], self.kind, escape(self.file))))]
        if not self.is_verified:
            lines.append(f"  step {self.step}: {escape(self.message or '')} ({self.code})")
        for title, items in self.sections():
            width = max(len(label) for label, _ in items)
            lines.append(title)
            lines += [f"  {label:{width}}  {value}" for label, value in items]
        lines.append(self.boundary)
        return "".join(f"{line}\n" for line in lines)

    def to_html(self) -> str:
        """Return the report as one HTML page that needs no other file and has no scripts."""
        reason = None
        if not self.is_verified:
            reason = (str(self.step), escape(self.message or ""), self.code or "")
        return page(
            verdict=_VERDICTS[self.verdict],
            state=self.verdict,
            kind=self.kind,
            file=escape(self.file),
            reason=reason,
            sections=self.sections(),
            boundary=self.boundary,
        )

    @property
    def boundary(self) -> str:
        """The line that names the page about the limits of this report."""
        return "What this report does not prove: docs/sdk-trust-boundary.md" + _ANCHORS[self.kind]

    def sections(self) -> list[tuple[str, list[Item]]]:
        """Return the sections of a verified report, with their title and escaped items."""
        if not self.is_verified:
            return []
        warnings = [(code, WARNINGS.get(code, "")) for code in self.warnings]
        found = [
            ("Proven", list(_items(self.proven))),
            ("Claimed, not proven", list(_items(self.claimed))),
            ("Warnings", warnings),
        ]
        return [
            (title, [(escape(label), escape(value)) for label, value in items])
            for title, items in found
            if items
        ]

    def to_evidence(self, file: File | None = None, *, now: datetime | None = None) -> bytes:
        """Return the report as the payload of an entry of kind `verification-report`.

        Nothing is recorded by this. `file` is the verified file, whose digest the payload then has.
        `now` is the time of the verification, by default the current.
        """
        from . import __version__  # noqa: PLC0415 - the package imports this module

        moment = (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
        entry = self.proven.get("entry", self.proven)
        payload: dict[str, Any] = {
            "verdict": self.verdict,
            "reasonCode": self.code or "verified",
            "version": __version__,
            "verifier": VERIFIER,
            "verifiedAt": moment.isoformat().replace("+00:00", "Z"),
        }
        if self.kind in ("receipt", "export") and "index" in entry:
            payload["index"] = str(entry["index"])
        payload["detail"] = self._detail()
        digest = None if file is None else sha256(file)
        if digest is not None:
            name = self.file.replace("\\", "/").rstrip("/").rpartition("/")[2]
            payload["subjects"] = [{"name": name[:512], "digest": {"sha256": digest}}]
        return json.dumps(payload, ensure_ascii=False).encode()

    def _detail(self) -> str:
        parts: list[str] = [self.kind or "unknown kind"]
        if not self.is_verified:
            parts.append(f"step {self.step}: {escape(self.message or '')}")
        if self.warnings:
            parts.append(f"warnings: {', '.join(self.warnings)}")
        return "; ".join(parts).encode()[:_MAX_DETAIL].decode("utf-8", "ignore")


def _items(members: Mapping[str, Any]) -> Iterator[Item]:
    """Yield the items of an object (section 5)."""
    for name, value in members.items():
        if isinstance(value, Mapping):
            for path, text in _leaves(value):
                yield f"{name}.{path}", text
        elif not isinstance(value, Sequence) or isinstance(value, str):
            yield name, _scalar(name, value)
        elif not value:
            yield name, "none"
        else:
            for element in value:
                yield name, _element(name, element)


def _element(name: str, value: Any) -> str:  # noqa: ANN401 - JSON
    if isinstance(value, Mapping | list | tuple):
        return ", ".join(f"{path} {text}" for path, text in _leaves(value))
    return _scalar("time" if name == "times" else "", value)


def _leaves(value: Any, name: str = "") -> Iterator[Item]:  # noqa: ANN401 - JSON
    """Yield the path and the text of each leaf of an object or array."""
    if isinstance(value, Mapping):
        for member, inner in value.items():
            yield from _paths(member, inner, member)
    else:
        own = "time" if name == "times" else ""
        for index, inner in enumerate(value):
            yield from _paths(f"[{index}]", inner, own)


def _paths(path: str, value: Any, name: str) -> Iterator[Item]:  # noqa: ANN401 - JSON
    if not isinstance(value, Mapping | list | tuple):
        yield path, _scalar(name, value)
        return
    for inner, text in _leaves(value, name):
        yield (f"{path}{inner}" if inner.startswith("[") else f"{path}.{inner}"), text


def _scalar(name: str, value: Any) -> str:  # noqa: ANN401 - JSON
    """Return the text of a string, number or boolean that is the value of a member."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name in _TIMES and value < _LAST_TIME:
        seconds, rest = divmod(value, 1000)
        return f"{value} ({datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z)"
    return str(value)

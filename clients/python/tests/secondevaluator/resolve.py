"""Whether linked entries resolve a finding (controls.md, section 5)."""

from __future__ import annotations

from typing import Final

from .base import Entry, Json, same_artifact
from .controls import Control, ControlSet, SpecError, read_set
from .decide import Artifact, Decision

MAX_CHECKS: Final = 64


class RefusedError(Exception):
    """The evidence is refused, whatever the controls are."""


def resolve(case: Json) -> Json:
    """Return whether the evidence of a case is accepted, and by which controls."""
    try:
        accepted = Resolution(case).accepted()
    except RefusedError:
        accepted = None
    found: Json = {"accepted": accepted is not None}
    return found | ({"acceptedBy": accepted} if accepted else {})


class Trial(Decision):
    """The check of one control for one artifact, or for linked entries without subjects."""

    def __init__(self, case: Json, control: Control, controls: ControlSet, subject: Json) -> None:
        kind = control.types[0] if len(control.types) == 1 else "file"
        question = {"subject": {"type": kind, **subject}, "stage": control.modes[0].stage}
        super().__init__({n: case[n] for n in ("entries", "size", "time")} | question)
        self.controls = controls
        self.relevant = self._relevant()
        finding = case["finding"]
        self.resolves = (finding["id"].upper(), bool(finding.get("subjects")))

    def link(self, linked: list[Entry]) -> None:
        """Make the linked entries the only evidence."""
        self.linked = {e.index for e in linked}
        self.relevant = [e for e in self.entries if e.kind == "finding" or e.index in self.linked][
            ::-1
        ]

    def selected(self, control: Control) -> set[int] | None:
        """Return the entries that are selected if the check is satisfied, and otherwise None."""
        artifact = Artifact(self, [self.subject["digest"]])
        if artifact.check(control, set()).result != "satisfied":
            return None
        return artifact.selected(control)


class Resolution:
    """The examination of one claim."""

    def __init__(self, case: Json) -> None:
        self.case = case
        self.finding: Json = case["finding"]
        self.subjects: list[Json] = self.finding.get("subjects", [])
        self.entries = {e["index"]: Entry(e) for e in case["entries"] if e["index"] < case["size"]}
        self.checks = 0

    def accepted(self) -> list[str] | None:
        """Return the controls that accept the evidence, or None if it is refused."""
        linked = [self.entries.get(index) for index in self.finding["evidence"]]
        found = [e for e in linked if e is not None and not e.erased]
        if len(found) < len(linked):
            return None
        names = self.finding.get("controls", [])
        if not names:
            return [] if all(map(self._about, found)) else None
        try:
            controls = read_set([self.entries[index] for index in sorted(self.entries)])
        except SpecError:
            return None
        if controls is None:
            return None
        ids = [i for i in names if i in controls.controls]
        return [i for i in ids if self._accepts(controls.controls[i], controls, found)] or None

    def _about(self, entry: Entry) -> bool:
        subjects = entry.subjects
        if entry.kind == "gate-decision" and len(subjects) > 1:
            subjects = subjects[1:]
        return Artifact.counts(entry) and any(
            same_artifact(s["digest"], of["digest"]) for s in subjects for of in self.subjects
        )

    def _accepts(self, control: Control, controls: ControlSet, linked: list[Entry]) -> bool:
        if self.subjects:
            return self._for(control, controls, self.subjects, linked)
        for entry in linked:
            if entry.subjects and not any(
                self._for(control, controls, [s], [entry]) for s in entry.subjects
            ):
                return False
        bare = [e for e in linked if not e.subjects]
        if not bare:
            return True
        trial = self._trial(control, controls, {"digest": {}})
        trial.link(bare)
        selected = trial.selected(control)
        return selected is not None and selected >= {e.index for e in bare}

    def _for(
        self, control: Control, controls: ControlSet, subjects: list[Json], linked: list[Entry]
    ) -> bool:
        selected: set[int] = set()
        for subject in subjects:
            found = self._trial(control, controls, subject).selected(control)
            if found is None:
                return False
            selected |= found
        return selected >= {e.index for e in linked}

    def _trial(self, control: Control, controls: ControlSet, subject: Json) -> Trial:
        self.checks += 1
        if self.checks > MAX_CHECKS:
            raise RefusedError
        return Trial(self.case, control, controls, subject)

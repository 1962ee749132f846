"""The runner for files of mutants (receipt.md, section 6)."""

import base64
import json
from pathlib import Path

from muniment.mutants import fingerprint, run
from vectors import ADVERSARIAL, CASES, Case


def line(number: int, chosen: Case) -> str:
    """Return a case of the vectors as a line for the runner."""

    def encode(data: bytes | None) -> str | None:
        return None if data is None else base64.b64encode(data).decode()

    members = {
        "id": number,
        "receipt": encode(chosen.receipt),
        "policies": [encode(text) for text in chosen.policy_texts],
        "streamKey": encode(chosen.stream_key_text),
        "payload": encode(chosen.payload),
        "external": encode(chosen.external),
        "headerOnly": chosen.header_only or None,
        "expect": chosen.expect or None,
    }
    return json.dumps({name: value for name, value in members.items() if value is not None})


def test_the_vectors(tmp_path: Path) -> None:
    file = tmp_path / "mutants"
    cases = CASES + ADVERSARIAL
    file.write_text("".join(f"{line(n, c)}\n" for n, c in enumerate(cases)))
    results = list(run(str(file)))
    for number, (chosen, result) in enumerate(zip(cases, results, strict=True)):
        identifier, verdict, rest = result.split(" ")
        assert (identifier, verdict) == (str(number), chosen.verdict)
        if chosen.verdict != "verified":
            assert rest == chosen.reason


def test_fingerprint_covers_every_member() -> None:
    verified = [c for c in CASES if c.verdict == "verified"]
    by_report: dict[str, set[str]] = {}
    for chosen in verified:
        by_report.setdefault(fingerprint(chosen.verify()), set()).add(json.dumps(chosen.report))
    assert all(len(reports) == 1 for reports in by_report.values())


def test_policies_are_checked_before_the_stream_key(tmp_path: Path) -> None:
    file = tmp_path / "mutants"
    mutant: dict[str, object] = {"id": 7, "receipt": "", "policies": ["eA=="], "streamKey": ""}
    file.write_text(json.dumps(mutant) + "\n" + json.dumps(mutant | {"policies": []}))
    assert list(run(str(file))) == [
        "7 not-checked policy-malformed",
        "7 not-checked policy-missing",
    ]

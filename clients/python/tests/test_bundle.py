"""The verification of evidence bundles."""

import io
import random
import re
from pathlib import Path

import pytest

from bundlevectors import BundleCase, bundle_cases
from muniment import Policy, bundle
from muniment.bundle.archive import BLOCK, header
from muniment.bundle.tiles import Tile, tiles

SPEC = Path(__file__).resolve().parents[3] / "docs/spec/bundle.md"
CASES = bundle_cases("bundles.json")
REPORTS = bundle_cases("bundle-reports.json")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_vector(case: BundleCase) -> None:
    raw = case.raw
    assert case.verify() == (raw["verdict"], raw.get("reason"), raw.get("report"))


@pytest.mark.parametrize("case", REPORTS, ids=lambda case: case.name)
def test_reports_are_not_compared(case: BundleCase) -> None:
    verdict, _, report = case.verify()
    assert verdict == "verified"
    assert report is not None
    assert "reports-not-compared" in report["warnings"]
    if case.raw["verdict"] == "verified":
        assert report == {**case.raw["report"], "warnings": report["warnings"]}


def test_steps_are_those_of_the_specification() -> None:
    text = SPEC.read_text(encoding="utf-8").partition("### Steps")[2].partition("### What")[0]
    specified: dict[str, int] = {}
    for number, step in re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |\Z)", text, re.MULTILINE | re.DOTALL):
        for code in re.findall(r"`([a-z]+(?:-[a-z]+)+)`", step):
            if code in bundle.BUNDLE_STEPS:
                specified.setdefault(code, int(number))
    inputs = {"policy-missing", "policy-malformed", "stream-key-malformed", "unreadable"}
    inputs |= {"expectation-malformed"}
    inputs |= {f"checkpoint-{kind}" for kind in ("origin", "signature", "unsigned", "quorum")}
    steps = {code: step for code, step in bundle.BUNDLE_STEPS.items() if code not in inputs}
    assert specified == steps


@pytest.mark.parametrize("seed", range(6))
def test_mutants_raise_only_the_error_of_the_package(seed: int) -> None:
    rng = random.Random(seed)
    chosen = next(c for c in CASES if c.name == "good and complete")
    original = chosen.bundle()
    for _ in range(60):
        data = bytearray(original)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(data))
            if rng.random() < 0.5:
                data[at] ^= 1 << rng.randrange(8)
            else:
                insert = rng.choice([b"", b"\0", b"}", b'"', b"\xff", bytes(BLOCK), b"9" * 5000])
                data[at : at + rng.choice([0, 1, len(insert), BLOCK])] = insert
        verdict, _, report = chosen.verify(bytes(data))
        assert (verdict == "verified") == (report is not None)


def test_a_change_is_refused_or_changes_the_identity() -> None:
    chosen = next(c for c in CASES if c.name == "good and complete")
    original = chosen.bundle()
    for at in range(0, len(original), 97):
        data = bytearray(original)
        data[at] ^= 0x10
        verdict, _, report = chosen.verify(bytes(data))
        same = report is not None and report["identity"] == chosen.raw["report"]["identity"]
        assert verdict == "refused" or not same, at


def test_sources_are_equal(tmp_path: Path) -> None:
    case = next(c for c in CASES if c.name == "good")
    policies = [Policy.parse(case.file["policies"]["log"].encode(), "log")]
    data = case.bundle()
    path = tmp_path / "a.bundle.tar"
    path.write_bytes(data)
    reports = [bundle.verify(s, policies) for s in (path, data, io.BytesIO(data))]
    assert reports[0] == reports[1] == reports[2]
    for unreadable in (tmp_path / "absent", tmp_path):
        with pytest.raises(bundle.BundleError) as caught:
            bundle.verify(unreadable, policies)
        assert (caught.value.code, caught.value.step) == ("unreadable", 0)
        assert caught.value.verdict == "not-checked"


def test_records_are_visited_in_order() -> None:
    case = next(c for c in CASES if c.name == "good")
    policies = [Policy.parse(case.file["policies"]["log"].encode(), "log")]
    visited: list[bundle.Record] = []
    report = bundle.verify(case.bundle(), policies, visit=visited.append)
    assert [record.seq for record in visited] == list(range(report.entries))
    assert visited[-1].leaf_hash == report.last
    assert [r.index for r in visited if r.payload == "erased"] == list(report.erased)


def test_headers_have_one_form() -> None:
    block = header(b"manifest.json", 8_589_934_591)
    assert len(block) == BLOCK
    assert block[124:136] == b"77777777777\0"


@pytest.mark.parametrize(
    ("tile", "name"),
    [
        (Tile(0, 0, 256), "log/tile/0/000"),
        (Tile(-1, 999, 7), "log/tile/entries/999.p/7"),
        (Tile(1, 1234067, 256), "log/tile/1/x001/x234/067"),
    ],
)
def test_names_of_tiles(tile: Tile, name: str) -> None:
    assert tile.name == name


def test_tiles_of_a_tree() -> None:
    names = [tile.name for tile in tiles(257)]
    assert names == [
        "log/tile/entries/000",
        "log/tile/entries/001.p/1",
        "log/tile/0/000",
        "log/tile/0/001.p/1",
        "log/tile/1/000.p/1",
    ]

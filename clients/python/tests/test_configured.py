"""The command with a configuration."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from exportvectors import export_case, write_files
from muniment import Report
from muniment.command import main, main_verify
from muniment.report import Kind
from test_cli import SOURCE
from vectors import case

EXPORT = export_case("good with everything")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with an export, its proofs and a configuration."""
    raw, file = EXPORT.raw, EXPORT.file
    inputs = EXPORT.inputs(None)
    (tmp_path / "manifest.json").write_bytes(EXPORT.manifest)
    write_files(tmp_path / "rows", EXPORT.files or {})
    (tmp_path / "receipt.json").write_bytes(inputs.receipt or b"")
    assert isinstance(inputs.stream, bytes)
    (tmp_path / "stream.mbundle").write_bytes(inputs.stream)
    (tmp_path / "stream.key").write_text(file["streamKeys"][raw["streamKey"]])
    configuration = {"trustedKeys": raw["keys"], "trustPolicy": raw["policies"]}
    for name in raw["keys"]:
        (tmp_path / name).write_text(file["keys"][name])
    for name in raw["policies"]:
        (tmp_path / name).write_text(file["policies"][name])
    configuration |= {n: raw[n] for n in ("licenses", "residency", "epsilon") if n in raw}
    text = json.dumps(configuration | {"streamKey": "stream.key"})
    (tmp_path / "muniment.json").write_text(text)
    (tmp_path / "malformed.json").write_text("{")
    return tmp_path


def flags(folder: Path, *names: str) -> list[str]:
    """Return flags that name files of a folder, and the configuration."""
    files = {
        "files": "rows",
        "receipt": "receipt.json",
        "stream-bundle": "stream.mbundle",
        "html": "report.html",
        "report": "evidence.json",
    }
    found = ["--config", str(folder / "muniment.json")]
    for name in names:
        found += [f"--{name}", str(folder / files[name])]
    return found


def test_an_export_with_everything(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    everything = flags(folder, "files", "receipt", "stream-bundle", "html", "report")
    manifest = str(folder / "manifest.json")
    assert main_verify([manifest, *everything]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"✓ VERIFIED  export  {manifest}\nProven\n")
    assert main(["verify", manifest, *everything, "--json", "--tenant", "acme"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["file"], report["verdict"]) == (manifest, "verified")
    assert EXPORT.expected[2]["proven"] == report["proven"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert report["proven"]["manifestSha256"] in page
    evidence = json.loads((folder / "evidence.json").read_bytes())
    assert evidence["verdict"] == "verified"
    assert evidence["subjects"][0]["name"] == "manifest.json"
    assert evidence["subjects"][0]["digest"]["sha256"] == report["proven"]["manifestSha256"]
    assert evidence["index"] == str(report["proven"]["entry"]["index"])


def test_kinds_and_exit_codes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = flags(folder)
    manifest, bundle = str(folder / "manifest.json"), str(folder / "stream.mbundle")
    receipt, missing = str(folder / "receipt.json"), str(folder / "missing")
    cases: list[tuple[list[str], int, list[tuple[Kind | None, str | None]]]] = [
        ([manifest, bundle], 0, [("export", None), ("evidence-bundle", None)]),
        ([bundle, "--as", "stream"], 0, [("stream", None)]),
        ([receipt, "--payload", manifest], 0, [("receipt", None)]),
        ([receipt], 1, [("receipt", "payload-missing")]),
        ([missing, receipt], 1, [(None, "unreadable"), ("receipt", "payload-missing")]),
        ([manifest, missing], 2, [("export", None), (None, "unreadable")]),
        ([manifest, "--tenant", "other"], 1, [("export", "tenant-mismatch")]),
        ([manifest, "--header-only"], 2, [("export", "input-unexpected")]),
        ([bundle, "--identity", "x"], 2, [("evidence-bundle", "expectation-malformed")]),
        ([receipt, "--artifact", "sha256:" + "0" * 64], 2, [("receipt", "input-unexpected")]),
    ]
    for arguments, code, expected in cases:
        assert main_verify([*arguments, *config, "--json"]) == code, arguments
        reports = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [(r.get("kind"), r.get("code")) for r in reports] == expected


@pytest.mark.parametrize(
    "wrong",
    [
        ["--policy", "log"],
        ["--stream-key", "stream.key"],
        ["--as", "bundle"],
        ["--as", ""],
        ["--html", ""],
        ["--files", ""],
        ["other.json", "--html", "x.html"],
        ["other.json", "--receipt", "receipt.json"],
        ["--html", "missing/report.html"],
    ],
)
def test_wrong_calls(wrong: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert main_verify(["manifest.json", "--config", "muniment.json", *wrong]) == 2


def test_errors_of_the_configuration(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    for file, code in (("malformed.json", "malformed"), ("missing", "unreadable")):
        assert main_verify(["manifest.json", "--config", file]) == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("muniment: ")
        assert output.err.endswith(f"(configuration-{code})\n")
    for flag in ("--as", "--artifact", "--files", "--receipt", "--stream-bundle", "--html"):
        assert main_verify(["manifest.json", "--policy", "log", flag, "x"]) == 2
        assert "requires --config" in capsys.readouterr().err
    assert main_verify(["--config", "muniment.json"]) == 2
    assert "no file specified" in capsys.readouterr().err


def test_the_environment_is_ignored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUNIMENT_POLICY", "missing")
    monkeypatch.setenv("MUNIMENT_STREAM_KEY", "missing")
    assert main_verify([str(folder / "manifest.json"), *flags(folder)]) == 0


def test_the_console_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = case("one of two policies")
    (tmp_path / "receipt").write_bytes(chosen.receipt)
    arguments = [str(tmp_path / "receipt")]
    for name, text in zip(chosen.policy_names, chosen.policy_texts, strict=True):
        (tmp_path / name).write_bytes(text)
        arguments += ["--policy", str(tmp_path / name)]
    assert (main_verify(arguments), main(["verify", *arguments])) == (0, 0)
    first, second = capsys.readouterr().out.split("✓")[1:]
    assert first.rstrip("\n") == second.rstrip("\n")
    assert main_verify(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: muniment-verify ")
    assert main_verify(["--version"]) == 0
    assert main_verify(["--nothing"]) == 2
    assert "Run 'muniment-verify --help'" in capsys.readouterr().err


def test_output_is_safe_for_terminals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config"
    config.write_text('{"\\u001b[31m":1}')
    file = tmp_path / "a\x1b[31m\u202e"
    file.write_text('{"mediaType":"\\u001b"}')
    (tmp_path / "empty").write_text("{}")
    for arguments in (
        [str(file), "--config", str(config)],
        [str(file), "--config", str(tmp_path / "empty")],
        [str(file), "--config", str(tmp_path / "empty"), "--json"],
        [str(file), "--config", str(tmp_path / "missing\x1b")],
        [str(file), "--config", str(tmp_path / "empty"), "--html", str(tmp_path / "no\x1b/a")],
    ):
        assert main_verify(arguments) == 2
        output = capsys.readouterr()
        assert all(line.isprintable() for line in (output.out + output.err).splitlines())


def test_memory(tmp_path: Path) -> None:
    """A large file of an export, and a large archive, are read in pieces."""
    program = """
import hashlib, pathlib, resource, sys
from muniment import Configuration, verify_file
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = verify_file(sys.argv[1], Configuration(), kind="export")
assert report.code == "trust-missing", report
report = verify_file(sys.argv[1], Configuration())
assert report.code == "kind-unknown", report
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert used < 60 << 10, used
"""
    file = tmp_path / "large"
    with file.open("wb") as opened:
        opened.truncate(300 << 20)
    result = subprocess.run(
        [sys.executable, "-c", program, str(file)],
        env={"PYTHONPATH": str(SOURCE), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_reports_are_exported() -> None:
    assert Report.__module__ == "muniment.report"

"""The command `python -m muniment`."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from log import make
from muniment import __version__
from muniment.command import main
from test_policy import LOG
from test_verify import PEM, PRIVATE
from vectors import Case, case, policy_text

SOURCE = Path(__file__).resolve().parents[1] / "src"


def write(folder: Path, chosen: Case, name: str = "a.receipt.json") -> str:
    """Write a case's receipt to a file and return its path."""
    file = folder / name
    file.write_bytes(chosen.receipt)
    return str(file)


def policy(folder: Path, chosen: Case) -> list[str]:
    """Write a case's policies to files and return the options that name them."""
    options = []
    for name in chosen.policy_names:
        file = folder / f"{name}.policy"
        file.write_bytes(policy_text(name))
        options += ["--policy", str(file)]
    return options


def made(folder: Path, **changes: Any) -> list[str]:  # noqa: ANN401 - members of a header
    """Write a generated receipt and its policy, and return the arguments that verify it."""
    (folder / "made").write_bytes(make(**changes))
    (folder / "made.policy").write_text(f"log {LOG.vkey}\nquorum none")
    return ["verify", str(folder / "made"), "--policy", str(folder / "made.policy")]


def run(
    *arguments: str | bytes, stdout: int | IO[bytes] = subprocess.PIPE
) -> "subprocess.CompletedProcess[bytes]":
    """Run the command in a separate process."""
    command = [sys.executable, "-B", "-m", "muniment", *arguments]
    env = {"PYTHONPATH": str(SOURCE), "PATH": os.environ["PATH"]}
    return subprocess.run(command, env=env, stdout=stdout, stderr=subprocess.PIPE, check=False)


def test_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = case("one of two policies")
    arguments = ["verify", *policy(tmp_path, chosen), write(tmp_path, chosen)]
    assert main(arguments) == 0
    output = capsys.readouterr().out
    assert output.startswith("✓ VERIFIED  ")
    assert "not witnessed" in output
    assert main([*arguments, "--json"]) == 0
    report = copy.deepcopy(chosen.report)
    assert report is not None
    report["proven"]["policy"] = arguments[4]
    result = json.loads(capsys.readouterr().out)
    assert result == {"receipt": arguments[-1], "verdict": "verified", **report}


def test_order_of_the_header(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = case("names of numbers, which objects of some languages sort")
    assert main(["verify", *policy(tmp_path, chosen), write(tmp_path, chosen)]) == 0
    assert " about gitCommit:abc 7:x 1:y sha256:5ed60980" in capsys.readouterr().out


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = case("one of two policies")
    receipt = write(tmp_path, chosen)
    _, first, _, second = policy(tmp_path, chosen)
    monkeypatch.setenv("MUNIMENT_POLICY", second)
    assert main(["verify", receipt]) == 0
    assert main(["verify", receipt, "--policy", first]) == 1
    (tmp_path / "key").write_text("00" * 32)
    monkeypatch.setenv("MUNIMENT_STREAM_KEY", str(tmp_path / "key"))
    assert main(["verify", receipt]) == 1


def test_commas_belong_to_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = made(tmp_path)
    name = tmp_path / "made,2026.policy"
    name.write_bytes(Path(base[3]).read_bytes())
    assert main([*base[:2], "--policy", str(name)]) == 0
    assert main([*base[:2], "--policy", f"{base[3]},{base[3]}"]) == 2
    monkeypatch.setenv("MUNIMENT_POLICY", str(name))
    assert main(base[:2]) == 0


def test_expectations(tmp_path: Path) -> None:
    chosen = case("all expectations of a verified entry met")
    base = ["verify", write(tmp_path, chosen), *policy(tmp_path, chosen)]
    options = []
    for name, value in chosen.expect.items():
        flag = "--" + "".join(f"-{c.lower()}" if c.isupper() else c for c in name)
        options += [flag] if value is True else [flag, value]
    assert main([*base, *options]) == 0
    for flag in options:
        if not flag.startswith("--"):
            continue
        if flag not in ("--require-verified", "--admitted"):
            assert main([*base, *options, flag, ""]) == 2
    for flag in ("--tenant", "--kind", "--predicate-type", "--control", "--signer", "--issuer"):
        assert main([*base, flag, "finding"]) == 1
    assert main([*base, "--subject", "other"]) == 2
    assert main([*base, "--subject", "other:x"]) == 1


def test_gates(tmp_path: Path) -> None:
    base = made(tmp_path)
    assert main(base) == 0
    assert main([*base, "--require-verified"]) == 1
    assert main([*base, "--admitted"]) == 1
    base = made(tmp_path, verification={"result": "verified"}, admission={"result": "admitted"})
    assert main([*base, "--require-verified", "--admitted"]) == 0
    assert main([*base, "--signer", "me"]) == 1


def test_evidence_by_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = {"sha256": "cd2eb0837c9b4c962c22d2ff8b5441b7b45805887f051d39bf133b583baf6860"}
    base = made(tmp_path, external={"digest": digest, "size": 7})
    assert main(base) == 0
    assert "content not checked" in capsys.readouterr().out
    (tmp_path / "evidence").write_bytes(b"hello,\n")
    assert main([*base, "--external", str(tmp_path / "evidence")]) == 1
    (tmp_path / "evidence").write_bytes(b"hello\n\n")
    assert main([*base, "--external", str(tmp_path / "none")]) == 2


@pytest.mark.parametrize("flag", ["--payload", "--external"])
def test_unreadable_inputs_rank_before_the_receipt(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = made(tmp_path)
    Path(base[1]).write_text("not a receipt")
    for path in (tmp_path / "none", tmp_path):
        assert main([*base, flag, str(path), "--json"]) == 2
        report = json.loads(capsys.readouterr().out)
        assert report["verdict"] == "not-checked"
        assert report["reason"]["code"] == "unreadable"


def test_stream_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = made(tmp_path)
    key = tmp_path / "stream.key"
    for text in ("00" * 32, "00" * 32 + "\n"):
        key.write_text(text)
        assert main([*base, "--stream-key", str(key)]) == 0
        assert "with the right tag" in capsys.readouterr().out
    key.write_text("01" * 32)
    assert main([*base, "--stream-key", str(key)]) == 1
    key.write_text("0G" * 32)
    assert main([*base, "--stream-key", str(key)]) == 2


def test_payload(tmp_path: Path) -> None:
    chosen = case("detached with its payload")
    assert chosen.payload is not None
    payload = tmp_path / "payload"
    payload.write_bytes(chosen.payload)
    base = ["verify", write(tmp_path, chosen), *policy(tmp_path, chosen)]
    assert main(base) == 1
    assert main([*base, "--header-only"]) == 0
    assert main([*base, "--payload", str(payload)]) == 0
    payload.write_bytes(b"")
    assert main([*base, "--payload", str(payload), "--header-only"]) == 1
    assert main([*base, "--payload", str(tmp_path / "none")]) == 2
    assert main([*base, base[1], "--payload", str(payload)]) == 2


def test_several_receipts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path, case("full"), "good")
    bad = write(tmp_path, case("time changed"), "bad")
    absent = str(tmp_path / "absent")
    options = [*policy(tmp_path, case("full")), "--json"]
    assert main(["verify", good, bad, absent, *options]) == 1
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["verdict"] for r in results] == ["verified", "refused", "not-checked"]
    reasons = [(r["reason"]["code"], r["reason"]["step"]) for r in results[1:]]
    assert reasons == [("inclusion", 8), ("unreadable", 0)]
    assert main(["verify", good, absent, *options]) == 2
    assert main(["verify", good, good, *options]) == 0


def test_erasure_is_a_claim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = case("header-erased, header only")
    base = ["verify", write(tmp_path, chosen), *policy(tmp_path, chosen), "--header-only"]
    assert main(base) == 0
    claimed = capsys.readouterr().out.split("  claimed", 1)[1]
    assert "header and payload erased by the log" in claimed


def test_unusable_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    receipt = write(tmp_path, case("full"))
    broken = tmp_path / "broken"
    broken.write_bytes(b"log\n")
    assert main(["verify", receipt, "--policy", str(broken)]) == 2
    assert "line 1" in capsys.readouterr().err
    assert main(["verify", receipt, "--policy", str(tmp_path)]) == 2


@pytest.mark.parametrize(
    "arguments",
    [[], ["verify"], ["verify", "x"], ["verify", "--policy", "x"], ["verify", "--polic=x"], ["x"]],
)
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert "for usage" in output.err
    assert output.out == ""


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["help"], ["verify", "--help"], ["help", "verify"]):
        assert main(arguments) == 0
        assert "muniment verify" in capsys.readouterr().out
    assert main(["verify", "--help"]) == 0
    output = capsys.readouterr().out
    for word in ("--policy", "--external", "--signer", "examples:", "exit code:"):
        assert word in output
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"muniment {__version__}\n"


UNSAFE = "\x1b[31m\x7f\x9b\u200e\u200f\u202a\u202e\u2066\u2069\u200b\u2028\u2029\ufeff"


def test_output_is_safe_for_terminals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signer = {"identity": UNSAFE, "issuer": UNSAFE}
    base = made(
        tmp_path,
        submitter=UNSAFE,
        mediaType=UNSAFE,
        predicateType=UNSAFE,
        controls=[UNSAFE],
        signers=[signer],
        subjects=[{"name": UNSAFE, "digest": {UNSAFE: UNSAFE}}],
        verification={"result": "failed", "reason": UNSAFE},
        admission={"result": "recorded", "reason": UNSAFE, "rule": UNSAFE},
    )
    for options in (
        [],
        ["--json"],
        ["--predicate-type", "x"],
        [f"--{UNSAFE}"],
        ["--subject", UNSAFE],
    ):
        main([*base, *options])
        output = capsys.readouterr()
        for line in (output.out + output.err).splitlines():
            assert line.isprintable()


def test_malformed_receipt_is_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = case("full")
    text = chosen.receipt.replace(b'"mediaType"', b'"\\u001b[31m\\u009b\\u202e"')
    file = tmp_path / "\x1b[31m"
    file.write_bytes(text)
    assert main(["verify", str(file), *policy(tmp_path, chosen)]) == 1
    for line in capsys.readouterr().out.splitlines():
        assert line.isprintable()


@pytest.mark.parametrize("text", [PRIVATE, PEM])
def test_private_keys_are_never_printed(
    text: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "private"
    key.write_bytes(text)
    base = made(tmp_path)
    main([*base[:2], "--policy", str(key)])
    assert "this is a private key" in capsys.readouterr().err
    for arguments in (
        [*base, "--stream-key", str(key)],
        ["verify", str(key), *base[2:]],
        ["verify", str(key), *base[2:], "--json"],
    ):
        assert main(arguments) != 0
        output = capsys.readouterr()
        for piece in text.decode().replace("+", "\n").split():
            if len(piece) > 11:
                assert piece not in output.out + output.err


def test_as_a_module(tmp_path: Path) -> None:
    result = run(*made(tmp_path))
    assert result.returncode == 0, result.stderr
    assert b"VERIFIED" in result.stdout


@pytest.mark.parametrize("options", [["--json"], []])
def test_file_names_that_are_not_utf_8(options: list[str], tmp_path: Path) -> None:
    base = made(tmp_path)
    names = [os.fsencode(tmp_path) + b"/\xff\xe2\x82\xe9", os.fsencode(tmp_path) + b"/\xc0"]
    for name, source in zip(names, (base[1], base[3]), strict=True):
        Path(os.fsdecode(name)).write_bytes(Path(source).read_bytes())
    result = run("verify", names[0], "--policy", names[1], *options)
    assert result.returncode == 0, result.stderr
    if options:
        report = json.loads(result.stdout)
        assert report["receipt"].endswith("/\ufffd\ufffd\ufffd\ufffd")
        assert report["proven"]["policy"].endswith("/\ufffd")
    else:
        assert rb"/\xff\xe2\x82\xe9" in result.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_write_errors_are_errors(tmp_path: Path) -> None:
    for arguments in (made(tmp_path), [*made(tmp_path), "--json"], ["--help"], ["--version"]):
        with Path("/dev/full").open("wb") as full:
            result = run(*arguments, stdout=full)
        assert result.returncode == 2
        assert b"standard output: No space left on device" in result.stderr


def test_closed_output_is_an_error(tmp_path: Path) -> None:
    script = 'exec "$0" "$@" >&-'
    command = ["bash", "-c", script, sys.executable, "-B", "-m", "muniment", *made(tmp_path)]
    result = subprocess.run(
        command, env={"PYTHONPATH": str(SOURCE)}, stderr=subprocess.PIPE, check=False
    )
    assert (result.returncode, result.stderr) == (2, b"muniment: standard output is closed\n")


def test_closed_pipes_are_quiet(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    arguments = made(tmp_path)
    result = run("verify", *[arguments[1]] * 100, *arguments[2:], stdout=writer)
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, b"")


@pytest.mark.parametrize("kind", ["atestation", "attestation ", "A"])
def test_an_unknown_kind_is_a_usage_error(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*made(tmp_path), "--kind", kind]) == 2
    error = capsys.readouterr().err
    assert f"--kind: unknown kind '{kind}': use one of attestation, " in error


_ENCODINGS = {
    "utf-8-sig": "UTF-8 with a byte order mark",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "utf-32": "UTF-32",
    "utf-32-be": "UTF-32",
}


@pytest.mark.parametrize("encoding", _ENCODINGS)
@pytest.mark.parametrize("file", ["receipt", "policy", "stream key"])
def test_an_error_names_the_encoding_of_a_file(
    encoding: str, file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*made(tmp_path), "--stream-key", str(tmp_path / "key")]
    (tmp_path / "key").write_text("ab" * 32)
    path = {"receipt": "made", "policy": "made.policy", "stream key": "key"}[file]
    text = (tmp_path / path).read_text(encoding="utf-8")
    (tmp_path / path).write_bytes(text.encode(encoding))
    assert main(arguments) == (1 if file == "receipt" else 2)
    output = "".join(capsys.readouterr())
    assert f"it is encoded in {_ENCODINGS[encoding]}: save it as UTF-8 without BOM" in output

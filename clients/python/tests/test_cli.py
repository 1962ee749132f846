"""The command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from muniment.__main__ import main
from vectors import Case, case


def write(folder: Path, chosen: Case, name: str = "a.receipt.json") -> str:
    """Write a case's receipt to a file and return its path."""
    file = folder / name
    file.write_bytes(chosen.receipt)
    return str(file)


def policy(folder: Path, chosen: Case) -> list[str]:
    """Write a case's policies to files; return the options that name them."""
    paths = []
    for number, text in enumerate(chosen.policy_texts):
        file = folder / f"{number}.policy"
        file.write_bytes(text)
        paths.append(str(file))
    return ["--policy", *paths]


def test_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = case("one of two policies")
    arguments = ["verify", write(tmp_path, chosen), *policy(tmp_path, chosen)]
    assert main(arguments) == 0
    output = capsys.readouterr().out
    assert ": verified\n" in output
    assert "not witnessed" in output
    assert main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["verdict"] == "verified"
    assert result["statement"] == chosen.statement
    assert result["policy"].endswith("1.policy")
    assert result["witnessed"] is False


def test_expectations(tmp_path: Path) -> None:
    chosen = case("all expectations met")
    assert chosen.stream_key is not None
    key = tmp_path / "stream.key"
    key.write_text(chosen.stream_key.hex() + "\n")
    base = ["verify", write(tmp_path, chosen), *policy(tmp_path, chosen)]
    expect = chosen.expect
    good = ["--tenant", expect["tenant"], "--kind", expect["kind"], "--subject", expect["subject"]]
    assert main([*base, *good, "--stream-key", str(key)]) == 0
    for option in ("--tenant", "--kind", "--subject"):
        assert main([*base, *good, option, ""]) == 1
    key.write_text("00" * 32 + "\n")
    assert main([*base, "--stream-key", str(key)]) == 1
    for text in ("", "00" * 32, "00" * 32 + "\n\n", "0G" * 32 + "\n", "AA" * 32 + "\n"):
        key.write_text(text)
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


def test_several_receipts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path, case("full"), "good")
    bad = write(tmp_path, case("time changed"), "bad")
    absent = str(tmp_path / "absent")
    options = [*policy(tmp_path, case("full")), "--json"]
    assert main(["verify", good, bad, absent, *options]) == 1
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["verdict"] for r in results] == ["verified", "not verified", "not checked"]
    assert results[1]["step"] == 8
    assert main(["verify", good, absent, *options]) == 2
    assert main(["verify", good, good, *options]) == 0


def test_unusable_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    receipt = write(tmp_path, case("full"))
    broken = tmp_path / "broken"
    broken.write_bytes(b"log\n")
    assert main(["verify", receipt, "--policy", str(broken)]) == 2
    assert "line 1" in capsys.readouterr().err
    assert main(["verify", receipt, "--policy", str(tmp_path)]) == 2


@pytest.mark.parametrize(
    "arguments", [[], ["verify"], ["verify", "x"], ["verify", "--policy", "x"]]
)
def test_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_output_is_safe_for_terminals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = case("time changed")
    text = chosen.receipt.replace(b'"mediaType"', b'"\\u001b[31m\\u009b"')
    file = tmp_path / "\x1b[31m"
    file.write_bytes(text)
    assert main(["verify", str(file), *policy(tmp_path, chosen)]) == 1
    output = capsys.readouterr().out
    assert output.rstrip("\n").isprintable()


def test_as_a_module(tmp_path: Path) -> None:
    chosen = case("full")
    source = Path(__file__).resolve().parents[1] / "src"
    command = [sys.executable, "-B", "-m", "muniment", "verify", write(tmp_path, chosen)]
    result = subprocess.run(
        [*command, *policy(tmp_path, chosen)],
        env={"PYTHONPATH": str(source), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert b"verified" in result.stdout

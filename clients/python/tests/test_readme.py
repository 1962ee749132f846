"""The examples and console blocks of README.md run as written, with the installed wheel."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import distribution
import pagerunner
from ledger import Ledger
from vectors import case, policy_text

README = Path(__file__).resolve().parents[1] / "README.md"
PAGE = README.read_text(encoding="utf-8")
SUBJECT = "sha256:b05486c7957763e5781e7271d3d4eff1ec8ccb2ae7e246b0c50d4dc4051e74a3"
MET = case("all expectations of a verified entry met").receipt

# What makes the environment of this test, and runs it.
TOOLS = re.compile(r"(python3 -m venv|\. \.venv|pip install|python -m (pytest|ruff|mypy|pdoc))\b")


def run(installed: Path, folder: Path, *words: str, network: bool = False) -> str:
    """Run a program of the installed environment, and return its output."""
    command = [str(installed / "bin" / words[0]), *words[1:]]
    result = subprocess.run(
        command if network else distribution.offline(command),
        cwd=folder,
        env={"HOME": str(folder / "home"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{words}\n{result.stdout}{result.stderr}"
    return result.stdout


def examples() -> tuple[str, str, str]:
    """Return the examples: with a configuration, of receipts alone, and of the client."""
    first, second, third = pagerunner.blocks(PAGE, "python")
    return first, second, third


def write(folder: Path, receipt: bytes) -> None:
    """Write the files that the examples read."""
    (configuration,) = pagerunner.blocks(PAGE, "json")
    (folder / "muniment.json").write_text(configuration)
    for name in ("log.policy", "policy"):
        (folder / name).write_bytes(policy_text("log"))
    for name in ("build.receipt.json", "app.receipt.json"):
        (folder / name).write_bytes(receipt)


def test_examples(installed: Path, tmp_path: Path) -> None:
    configured, alone, _ = (text.replace("sha256:2cf24dba…", SUBJECT) for text in examples())
    write(tmp_path, MET)
    assert run(installed, tmp_path, "python", "-c", configured) == "verified None not-witnessed\n"
    assert run(installed, tmp_path, "python", "-c", alone) == "6 ('not-witnessed',)\n"
    write(tmp_path, case("full").receipt)
    output = run(installed, tmp_path, "python", "-c", configured)
    assert output == "not-verified tenant-mismatch\n"
    assert run(installed, tmp_path, "python", "-c", alone).startswith("tenant-mismatch ")


def test_client_example(installed: Path, tmp_path: Path, server: Ledger) -> None:
    (tmp_path / "acme.token").write_bytes(server.token.read_bytes())
    program = examples()[2].replace("http://127.0.0.1:7480", server.url)
    output = run(installed, tmp_path, "python", "-c", program, network=True).splitlines()
    assert re.fullmatch(r"\d+ attestation", output[0])
    assert output[-1] == "out_of_range ['index']"


def test_commands(installed: Path, tmp_path: Path) -> None:
    write(tmp_path, MET)
    ran = 0
    for command in (step.text for step in pagerunner.commands(PAGE)):
        if TOOLS.match(command):
            continue
        words = shlex.split(command.replace("\\\n", " ").replace("sha256:2cf24dba…", SUBJECT))
        module = words[:3] == ["python", "-m", "muniment"]
        assert module or words[0] == "muniment-verify", f"no test runs {command}"
        output = run(installed, tmp_path, *words)
        assert "verified" in output.lower()
        ran += 1
    assert ran == 5
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")

"""The library example and the commands of the README run as written."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from vectors import case, policy_text

README = Path(__file__).resolve().parents[1] / "README.md"
SUBJECT = "sha256:b05486c7957763e5781e7271d3d4eff1ec8ccb2ae7e246b0c50d4dc4051e74a3"


def test_library_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("log.policy").write_bytes(policy_text("log"))
    Path("build.receipt.json").write_bytes(case("all expectations of a verified entry met").receipt)
    code = compile(example.replace("sha256:2cf24dba…", SUBJECT), str(README), "exec")
    exec(code, {})
    assert capsys.readouterr().out == "6 ('not-witnessed',)\n"

    Path("build.receipt.json").write_bytes(case("full").receipt)
    exec(code, {})
    assert capsys.readouterr().out.startswith("tenant-mismatch ")


# What makes the environment of this test, and runs it.
TOOLS = re.compile(r"(python3 -m venv|\. \.venv|cd|pip install|python -m (pytest|ruff|mypy))\b")


def commands() -> list[str]:
    """Return the commands of the README's console blocks."""
    text = README.read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))
    return re.findall(r"^\$ ((?:.*\\\n)*.*)$", blocks, re.MULTILINE)


def test_commands(tmp_path: Path) -> None:
    (tmp_path / "policy").write_bytes(policy_text("log"))
    receipt = case("all expectations of a verified entry met").receipt
    (tmp_path / "app.receipt.json").write_bytes(receipt)
    env = os.environ | {"PYTHONPATH": str(README.parent / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = 0
    for command in commands():
        if TOOLS.match(command):
            continue
        words = shlex.split(command.replace("\\\n", " ").replace("sha256:2cf24dba…", SUBJECT))
        assert words[:3] == ["python", "-m", "muniment"], f"no test runs {command}"
        got = subprocess.run(
            [sys.executable, *words[1:]],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert got.returncode == 0, f"{command}\n{got.stdout}{got.stderr}"
        ran += 1
    assert ran > 0

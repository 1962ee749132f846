"""The library example of the README runs as written."""

import re
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

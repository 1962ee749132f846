"""The wheel and the sdist."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import distribution
from vectors import case


def digests(folder: Path) -> dict[str, str]:
    """Return the digests of the files in a folder."""
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.iterdir()}


def test_builds_are_reproducible(wheel: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "python"
    ignored = shutil.ignore_patterns("__pycache__", "dist", ".venv")
    shutil.copytree(distribution.FOLDER, copy, ignore=ignored)
    for file in copy.rglob("*"):
        os.utime(file, (1, 1))
        file.chmod(0o700 if file.is_dir() else 0o600)
    distribution.build(copy, tmp_path / "again")
    assert digests(tmp_path / "again") == digests(wheel.parent)
    assert len(digests(wheel.parent)) == 2


def test_contents(wheel: Path) -> None:
    source = distribution.FOLDER / "src"
    own = {
        str(file.relative_to(source))
        for file in source.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (name for name in names if name.endswith("/entry_points.txt"))
        text = archive.read(entry_points).decode()
    info = entry_points.partition("/")[0]
    meta = {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}
    assert names == own | meta | {f"{info}/licenses/LICENSE"}
    assert {"muniment/py.typed", "muniment/sigstore/public-good.json"} <= own
    assert "muniment-verify = muniment.command:main_verify" in text
    (sdist,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert packed == {f"src/{name}" for name in own} | {
        "LICENSE",
        "README.md",
        "PKG-INFO",
        "pyproject.toml",
        ".gitignore",
    }


def test_the_installed_command_without_a_network(installed: Path, tmp_path: Path) -> None:
    chosen = case("full")
    (tmp_path / "receipt.json").write_bytes(chosen.receipt)
    (tmp_path / "policy").write_bytes(chosen.policy_texts[0])
    (tmp_path / "muniment.json").write_text('{"trustPolicy": "policy"}')
    home = tmp_path / "home"
    home.mkdir()
    command = [str(installed / "bin/muniment-verify"), "receipt.json", "--json"]
    for trust in (["--config", "muniment.json"], ["--policy", "policy"]):
        result = subprocess.run(
            distribution.offline([*command, *trust]),
            cwd=tmp_path,
            env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["verdict"] == "verified"
    assert not list(home.iterdir())


def test_the_client_is_an_extra(installed: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['httpx'] = None\n"
        "import muniment\n"
        "try: import muniment.client\n"
        "except ImportError as error: print(error)"
    )
    python = installed / "bin/python"
    result = subprocess.run(
        [python, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout == "muniment.client needs httpx: pip install 'muniment[client]'\n"

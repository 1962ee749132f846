"""Builds the wheel and the sdist, and installs the wheel in clean environments."""

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1]
WHEELS = Path(sys.prefix) / "wheels"
DEPENDENCIES = ("cryptography>=50", "pydantic>=2.10", "httpx>=0.28")


def build(source: Path, output: Path) -> None:
    """Build wheel and sdist of the project in a folder."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist"]
    env = os.environ | {"SOURCE_DATE_EPOCH": "1700000000", "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(
        [*command, "-d", str(output)], cwd=source, env=env, check=True, capture_output=True
    )


@cache
def wheelhouse() -> Path:
    """Return a folder with the wheels of the dependencies, downloaded once."""
    if not any(WHEELS.glob("httpx-*")):
        command = [sys.executable, "-m", "pip", "download", "-q", "-d", str(WHEELS)]
        subprocess.run([*command, *DEPENDENCIES], check=True)
    return WHEELS


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a person with an empty home, and no network for pip."""
    return {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheelhouse()),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def install(wheel: Path, folder: Path) -> Path:
    """Install the wheel, with the extra `client`, in a new environment. Return its folder."""
    venv, home = folder / "venv", folder / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin/python"), "install", "-q"]
    result = subprocess.run(
        [*pip, f"{wheel}[client]"],
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return venv


def offline(command: Sequence[str | Path]) -> list[str]:
    """Return a command that runs another one without a network."""
    unshare = ["unshare", "-n"] if os.getuid() == 0 else ["unshare", "-r", "-n"]
    return [*unshare, *map(str, command)]

"""A real server, `muniment serve`, for the tests of the client, the notebook and the quickstart."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


@cache
def program() -> Path:
    """Build the command and return its path."""
    path = ROOT / ".cache" / "python-tests" / "muniment"
    command = ["go", "build", "-trimpath", "-o", str(path), "./cmd/muniment"]
    subprocess.run(command, cwd=ROOT, check=True)
    return path


def environment() -> dict[str, str]:
    """Return the environment without the settings of the person who runs the tests."""
    return {name: value for name, value in os.environ.items() if "MUNIMENT" not in name}


@dataclass(frozen=True, slots=True)
class Ledger:
    """A data folder, and the URL of its server while one runs."""

    data: Path
    url: str

    @property
    def token(self) -> Path:
        """The file of the administrator's token."""
        return self.data / "tokens" / "acme.token"

    @property
    def policy(self) -> Path:
        """The trust policy."""
        return self.data / "policy"

    @property
    def stream_key(self) -> Path:
        """The stream key."""
        return self.data / "streams" / "acme.key"

    def run(self, *arguments: str) -> str:
        """Run a command against the server as the administrator and return its output."""
        settings = {"MUNIMENT_SERVER": self.url, "MUNIMENT_TOKEN_FILE": str(self.token)}
        return muniment(*arguments, **settings)

    def issue(self, name: str, *flags: str) -> str:
        """Issue a token and return it."""
        return self.run("token", "issue", name, "--reason", "test", *flags).split()[-1]


def muniment(*arguments: str, **settings: str) -> str:
    """Run the command and return its output."""
    result = subprocess.run(
        [program(), *arguments],
        env=environment() | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{arguments}\n{result.stdout}{result.stderr}"
    return result.stdout


def create(folder: Path) -> Path:
    """Create a data folder and return it."""
    data = folder / "data"
    muniment("init", str(data), "--origin", "ledger.example.com", "--tenant", "acme")
    return data


@contextmanager
def serve(data: Path, *flags: str) -> Iterator[Ledger]:
    """Run a server on a free port until the end of the block."""
    command = [str(program()), "serve", "--data", str(data), "--listen", "127.0.0.1:0", *flags]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            seen = []
            for line in process.stdout:
                seen.append(line)
                if match := re.match(r"listening on (\S+)", line):
                    yield Ledger(data, match[1])
                    break
            else:
                raise AssertionError("the server did not start:\n" + "".join(seen))
        finally:
            process.terminate()
            process.communicate()


@contextmanager
def database() -> Iterator[str]:
    """Run a PostgreSQL server with a standby until the end of the block."""
    path = ROOT / ".cache" / "python-tests" / "database"
    command = ["go", "build", "-trimpath", "-o", str(path), "./internal/peers/database"]
    subprocess.run(command, cwd=ROOT, check=True)
    with subprocess.Popen([path], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            match = re.match(r"listening on (\S+)", process.stdout.readline())
            assert match, "the database did not start"
            yield match[1]
        finally:
            process.terminate()


@contextmanager
def pair(folder: Path) -> Iterator[tuple[Ledger, Ledger]]:
    """Run two servers on one log until the end of the block."""
    with database() as store:
        one, two = create(folder), folder / "second"
        with (one / "muniment.yaml").open("a") as settings:
            settings.write(f"\nstore: {store}\n")
        shutil.copytree(one, two)
        with serve(one) as first, serve(two) as second:
            yield first, second

"""docs/quickstart-python.md runs as written: its console blocks, without a network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import distribution
import ledger
import pagerunner

PAGE = ledger.ROOT / "docs/quickstart-python.md"
# Makes the files of the operator, a CI job and the exporter.
SETUP = '. "$ROOT/cmd/muniment/testdata/docs/sdk.sh"\n'
REFUSED = "--payload policy"


def provenance() -> Path:
    """Return the provenance of an npm package, a Sigstore bundle."""
    module = "github.com/sigstore/sigstore-go"
    command = ["go", "list", "-m", "-f", "{{.Dir}}", module]
    found = subprocess.run(command, cwd=ledger.ROOT, capture_output=True, text=True, check=True)
    return Path(found.stdout.strip()) / "examples/bundle-provenance.json"


def test_quickstart(wheel: Path, tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    steps = pagerunner.commands(page)
    home, folder = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    folder.mkdir()
    shutil.copy(wheel, folder)
    pagerunner.write_files(page, folder)
    assert sorted(pagerunner.files(page)) == ["muniment.json", "record.py", "verify.py"]
    path = f"{Path(sys.executable).parent}:{ledger.program().parent}:{os.environ['PATH']}"
    text = SETUP + pagerunner.script(steps)
    result = subprocess.run(
        distribution.offline(["bash", "-c", text]),
        cwd=folder,
        env=distribution.environment(home)
        | {"PATH": path, "ROOT": str(ledger.ROOT), "SIGSTORE_GO": str(provenance().parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    output = result.stdout.partition("ready\n")[2]
    found = pagerunner.results(output)
    assert len(found) == len(steps), result.stdout + result.stderr
    for step, (printed, code) in zip(steps, found, strict=True):
        assert code == (1 if REFUSED in step.text else 0), f"{step.text}\n{printed}"
        assert pagerunner.matches(step.output, printed), f"{step.text}\n{printed}"

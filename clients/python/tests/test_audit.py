"""The notebook samples/audit.ipynb runs without a network, on data of the real program."""

import shutil
import subprocess
import sys
from typing import Any

import nbformat
import pytest

import auditdata
import distribution
import ledger
from test_quickstart import provenance

NOTEBOOK = distribution.FOLDER / "samples/audit.ipynb"

# Runs the notebook in a kernel that has no network but the loopback one.
PROGRAM = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=300, resources={"metadata": {"path": sys.argv[2]}}).execute()
nbformat.write(notebook, sys.argv[3])
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401 - has no types
    """Run the notebook, and return it with its outputs."""
    folder = tmp_path_factory.mktemp("audit")
    with ledger.serve(ledger.create(folder)) as server:
        auditdata.make(folder, server, provenance().read_bytes())
    work, done = folder / "work", folder / "done.ipynb"
    work.mkdir()
    for name in ("stream.bundle.tar", "muniment.json", "policy", "stream.key"):
        shutil.copy(folder / name, work)
    python = [sys.executable, "-c", PROGRAM, str(NOTEBOOK), str(work), str(done)]
    command = ["sh", "-c", 'ip link set lo up; exec "$@"', "sh", *python]
    result = subprocess.run(
        distribution.offline(command),
        env=ledger.environment()
        | {
            "PYTHONPATH": str(distribution.FOLDER / "src"),
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return nbformat.read(done, as_version=4)  # type: ignore[no-untyped-call]


def texts(notebook: Any) -> str:  # noqa: ANN401 - has no types
    """Return the printed outputs."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")


def test_the_audit(executed: Any) -> None:  # noqa: ANN401 - has no types
    text = texts(executed)
    assert "✓ VERIFIED  stream  stream.bundle.tar" in text
    assert "production: not attested: registry.example/cron\n" in text
    assert "staging: not attested: registry.example/preview\n" in text


def test_the_plots(executed: Any) -> None:  # noqa: ANN401 - has no types
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    images = [o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    assert len(images) == 3
    assert all(len(image) > 10_000 for image in images)


def test_the_notebook_has_no_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    assert all(
        not cell.get("outputs") and not cell.get("execution_count") for cell in notebook.cells
    )

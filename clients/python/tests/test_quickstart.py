"""docs/quickstart-python.md runs as written, in an empty home without a network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import distribution
import ledger
import pagerunner

PAGE = ledger.ROOT / "docs/quickstart-python.md"
EXPORTS = ledger.ROOT / "docs/export-manifests.md"
REFUSED = "--payload policy"

# What the operator, a CI job and the exporter have made before. The commands
# are those of the console blocks of docs/quickstart-python.md.
SETUP = r"""
set -eu
ip link set lo up
muniment init data --origin ledger.example.com --tenant acme
exec 3< <(exec muniment serve --data data 2>&1)
server=$!
trap 'kill $server' EXIT
until [[ ${line-} == "listening on"* ]]; do read -r line <&3; done
cat <&3 >serve.log &
cp data/policy policy; cp data/streams/acme.key acme.key; cp data/tokens/acme.token acme.token
export MUNIMENT_TOKEN_FILE=$PWD/acme.token
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out exporter.key
openssl pkey -in exporter.key -pubout -out exporter.pub
mkdir -p staging/assets
printf 'id,score\n1,0.5\n2,0.25\n' >staging/assets/part-0000.csv
printf '{"fields":["id","score"]}' >staging/schema.json
muniment export-manifest create staging --description description.json --license CC0-1.0 \
  --claimed-by exporter.pub --spent-before 0 -o nov.statement.json
muniment export-manifest sign nov.statement.json --key exporter.key
muniment export-manifest release nov.export.sigstore.json --files staging --to november \
  --key exporter.pub --policy policy --stream-key acme.key
muniment bundle create --since 2020-01-01 -o stream.bundle.tar
rm -r exporter.key staging description.json nov.*
unset MUNIMENT_TOKEN_FILE
set +eu
exec 2>&1
printf 'ready\n'
"""


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
    shutil.copy(provenance(), folder / "provenance.sigstore.json")
    (folder / "description.json").write_text(
        pagerunner.blocks(EXPORTS.read_text(encoding="utf-8"), "json")[0]
    )
    pagerunner.write_files(page, folder)
    assert sorted(pagerunner.files(page)) == ["muniment.json", "record.py", "verify.py"]
    path = f"{Path(sys.executable).parent}:{ledger.program().parent}:{os.environ['PATH']}"
    text = SETUP + pagerunner.script(steps)
    result = subprocess.run(
        distribution.offline(["bash", "-c", text]),
        cwd=folder,
        env=distribution.environment(home) | {"PATH": path},
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

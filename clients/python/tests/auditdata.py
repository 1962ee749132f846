"""Makes the data of an audit with the real program: exports, attestations and inventories."""

import base64
import hashlib
import json
import subprocess
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from ledger import Ledger, muniment
from muniment import Policy
from muniment.client import Client, Submission, TokenFile

DELTA = "0.000001"
SPENDS = (
    ("acme-2026", "telemetry-01", "2026-01-20", 15),
    ("acme-2026", "survey-02", "2026-02-11", 20),
    ("acme-2026", "telemetry-04", "2026-04-21", 15),
    ("acme-2026", "embeddings-06", "2026-06-03", 40),
    ("acme-2026", "telemetry-07", "2026-07-20", 15),
    ("acme-2026", "embeddings-09", "2026-09-02", 40),
    ("acme-2026", "telemetry-10", "2026-10-20", 15),
    ("pilot", "pilot-a", "2026-03-02", 10),
    ("pilot", "pilot-b", "2026-08-17", 30),
)
"""Budget, export, day, and the number of Gaussian releases of each export."""

IMAGES = {
    "production": {"web": True, "api": True, "worker": True, "billing": True, "cron": False},
    "staging": {"web": True, "api": True, "worker": False, "preview": False},
}
"""The images that run in each environment, and whether they are attested."""

PACKAGE = "sigstore@1.3.0"
"""The package that the signed provenance of the quickstart is about."""


def digest(name: str) -> str:
    """Return the digest of an image."""
    return hashlib.sha256(name.encode()).hexdigest()


def make(folder: Path, server: Ledger, provenance: bytes) -> None:
    """Fill a ledger, and write the bundle, the policy, the keys and the configuration."""
    (folder / "policy").write_bytes(server.policy.read_bytes())
    (folder / "stream.key").write_bytes(server.stream_key.read_bytes())
    policy = Policy.parse(server.policy.read_bytes())
    with Client(server.url, TokenFile(server.token), policy=policy) as ledger:
        ledger.append(provenance, kind="attestation")
        key = _make_key(folder)
        spent: dict[str, Decimal] = {}
        for build in range(3):
            _attest(ledger, build)
            _export(ledger, folder, key, sorted(SPENDS, key=_day)[build * 3 : build * 3 + 3], spent)
        _inventory(ledger, provenance)
    server.run("bundle", "create", "--since", "2020-01-01", "-o", str(folder / "stream.bundle.tar"))
    configuration = {
        "trustPolicy": "policy",
        "streamKey": "stream.key",
        "epsilon": {"budget": "acme-2026", "epsilon": "6", "delta": DELTA},
    }
    (folder / "muniment.json").write_text(json.dumps(configuration))


def _attest(ledger: Client, build: int) -> None:
    names = {name for images in IMAGES.values() for name, attested in images.items() if attested}
    statements = [
        _statement(name, f"https://example.com/{predicate}/v1", build)
        for name in sorted(names)
        for predicate in ("provenance", "scan")
    ]
    batch = [Submission(kind="attestation", payload=statement) for statement in statements]
    for result in ledger.append_batch(batch):
        result.unwrap()


def _statement(name: str, predicate_type: str, build: int) -> bytes:
    subject = {"name": f"registry.example/{name}", "digest": {"sha256": digest(name)}}
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [subject],
        "predicateType": predicate_type,
        "predicate": {"build": build},
    }
    return json.dumps(statement).encode()


def _day(spend: tuple[str, str, str, int]) -> str:
    return spend[2]


def _make_key(folder: Path) -> Path:
    """Make the exporter's key, and the folder with the rows of each export."""
    key = folder / "exporter.key"
    command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run([*command, "-out", str(key)], check=True, capture_output=True)
    command = ["openssl", "pkey", "-in", str(key), "-pubout"]
    subprocess.run([*command, "-out", str(folder / "exporter.pub")], check=True)
    (folder / "rows").mkdir()
    (folder / "rows/data.csv").write_text("id,score\n1,0.5\n")
    return key


def _export(
    ledger: Client,
    folder: Path,
    key: Path,
    spends: Sequence[tuple[str, str, str, int]],
    spent: dict[str, Decimal],
) -> None:
    """Record exports, and add them to what is spent of each budget."""
    rows, public = folder / "rows", folder / "exporter.pub"
    for budget, name, day, count in spends:
        description = _description(budget, name, day, count)
        (folder / "description.json").write_text(json.dumps(description))
        before = spent.get(budget, Decimal(0))
        statement = folder / f"{name}.statement.json"
        muniment(
            "export-manifest", "create", str(rows), "--description",
            str(folder / "description.json"), "--license", "CC0-1.0", "--claimed-by", str(public),
            "--spent-before", str(before), "-o", str(statement),
        )  # fmt: skip
        muniment("export-manifest", "sign", str(statement), "--key", str(key))
        manifest = folder / f"{name}.export.sigstore.json"
        ledger.append(manifest.read_bytes(), kind="export-manifest")
        privacy = json.loads(statement.read_bytes())["predicate"]["privacy"]
        spent[budget] = Decimal(privacy["budget"]["spent"]["rho"])


def _description(budget: str, name: str, day: str, count: int) -> dict[str, Any]:
    return {
        "tenant": "acme",
        "exportId": name,
        "created": f"{day}T09:00:00Z",
        "residency": {
            "claims": [{"activity": "storage", "locations": [{"country": "DE"}]}],
        },
        "privacy": {
            "dp_flavor": {"name": "Zero-concentrated DP"},
            "privacy_loss": {
                "privacy_unit": "User-level",
                "neighboring_relation": "unbounded",
                "privacy_parameters": {"delta": DELTA},
            },
            "mechanisms": [
                {"name": "Gaussian", "sensitivity": "1", "scale": "14", "count": count},
            ],
            "sampler": {"name": "OpenDP 0.16.0 discrete Gaussian"},
            "budget": {"name": budget, "epsilon": "8", "delta": DELTA},
        },
    }


def _inventory(ledger: Client, provenance: bytes) -> None:
    payload = json.loads(provenance)["dsseEnvelope"]["payload"]
    (subject,) = json.loads(base64.b64decode(payload))["subject"]
    for environment, images in IMAGES.items():
        artifacts = [
            {"name": f"registry.example/{name}", "digest": {"sha256": digest(name)}}
            for name in images
        ]
        if environment == "production":
            artifacts.append({"name": PACKAGE, "digest": subject["digest"]})
        inventory = {
            "environment": environment,
            "observed": "2026-11-01T06:00:00Z",
            "source": "cluster",
            "scope": "runs",
            "items": [{"artifact": artifact} for artifact in artifacts],
        }
        ledger.append(
            json.dumps(inventory).encode(), kind="inventory", idempotency_key=f"{environment}-1"
        )

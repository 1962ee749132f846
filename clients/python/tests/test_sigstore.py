"""The verification of Sigstore bundles."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from muniment import sigstore
from vectors import load

ROOT = Path(__file__).resolve().parents[3]
SPEC = ROOT / "docs/spec/sigstore-verification.md"
PUBLIC_GOOD = (ROOT / "verifiers/sigstore/public-good.json").read_bytes()
SOMEONE = sigstore.Identity("ci@acme.example", "https://issuer.example")


def test_codes_are_those_of_the_specification() -> None:
    rows = re.findall(r"^\| (\d+) \| (`.*`) \|$", SPEC.read_text(encoding="utf-8"), re.MULTILINE)
    specified = {code: int(step) for step, row in rows for code in re.findall("`([^`]+)`", row)}
    assert specified == sigstore.SIGSTORE_STEPS


@pytest.mark.parametrize(
    ("roots", "identities", "keys", "code"),
    [
        ([PUBLIC_GOOD], [], [], "policy-missing"),
        ([PUBLIC_GOOD], [SOMEONE], [b"key"], "policy-missing"),
        ([PUBLIC_GOOD], [sigstore.Identity("", "https://issuer.example")], [], "identity-missing"),
        ([PUBLIC_GOOD], [SOMEONE, sigstore.Identity("a@b", "")], [], "identity-missing"),
        ([PUBLIC_GOOD], [], [b"key"], "key-malformed"),
        ([], [SOMEONE], [], "trusted-root-malformed"),
        ([b"{}"], [SOMEONE], [], "trusted-root-malformed"),
        ([b'{"x":1,' + PUBLIC_GOOD[1:]], [SOMEONE], [], "trusted-root-malformed"),
    ],
)
def test_inputs(
    roots: list[bytes], identities: list[sigstore.Identity], keys: list[bytes], code: str
) -> None:
    with pytest.raises(sigstore.CallerError) as caught:
        sigstore.Trust(roots, identities=identities, keys=keys)
    assert (caught.value.code, caught.value.step) == (code, 0)


def test_bundle_malformed() -> None:
    trust = sigstore.Trust([PUBLIC_GOOD], identities=[SOMEONE])
    with pytest.raises(sigstore.NotVerified) as caught:
        trust.verify(b"{}")
    assert (caught.value.code, caught.value.step) == ("bundle-malformed", 1)


VECTORS = load("sigstore.json")


@pytest.mark.parametrize("case", VECTORS["cases"], ids=[c["name"] for c in VECTORS["cases"]])
def test_vector(case: dict[str, Any]) -> None:
    roots = [json.dumps(VECTORS["trustedRoots"][name]).encode() for name in case["trustedRoots"]]
    identities = [sigstore.Identity(i["name"], i["issuer"]) for i in case.get("identities", [])]
    names = case.get("keys", [])
    artifact = case.get("artifact")
    digest = case.get("artifactDigest")
    verdict, reason, signer = "verified", None, None
    try:
        trust = sigstore.Trust(
            roots, identities=identities, keys=[VECTORS["keys"][name].encode() for name in names]
        )
        verified = trust.verify(
            base64.b64decode(case["bundleBase64"]),
            artifact=None if artifact is None else base64.b64decode(VECTORS["artifacts"][artifact]),
            artifact_sha256=None if digest is None else bytes.fromhex(digest),
        )
        identity, key = verified.signer.identity, verified.signer.key
        if identity is not None:
            signer = {"name": identity.name, "issuer": identity.issuer}
        elif key is not None:
            signer = {"key": names[key]}
    except sigstore.NotVerified as error:
        verdict, reason = "refused", error.code
    except sigstore.CallerError as error:
        verdict, reason = "not-checked", error.code
    assert (verdict, reason) == (case["verdict"], case.get("reason"))
    if "signer" in case:
        assert signer == case["signer"]

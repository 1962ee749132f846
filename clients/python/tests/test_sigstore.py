"""The verification of Sigstore bundles."""

import re
from pathlib import Path

import pytest

from muniment import sigstore

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

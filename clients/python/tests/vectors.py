"""Loads the test vectors in docs/spec/vectors."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muniment import Policy, Statement, parse_stream_key, verify

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "spec" / "vectors"


def load(name: str) -> Any:  # noqa: ANN401 - JSON
    """Load a vector file."""
    return json.loads((FOLDER / name).read_bytes())


def filled(raw: dict[str, Any]) -> bytes:
    """Return the input of a case that is too long to store: a fill between prefix and suffix."""
    prefix, suffix = (base64.b64decode(raw[name]) for name in ("prefixBase64", "suffixBase64"))
    return bytes(prefix + raw["fill"].encode() * raw["count"] + suffix)


_RECEIPTS = load("receipts.json")
_ADVERSARIAL = load("adversarial.json")


NAMES = {
    "tenant": "tenant",
    "kind": "kind",
    "subject": "subject",
    "predicateType": "predicate_type",
    "control": "control",
    "signer": "signer",
    "issuer": "issuer",
    "requireVerified": "require_verified",
    "admitted": "admitted",
    "stream": "stream",
}
"""Maps the expectations in the vectors to arguments of `verify`."""


@dataclass(frozen=True)
class Case:
    """A case of receipts.json or adversarial.json."""

    name: str
    receipt: bytes
    policy_names: tuple[str, ...]
    policy_texts: tuple[bytes, ...]
    payload: bytes | None
    external: bytes | None
    header_only: bool
    expect: dict[str, Any]
    stream_key_text: bytes | None
    verdict: str
    reason: str | None
    report: dict[str, Any] | None

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The policies, parsed."""
        named = zip(self.policy_texts, self.policy_names, strict=True)
        return tuple(Policy.parse(text, name) for text, name in named)

    def verify(self, receipt: bytes | None = None) -> Statement:
        """Verify the case's receipt, or `receipt` in its place."""
        expected = {NAMES[name]: value for name, value in self.expect.items()}
        if self.stream_key_text is not None:
            expected["stream_key"] = parse_stream_key(self.stream_key_text)
        return verify(
            self.receipt if receipt is None else receipt,
            self.policies,
            payload=self.payload,
            external=self.external,
            header_only=self.header_only,
            **expected,
        )


def policy_text(name: str) -> bytes:
    """Return a policy of receipts.json."""
    text: str = _RECEIPTS["policies"][name]
    return text.encode("utf-8")


def _case(file: dict[str, Any], raw: dict[str, Any]) -> Case:
    expect: dict[str, Any] = raw.get("expect", {})
    assert set(expect) <= {*NAMES, "streamKey"}

    def payload(name: str) -> bytes | None:
        if name not in raw:
            return None
        return base64.b64decode(file["payloads"][raw[name]], validate=True)

    key = expect.get("streamKey")
    return Case(
        name=raw["name"],
        receipt=base64.b64decode(raw["receiptBase64"], validate=True),
        policy_names=tuple(raw["policies"]),
        policy_texts=tuple(file["policies"][name].encode("utf-8") for name in raw["policies"]),
        payload=payload("payload"),
        external=payload("external"),
        header_only=raw.get("headerOnly", False),
        expect={name: value for name, value in expect.items() if name != "streamKey"},
        stream_key_text=None if key is None else file["streamKeys"][key].encode("utf-8"),
        verdict=raw["verdict"],
        reason=raw.get("reason"),
        report=raw.get("report"),
    )


CASES = tuple(_case(_RECEIPTS, raw) for raw in _RECEIPTS["cases"])
ADVERSARIAL = tuple(_case(_ADVERSARIAL, raw) for raw in _ADVERSARIAL["cases"])


def case(name: str) -> Case:
    """Return the case of receipts.json with this name."""
    (found,) = (c for c in CASES if c.name == name)
    return found

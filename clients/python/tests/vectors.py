"""Access to the test vectors of docs/spec/vectors."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muniment import Policy, Statement, verify

_FOLDER = Path(__file__).resolve().parents[3] / "docs" / "spec" / "vectors"


def load(name: str) -> Any:  # noqa: ANN401 - whatever the file holds
    """Return a parsed vector file."""
    return json.loads((_FOLDER / name).read_bytes())


_RECEIPTS = load("receipts.json")


@dataclass(frozen=True)
class Case:
    """One case of receipts.json, with the names resolved."""

    name: str
    receipt: bytes
    policies: tuple[Policy, ...]
    policy_texts: tuple[bytes, ...]
    payload: bytes | None
    header_only: bool
    expect: dict[str, str]
    verdict: str
    reason: str | None
    statement: dict[str, Any] | None

    def verify(self, receipt: bytes | None = None) -> Statement:
        """Verify the case's receipt, or another one in its place."""
        stream = self.expect.get("stream")
        return verify(
            self.receipt if receipt is None else receipt,
            self.policies,
            payload=self.payload,
            header_only=self.header_only,
            tenant=self.expect.get("tenant"),
            kind=self.expect.get("kind"),
            subject=self.expect.get("subject"),
            stream_id=None if stream is None else bytes.fromhex(stream),
            stream_key=self.stream_key,
        )

    @property
    def stream_key(self) -> bytes | None:
        """The stream key to give, 32 bytes."""
        name = self.expect.get("streamKey")
        return None if name is None else bytes.fromhex(_RECEIPTS["streamKeys"][name])


def policy_text(name: str) -> bytes:
    """Return a policy of receipts.json."""
    text: str = _RECEIPTS["policies"][name]
    return text.encode("utf-8")


def _case(raw: dict[str, Any]) -> Case:
    known = {"tenant", "kind", "subject", "stream", "streamKey"}
    expect: dict[str, str] = raw.get("expect", {})
    assert set(expect) <= known
    payload = raw.get("payload")
    texts = tuple(policy_text(name) for name in raw["policies"])
    return Case(
        name=raw["name"],
        receipt=base64.b64decode(raw["receiptBase64"], validate=True),
        policies=tuple(Policy.parse(text) for text in texts),
        policy_texts=texts,
        payload=None
        if payload is None
        else base64.b64decode(_RECEIPTS["payloads"][payload], validate=True),
        header_only=raw.get("headerOnly", False),
        expect=expect,
        verdict=raw["verdict"],
        reason=raw.get("reason"),
        statement=raw.get("statement"),
    )


CASES = tuple(_case(raw) for raw in _RECEIPTS["cases"])


def case(name: str) -> Case:
    """Return the one case of this name."""
    (found,) = (c for c in CASES if c.name == name)
    return found

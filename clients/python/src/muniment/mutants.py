"""Verdicts on a file of inputs: `python -m muniment.mutants FILE` (receipt.md, section 6)."""

import base64
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import CallerError, NotVerified
from .policy import Policy
from .statement import Statement
from .streamkey import parse_stream_key
from .verify import verify

_NAMES = {
    "tenant": "tenant",
    "kind": "kind",
    "subject": "subject",
    "predicateType": "predicate_type",
    "control": "control",
    "requireVerified": "require_verified",
    "signer": "signer",
    "issuer": "issuer",
    "admitted": "admitted",
    "stream": "stream",
}
"""Maps the expectations in the file to arguments of `verify`."""

_PROVEN = [
    "origin",
    "index",
    "size",
    "root",
    "leafHash",
    "tag",
    "streamId",
    "seq",
    "prev",
    "headerHash",
    "headerSha256",
    "payloadSha256",
    "externalSha256",
    "tagChecked",
    "signers",
    "policy",
    "witnessed",
]


def fingerprint(statement: Statement) -> str:
    """Return the fingerprint of a statement, in hexadecimal."""
    report = statement.to_json()
    members = {name: report["proven"].get(name) for name in _PROVEN}
    members |= {name: report["claimed"].get(name) for name in ("time", "erased")}
    members |= {name: report[name] for name in ("content", "warnings")}
    lines = (f"{name}={_text(value)}\n" for name, value in members.items() if value is not None)
    return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()


def _text(value: str | int | bool | list[str]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(value) if isinstance(value, list) else str(value)


def judge(mutant: dict[str, Any]) -> str:
    """Return the verdict on one input, followed by the fingerprint or the reason code."""
    decode = base64.b64decode
    expected = {_NAMES[name]: value for name, value in mutant.get("expect", {}).items()}
    try:
        policies = [
            Policy.parse(decode(text), str(number))
            for number, text in enumerate(mutant["policies"])
        ]
        if policies and "streamKey" in mutant:
            expected["stream_key"] = parse_stream_key(decode(mutant["streamKey"]))
        for name in ("payload", "external"):
            if name in mutant:
                expected[name] = decode(mutant[name])
        receipt = decode(mutant["receipt"])
        header_only = mutant.get("headerOnly", False)
        statement = verify(receipt, policies, header_only=header_only, **expected)
    except NotVerified as error:
        return f"refused {error.code}"
    except CallerError as error:
        return f"not-checked {error.code}"
    return f"verified {fingerprint(statement)}"


def run(path: str) -> Iterator[str]:
    """Yield a line of output for each line of the file."""
    with Path(path).open("rb") as file:
        for line in file:
            mutant = json.loads(line)
            yield f"{mutant['id']} {judge(mutant)}"


if __name__ == "__main__":
    for result in run(sys.argv[1]):
        print(result)

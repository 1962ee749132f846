"""Altered and truncated receipts: each fails, or proves exactly the same statement."""

import json
import os
import random
from typing import Any

import pytest

from muniment import NotVerified, verify
from muniment.strictjson import MAX_DEPTH
from vectors import Case, case

# Accepted cases of every form, with and without a given payload, witnesses and
# other lines.
NAMES = [
    "full",
    "full, with the same payload from elsewhere",
    "full, header only",
    "only entry of the log",
    "detached with its payload",
    "detached, header only",
    "shared",
    "payload-erased, header only",
    "header-erased, header only",
    "stream key with a header-erased receipt",
    "witnessed, quorum asks for it",
    "witnessed, quorum none",
    "by reference, with the evidence",
    "signature of an unknown key beside it",
    "signature line doubled",
    "escape in a member name",
]

# make test changes one byte in four, make soak all.
STEP = 1 if "MUNIMENT_SOAK" in os.environ else 4


@pytest.mark.parametrize("name", NAMES)
def test_every_byte(name: str) -> None:
    chosen = case(name)
    statement = chosen.verify()
    for position in range(0, len(chosen.receipt), STEP):
        byte = chosen.receipt[position]
        for other in {byte ^ 1, byte ^ 0x20, byte ^ 0x80, ord("0"), ord('"')} - {byte}:
            changed = bytearray(chosen.receipt)
            changed[position] = other
            _fails_or_equals(chosen, bytes(changed), statement.to_json())


@pytest.mark.parametrize("name", NAMES)
def test_every_byte_removed_or_doubled(name: str) -> None:
    chosen = case(name)
    statement = chosen.verify()
    receipt = chosen.receipt
    for position in range(0, len(receipt), STEP):
        removed = receipt[:position] + receipt[position + 1 :]
        doubled = receipt[: position + 1] + receipt[position:]
        _fails_or_equals(chosen, removed, statement.to_json())
        _fails_or_equals(chosen, doubled, statement.to_json())


@pytest.mark.parametrize("name", ["full", "shared", "header-erased, header only"])
def test_every_cut(name: str) -> None:
    chosen = case(name)
    for length in range(len(chosen.receipt.rstrip())):
        with pytest.raises(NotVerified) as caught:
            chosen.verify(chosen.receipt[:length])
        assert caught.value.step == 1


def _fails_or_equals(chosen: Case, changed: bytes, statement: dict[str, Any]) -> None:
    try:
        result = chosen.verify(changed)
    except NotVerified:
        return
    assert result.to_json() == statement, changed


def test_random_edits() -> None:
    rng = random.Random(20260101)
    chosen = case("witnessed, quorum asks for it")
    statement = chosen.verify().to_json()
    pieces = [
        b"\\u0000",
        b"\\ud800",
        b"[",
        b"{",
        b"}",
        b"]",
        b'"',
        b",",
        b"\\n",
        b"\xff",
        b"9" * 5000,
    ]
    for _ in range(3000):
        data = bytearray(chosen.receipt)
        for _ in range(rng.randint(1, 3)):
            start = rng.randrange(len(data))
            data[start : start + rng.choice([0, 0, 1, 7, 200])] = rng.choice(pieces)
        _fails_or_equals(chosen, bytes(data), statement)


def test_random_edits_of_the_proof() -> None:
    rng = random.Random(20260102)
    chosen = case("witnessed, quorum asks for it")
    statement = chosen.verify().to_json()
    receipt = json.loads(chosen.receipt)
    lines = receipt["proof"].split("\n")
    extra = ["", "\u2014 a AAAAAAA=", "\u2014 a b", "index 0", "extra AAAA", "\x85", "0", "\ufeff"]
    for _ in range(3000):
        changed = list(lines)
        for _ in range(rng.randint(1, 2)):
            at = rng.randrange(len(changed))
            changed[at : at + rng.randint(0, 2)] = rng.choices(lines + extra, k=rng.randint(0, 2))
        document = json.dumps({**receipt, "proof": "\n".join(changed)}).encode()
        _fails_or_equals(chosen, document, statement)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"time":' + b"9" * 100_000 + b"}",
        b'{"time":NaN}',
        b'{"form":true}',
        b'{"form":["full"]}',
        b'{"form":"\\ud800"}',
        b"\x00" * 10,
        "{}".encode("utf-16"),
    ],
    ids=lambda data: repr(data[:16]),
)
def test_junk(data: bytes) -> None:
    with pytest.raises(NotVerified) as caught:
        verify(data, case("full").policies)
    assert caught.value.step == 1


def test_depth_is_bounded() -> None:
    data = case("full").receipt.replace(b'"full"', b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(NotVerified, match="nesting"):
        verify(data, case("full").policies)

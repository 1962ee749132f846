"""The test vectors of the specification."""

import base64
import re
from typing import Any

import pytest

import adversarial
from muniment import (
    STEPS,
    CallerError,
    FormatError,
    MunimentError,
    NotVerified,
    Policy,
    PolicyError,
    hashes,
    parse_stream_key,
    verify,
)
from muniment.digest import parse_digest
from muniment.receipt import parse_header, parse_receipt
from vectors import ADVERSARIAL, CASES, FOLDER, Case, filled, load

DIGESTS = load("digests.json")
ENTRIES = load("entry.json")
LIMITS = load("limits.json")
POLICIES = load("policies.json")
STREAM_KEYS = load("stream-keys.json")
STRICT = load("strict-json.json")


@pytest.mark.parametrize("raw", ENTRIES, ids=[raw["name"] for raw in ENTRIES])
def test_entry(raw: dict[str, str]) -> None:
    stream_key = bytes.fromhex(raw["streamKey"])
    seq, time = int(raw["seq"]), int(raw["time"])
    header = raw["headerUtf8"].encode("utf-8")
    stream = hashes.stream_id(stream_key)
    link = hashes.link_hash(bytes.fromhex(raw["linkSalt"]), stream, seq, bytes.fromhex(raw["prev"]))
    header_hash = hashes.header_hash(bytes.fromhex(raw["headerSalt"]), header)
    commitment = hashes.payload_commitment(
        bytes.fromhex(raw["payloadSalt"]), bytes.fromhex(raw["payload"])
    )
    origin = hashes.origin_hash(raw["origin"])
    entry = hashes.entry_hash(origin, link, time, header_hash)
    tag = hashes.tag(stream_key, seq)
    leaf = hashes.leaf_data(tag, entry)
    assert len(leaf) == 65
    assert {
        "originHash": origin.hex(),
        "streamID": stream.hex(),
        "tag": tag.hex(),
        "link": link.hex(),
        "headerHash": header_hash.hex(),
        "commitment": commitment.hex(),
        "entryHash": entry.hex(),
        "leafData": leaf.hex(),
        "leafHash": hashes.leaf_hash(leaf).hex(),
    }.items() <= raw.items()


def test_chain() -> None:
    chain = [raw for raw in ENTRIES if raw["name"].startswith("chain-")]
    assert len(chain) >= 2
    for seq, (raw, before) in enumerate(zip(chain, [None, *chain[:-1]], strict=True)):
        assert raw["seq"] == str(seq)
        assert raw["prev"] == (before["leafHash"] if before else "00" * 32)


@pytest.mark.parametrize("case", CASES + ADVERSARIAL, ids=lambda case: case.name)
def test_receipt(case: Case) -> None:
    if case.verdict == "verified":
        assert case.verify().to_json() == case.report
        return
    error = {"refused": NotVerified, "not-checked": CallerError}[case.verdict]
    with pytest.raises(error) as caught:
        case.verify()
    assert caught.value.code == case.reason


@pytest.mark.parametrize("raw", POLICIES, ids=[raw["name"] for raw in POLICIES])
def test_policy(raw: dict[str, Any]) -> None:
    text = base64.b64decode(raw["textBase64"], validate=True)
    if raw["verdict"] == "accept":
        policy = Policy.parse(text)
        assert policy.log.name == raw["origin"]
        assert policy.asks_for_witness == raw["witnessed"]
        assert list(policy.keys) == raw["keys"]
        return
    with pytest.raises(PolicyError) as caught:
        Policy.parse(text)
    assert caught.value.code == "policy-malformed"
    if "secret" in raw:
        assert raw["secret"] not in str(caught.value)


@pytest.mark.parametrize("raw", STREAM_KEYS, ids=[raw["name"] for raw in STREAM_KEYS])
def test_stream_key(raw: dict[str, Any]) -> None:
    text = base64.b64decode(raw["textBase64"], validate=True)
    if raw["verdict"] == "accept":
        assert hashes.stream_id(parse_stream_key(text)).hex() == raw["streamId"]
        return
    with pytest.raises(CallerError) as caught:
        parse_stream_key(text)
    assert caught.value.code == "stream-key-malformed"


@pytest.mark.parametrize("raw", DIGESTS, ids=[raw["name"] for raw in DIGESTS])
def test_digest(raw: dict[str, Any]) -> None:
    try:
        equal = parse_digest(raw["expected"]).is_among(raw["digest"].items())
        verdict = "equal" if equal else "different"
    except CallerError as error:
        assert error.code == "expectation-malformed"  # noqa: PT017 - not every case raises
        verdict = "malformed"
    assert verdict == raw["verdict"]


@pytest.mark.parametrize("raw", STRICT, ids=[f"{raw['target']}: {raw['name']}" for raw in STRICT])
def test_strict_json(raw: dict[str, Any]) -> None:
    data = base64.b64decode(raw["inputBase64"], validate=True)
    parse = {"header": parse_header, "receipt": parse_receipt}[raw["target"]]
    if raw["verdict"] == "accept":
        parse(data)
        return
    assert raw["verdict"] == "refuse"
    with pytest.raises(FormatError) as caught:
        parse(data)
    assert caught.value.code == raw.get("reason", "header-malformed")


@pytest.mark.parametrize("raw", LIMITS["cases"], ids=[raw["name"] for raw in LIMITS["cases"]])
def test_limit(raw: dict[str, Any]) -> None:
    data = filled(raw)

    def check() -> None:
        if raw["target"] == "policy":
            Policy.parse(data)
        else:
            verify(data, [Policy.parse(LIMITS["policy"].encode())])

    if raw["verdict"] in ("accept", "verified"):
        check()
        return
    with pytest.raises(MunimentError) as caught:
        check()
    assert caught.value.code == raw["reason"]


def test_codes_are_those_of_the_specification() -> None:
    text = (FOLDER.parent / "receipt.md").read_text(encoding="utf-8")
    table = text.split("| step | codes |", 1)[1].split("\n\n", 1)[0]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", table, re.MULTILINE)
    assert {c: int(step) for step, row in rows for c in re.findall("`([^`]+)`", row)} == STEPS


def test_adversarial_vectors_are_current() -> None:
    assert adversarial.FILE.read_text(encoding="utf-8") == adversarial.text()

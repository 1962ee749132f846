"""All the test vectors of the specification."""

import base64
from typing import Any

import pytest

from muniment import FormatError, NotVerified, hashes
from muniment.receipt import parse_header, parse_receipt
from vectors import CASES, Case, load

ENTRIES = load("entry.json")
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
    entry = hashes.entry_hash(link, time, header_hash)
    tag = hashes.tag(stream_key, seq)
    leaf = hashes.leaf_data(tag, entry)
    assert len(leaf) == 65
    assert {
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


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_receipt(case: Case) -> None:
    if case.verdict == "accept":
        assert case.verify().to_json() == case.statement
        return
    assert case.verdict == "refuse"
    with pytest.raises(NotVerified) as caught:
        case.verify()
    # The specification gives the step for readers only, but this verifier goes by the steps.
    assert str(caught.value.step) == case.reason


@pytest.mark.parametrize("raw", STRICT, ids=[f"{raw['target']}: {raw['name']}" for raw in STRICT])
def test_strict_json(raw: dict[str, Any]) -> None:
    data = base64.b64decode(raw["inputBase64"], validate=True)
    parse = {"header": parse_header, "receipt": parse_receipt}[raw["target"]]
    if raw["verdict"] == "accept":
        parse(data)
    else:
        assert raw["verdict"] == "refuse"
        with pytest.raises(FormatError):
            parse(data)

"""What the vectors do not cover: receipts made here, and the caller's side of `verify`."""

import base64
import json
import pickle
from typing import Any

import pytest

from muniment import FormatError, NotVerified, Policy, hashes, verify
from muniment.receipt import parse_header, parse_receipt
from test_policy import LOG, ORIGIN
from vectors import case

POLICY = Policy.parse(f"log {LOG.vkey}\nquorum none\n".encode())


def encode(data: bytes) -> str:
    """Return base64."""
    return base64.b64encode(data).decode()


def make(evidence: bytes = b"", /, **changes: object) -> bytes:
    """Return a full receipt of a log's only entry, with changes to its header's members."""
    salt = bytes(range(32))
    header: dict[str, object] = {
        "origin": ORIGIN,
        "tenant": "acme",
        "kind": "attestation",
        "mediaType": "text/plain",
        "submitter": "me",
        "verification": {"result": "unverified"},
        "payload": {
            "commitment": encode(hashes.payload_commitment(salt, evidence)),
            "size": len(evidence),
        },
    }
    header |= changes
    content = json.dumps(header)
    stream = hashes.stream_id(bytes(32))
    link = hashes.link_hash(salt, stream, 0, bytes(32))
    entry = hashes.entry_hash(link, 5, hashes.header_hash(salt, content.encode()))
    tag = hashes.tag(bytes(32), 0)
    root = hashes.leaf_hash(hashes.leaf_data(tag, entry))
    text = f"{ORIGIN}\n1\n{encode(root)}\n"
    receipt: dict[str, Any] = {
        "mediaType": "application/vnd.muniment.receipt.v1+json",
        "form": "full",
        "tag": encode(tag),
        "time": 5,
        "link": {
            "salt": encode(salt),
            "streamId": encode(stream),
            "seq": 0,
            "prev": encode(bytes(32)),
        },
        "header": {"salt": encode(salt), "content": content},
        "payload": {"salt": encode(salt), "content": encode(evidence)},
        "proof": f"c2sp.org/tlog-proof@v1\nindex 0\n\n{text}\n{LOG.line(text)}",
    }
    return json.dumps(receipt).encode()


def test_empty_payload() -> None:
    statement = verify(make(), [POLICY])
    assert statement.payload_sha256 == hashes.sha256(b"")
    assert verify(make(), [POLICY], payload=b"") == statement


def step(receipt: bytes, **options: Any) -> int:  # noqa: ANN401 - options of verify
    """Return the step at which a receipt fails."""
    with pytest.raises(NotVerified) as caught:
        verify(receipt, [POLICY], **options)
    return caught.value.step


def test_steps_that_the_log_could_break() -> None:
    good = make(b"x")
    assert verify(good, [POLICY], stream_key=bytes(32)).signers == (LOG.key_id,)
    assert step(make(b"x", origin="other.example")) == 9
    commitment = encode(hashes.payload_commitment(bytes(range(32)), b"x"))
    assert step(make(b"x", payload={"commitment": commitment, "size": 2})) == 4
    assert step(make(b"x", kind="Attestation")) == 4
    assert step(good.replace(b'"seq": 0', b'"seq": 1')) == 5


def test_expectations_are_never_passed_over() -> None:
    digest = {"sha256": "ab", "git:x": "c"}
    receipt = make(subjects=[{"digest": {"sha1": "00"}}, {"digest": digest, "name": "n"}])
    for subject in ("sha256:ab", "sha1:00"):
        verify(receipt, [POLICY], subject=subject)
    for subject in (
        "",
        ":",
        "ab",
        "sha256",
        "sha256:",
        "sha256:AB",
        "sha256:a",
        "sha1:ab",
        "name:n",
    ):
        assert step(receipt, subject=subject) == 10
    assert step(receipt, tenant="") == 10
    assert step(receipt, kind="") == 10
    assert step(make(), subject="sha256:ab") == 10
    assert step(receipt, stream_id=bytes(32)) == 10


def test_tag_of_another_number() -> None:
    # A log that gives an entry a wrong tag is noticed with the stream key only.
    receipt = json.loads(make())
    wrong = hashes.tag(bytes(32), 1)
    document = json.dumps(receipt | {"tag": encode(wrong)})
    entry = hashes.entry_hash(
        hashes.link_hash(bytes(range(32)), hashes.stream_id(bytes(32)), 0, bytes(32)),
        5,
        hashes.header_hash(bytes(range(32)), receipt["header"]["content"].encode()),
    )
    text = f"{ORIGIN}\n1\n{encode(hashes.leaf_hash(hashes.leaf_data(wrong, entry)))}\n"
    proof = f"c2sp.org/tlog-proof@v1\nindex 0\n\n{text}\n{LOG.line(text)}"
    changed = json.dumps(json.loads(document) | {"proof": proof}).encode()
    verify(changed, [POLICY], stream_id=hashes.stream_id(bytes(32)))
    assert step(changed, stream_key=bytes(32)) == 10


def test_misuse_by_the_caller() -> None:
    for length in (0, 31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            verify(make(), [POLICY], stream_key=bytes(length))
        with pytest.raises(ValueError, match="32 bytes"):
            verify(make(), [POLICY], stream_id=bytes(length))


def test_first_accepting_policy_is_reported() -> None:
    chosen = case("one of two policies")
    assert chosen.verify().policy == 1
    assert not chosen.verify().witnessed
    assert case("witnessed, by a group").verify().witnessed


def test_error_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(NotVerified(3, "why")))
    assert (error.step, error.message, str(error)) == (3, "why", "step 3: why")


def test_header_size_is_limited() -> None:
    receipt = make()
    content = json.loads(receipt)["header"]["content"].encode()
    parse_header(content + b" " * ((1 << 20) - len(content)))
    with pytest.raises(FormatError, match="longer"):
        parse_header(content + b" " * ((1 << 20) - len(content) + 1))
    # The reader of receipts does not look into the header.
    document = json.loads(receipt)
    document["header"]["content"] = ""
    assert parse_receipt(json.dumps(document).encode()).header is not None
    assert step(json.dumps(document).encode()) == 4


@pytest.mark.parametrize("name", ["mediaType", "submitter", "origin", "predicateType"])
def test_no_empty_strings_in_the_header(name: str) -> None:
    with pytest.raises(FormatError, match="empty"):
        parse_header(json.loads(make(b"", **{name: ""}))["header"]["content"].encode())

"""Tests beyond the vectors: generated receipts, and wrong calls of `verify`."""

import json
import pickle
from typing import Any

import pytest

from log import POLICY, STREAM_KEY, encode, make, make_header
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
from muniment.strictjson import MAX_VALUES
from test_policy import LOG
from vectors import case


def test_empty_payload() -> None:
    statement = verify(make(), [POLICY])
    assert statement.payload_sha256 == hashes.sha256(b"")
    assert verify(make(), [POLICY], payload=b"") == statement


def code(receipt: bytes, **options: Any) -> str:  # noqa: ANN401 - options of verify
    """Return the reason code with which `verify` fails."""
    with pytest.raises(MunimentError) as caught:
        verify(receipt, [POLICY], **options)
    return caught.value.code


def test_receipts_that_only_the_log_can_forge() -> None:
    good = make(b"x")
    assert verify(good, [POLICY], stream_key=STREAM_KEY).signers == (LOG.key_id,)
    assert code(make(b"x", origin="other.example")) == "origin-mismatch"
    commitment = encode(hashes.payload_commitment(bytes(range(32)), b"x"))
    mismatch = make(b"x", payload={"commitment": commitment, "size": 2})
    assert code(mismatch) == "payload-mismatch"
    assert code(make(b"x", kind="Attestation")) == "header-malformed"
    assert code(good.replace(b'"seq": 0', b'"seq": 1')) == "link-prev"


def test_payload_in_pieces() -> None:
    def pieces(payload: bytes, size: int) -> Any:  # noqa: ANN401 - an iterable
        return (payload[at : at + size] for at in range(0, len(payload), size))

    payload = bytes(range(100))
    statement = verify(make(payload), [POLICY])
    for size in (1, 7, 100, 200):
        assert verify(make(payload), [POLICY], payload=pieces(payload, size)) == statement
        for other in (payload[:-1], payload + b"x", b"", payload[:40] + b"?" + payload[41:]):
            assert code(make(payload), payload=pieces(other, size)) == "payload-differs"


def test_external_in_pieces() -> None:
    digest = hashes.sha256(b"evidence").hex()
    receipt = make(external={"digest": {"SHA256": digest.upper()}, "size": 8})
    statement = verify(receipt, [POLICY], external=[b"evi", b"", b"dence"])
    assert statement.external_sha256 == hashes.sha256(b"evidence")
    assert statement.content_checked
    assert "content-not-checked" in verify(receipt, [POLICY]).warnings
    assert code(receipt, external=[b"evidenc"]) == "external-mismatch"
    assert code(receipt, external=b"Evidence") == "external-mismatch"
    assert code(make(), external=b"") == "external-unexpected"


def test_no_expectation_is_ignored() -> None:
    receipt = make(subjects=[{"digest": {"x": "ab", "git:x": "c"}, "name": "n"}])
    verify(receipt, [POLICY], subject="x:AB")
    for subject in ("y:ab", "x:abc", "name:n", "git:x:c", "git:x"):
        assert code(receipt, subject=subject) == "subject-mismatch"
    names = "tenant kind subject predicate_type control signer issuer stream"
    for name in names.split():
        assert code(receipt, **{name: ""}) == "expectation-malformed"
    assert code(make(), control="c") == "control-mismatch"
    assert code(make(), issuer="i") == "signature-unverified"


def test_tag_of_another_number() -> None:
    # Only the stream key reveals a wrong tag.
    changed = make(tag=hashes.tag(STREAM_KEY, 1))
    verify(changed, [POLICY], stream=hashes.stream_id(STREAM_KEY).hex())
    assert code(changed, stream_key=STREAM_KEY) == "tag-mismatch"


def test_wrong_calls() -> None:
    for length in (0, 31, 33):
        assert code(make(), stream_key=bytes(length)) == "stream-key-malformed"
    with pytest.raises(CallerError) as caught:
        verify(b"", [], tenant="")
    assert caught.value.code == "policy-missing"
    # The stream key is checked before the expectations, and both before the
    # receipt.
    assert code(b"", stream_key=b"", tenant="") == "stream-key-malformed"
    assert code(b"", tenant="") == "expectation-malformed"


def test_hostile_receipts_are_bounded() -> None:
    assert code(b'{"a":[' + b"[]," * MAX_VALUES + b"0]}") == "receipt-malformed"
    assert code(make(content=json.dumps({"controls": [""] * 200_000}))) == "header-malformed"
    assert code(make(content=make_header(controls=["x" * (1 << 20)]))) == "header-malformed"
    controls = ["c"] * 200_000
    assert verify(make(content=make_header(controls=controls)), [POLICY], control="c")


def test_first_accepting_policy_is_reported() -> None:
    chosen = case("one of two policies")
    assert chosen.verify().policy == chosen.policy_names[1]
    assert not chosen.verify().witnessed
    assert case("witnessed, by a group").verify().witnessed


@pytest.mark.parametrize(
    "error",
    [
        NotVerified("inclusion", "why"),
        CallerError("unreadable", "why"),
        PolicyError("why"),
        FormatError("why", "proof-malformed"),
    ],
)
def test_errors_can_be_pickled(error: MunimentError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (copy.code, copy.step, copy.message) == (error.code, STEPS[error.code], str(error))


PRIVATE = f"PRIVATE+KEY+log.example+00000000+{encode(bytes(range(33)))}\n".encode()
PEM = (
    f"-----BEGIN PRIVATE KEY-----\n{encode(bytes(range(48)))}\n-----END PRIVATE KEY-----\n".encode()
)


@pytest.mark.parametrize("text", [PRIVATE, PEM, PEM.replace(b"\n", b"\r\n"), b"log " + PRIVATE])
def test_private_keys_are_never_quoted(text: bytes) -> None:
    secret = max(text.replace(b"+", b" ").split(), key=len).decode()
    with pytest.raises(PolicyError, match="private key") as policy_error:
        Policy.parse(text)
    with pytest.raises(CallerError) as key_error:
        parse_stream_key(text)
    with pytest.raises(NotVerified) as receipt_error:
        verify(text, [POLICY])
    for error in (policy_error, key_error, receipt_error):
        assert secret not in str(error.value)

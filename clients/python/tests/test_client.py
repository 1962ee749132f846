"""The client against a real server."""

import hashlib
import io
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

import muniment
from facade import KINDS, connect
from ledger import Ledger
from muniment.client import (
    Client,
    ConnectionFailedError,
    EntryFilter,
    GateSubject,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    PermissionDeniedError,
    Retries,
    Submission,
    TokenFile,
    UnauthenticatedError,
)
from proxy import cutting


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Return a kind of client."""
    return str(request.param)


@pytest.fixture
def client(kind: str, server: Ledger) -> Iterator[Client]:
    """Open a client that verifies every receipt."""
    policy = muniment.Policy.parse(server.policy.read_bytes())
    key = muniment.parse_stream_key(server.stream_key.read_bytes())
    credentials = TokenFile(server.token)
    with connect(kind, server.url, credentials, policy=policy, stream_key=key) as opened:
        yield opened


def test_append(client: Client, server: Ledger, kind: str) -> None:
    payload = f"evidence of {kind}".encode()
    first = client.append(payload, kind="attestation", media_type="text/plain")
    again = client.append(payload, kind="attestation", media_type="text/plain")
    assert (first.index, first.duplicate) == (again.index, not again.duplicate)
    policy = muniment.Policy.parse(server.policy.read_bytes())
    statement = muniment.verify(first.receipt, [policy], payload=payload, tenant="acme")
    assert statement.index == first.index

    found = client.get_entry(first.index, include_payload=True)
    assert found.payload == payload
    assert (found.entry.kind, found.entry.media_type) == ("attestation", "text/plain")
    assert found.entry.leaf_hash == statement.leaf_hash
    receipt = client.get_receipt(first.index, include_payload=True)
    assert muniment.verify(receipt, [policy]).header == found.entry.header
    shared = client.get_receipt(first.index, shared=True)
    assert muniment.verify(shared, [policy], header_only=True).seq is None


def test_events_need_an_idempotency_key(client: Client, kind: str) -> None:
    finding = {"finding": f"CVE-{kind}", "severity": "high", "source": "scan"}
    with pytest.raises(InvalidArgumentError) as caught:
        client.append(json.dumps(finding).encode(), kind="finding", idempotency_key="")
    assert caught.value.violations or "idempotency" in caught.value.message


def test_batch(client: Client, kind: str) -> None:
    submissions = [
        Submission(kind="attestation", media_type="text/plain", payload=f"{kind} {n}".encode())
        for n in range(3)
    ]
    submissions[1] = Submission(kind="no kind", payload=b"x")
    results = client.append_batch(submissions)
    assert [result.error is None for result in results] == [True, False, True]
    assert isinstance(results[1].error, InvalidArgumentError)
    with pytest.raises(InvalidArgumentError, match="kind"):
        results[1].unwrap()
    assert results[2].unwrap().index > results[0].unwrap().index


def test_streams(client: Client, kind: str) -> None:
    payload = hashlib.shake_128(kind.encode()).digest(2_500_000)
    sent: list[int] = []
    appended = client.append_stream(
        io.BytesIO(payload),
        kind="attestation",
        media_type="application/octet-stream",
        progress=sent.append,
    )
    assert sent == [1 << 20, 2 << 20, len(payload)]
    assert b"".join(client.get_payload(appended.index)) == payload
    head = client.get_stream_head()
    assert head.last_index is not None
    assert head.last_index >= appended.index


def test_list(client: Client, kind: str) -> None:
    texts = [f"list {kind} {n}".encode() for n in range(5)]
    batch = [
        Submission(kind="attestation", media_type="text/plain", payload=text) for text in texts
    ]
    indexes = [result.unwrap().index for result in client.append_batch(batch)]
    chosen = EntryFilter(kind="attestation")
    oldest = client.list_entries(chosen, order="oldest-first", page_size=2)
    found = [entry.index for entry in oldest if entry.index >= indexes[0]]
    assert found == indexes
    newest = [entry.index for entry in islice(client.list_entries(chosen, page_size=2), 5)]
    assert newest == indexes[::-1]
    page = client.list_page(chosen, page_size=1)
    assert (page.entries[0].index, bool(page.next_page_token)) == (indexes[-1], True)
    assert not list(
        client.list_entries(EntryFilter(kind="attestation", subject="sha256:" + "0" * 64))
    )


def test_watch_resumes(client: Client, server: Ledger, kind: str) -> None:
    texts = [f"watch {kind} {n}".encode() for n in range(8)]
    batch = [Submission(kind="attestation", media_type="text/x", payload=text) for text in texts]
    expected = [result.unwrap().index for result in client.append_batch(batch)]
    chosen = EntryFilter(kind="attestation")
    with cutting(server.url, 0, 900, 3000, 4500) as proxy:
        retries = Retries(base=0.0)
        with connect(kind, proxy.url, TokenFile(server.token), retries=retries) as watching:
            watched = watching.watch_entries(expected[0], chosen)
            got = list(islice(watched, len(expected)))
            watched.close()  # type: ignore[attr-defined]
        assert proxy.connections == 5
    assert [one.entry.index for one in got if one.entry is not None] == expected
    assert got[-1].next_index == expected[-1] + 1


def test_downloads_resume(client: Client, server: Ledger, kind: str) -> None:
    payload = hashlib.shake_128(b"download" + kind.encode()).digest(3_000_000)
    file = io.BytesIO(payload)
    index = client.append_stream(file, kind="attestation", media_type="text/x-log").index
    with cutting(server.url, 1_500_000, 0, 3_000_000) as proxy:
        retries = Retries(base=0.0)
        with connect(kind, proxy.url, TokenFile(server.token), retries=retries) as reading:
            assert b"".join(reading.get_payload(index)) == payload
        assert proxy.connections == 4


def test_appends_are_repeated(server: Ledger, kind: str) -> None:
    payload = hashlib.shake_128(b"upload" + kind.encode()).digest(2_100_000)
    file = io.BytesIO(payload)
    with cutting(server.url, 0, 0, 0, 0) as proxy:
        retries = Retries(attempts=3, base=0.0)
        with connect(kind, proxy.url, TokenFile(server.token), retries=retries) as client:
            with pytest.raises(ConnectionFailedError):
                client.append_stream(file, kind="attestation", media_type="text/x-log")
            again = client.append_stream(file, kind="attestation", media_type="text/x-log")
        assert proxy.connections == 5
    with connect(kind, server.url, TokenFile(server.token)) as client:
        assert client.get_entry(again.index).entry.payload_size == len(payload)


def test_reports_are_recorded_on_request(client: Client, server: Ledger, kind: str) -> None:
    payload = f"reported {kind}".encode()
    appended = client.append(payload, kind="attestation", media_type="text/plain")
    policies = (muniment.Policy.parse(server.policy.read_bytes()),)
    configuration = muniment.Configuration(policies=policies)
    reports = [
        muniment.verify_receipt(appended.receipt, configuration, payload=given, tenant="acme")
        for given in (payload, b"other")
    ]
    assert [report.verdict for report in reports] == ["verified", "not-verified"]
    for number, report in enumerate(reports):
        recorded = client.append(
            report.to_evidence(appended.receipt),
            kind="verification-report",
            idempotency_key=f"{kind}-{number}",
        )
        entry = client.get_entry(recorded.index).entry
        assert entry.attributes["verdict"] == report.verdict
        assert entry.attributes["reasonCode"] == (report.code or "verified")
        assert entry.attributes["verifier"] == "muniment-python"
        digest = hashlib.sha256(appended.receipt).hexdigest()
        assert [subject.digest for subject in entry.subjects] == [{"sha256": digest}]
        assert entry.attributes.get("entry") == (None if report.code else str(appended.index))


def test_gate(client: Client) -> None:
    subject = GateSubject.of("image", "sha256:" + "ab" * 32, "registry.example/app")
    result = client.gate("release", [subject], environment="prod")
    assert not result.passed
    assert result.decisions[0].decision.decision == "undecided"
    assert result.decisions[0].decision.subjects[0].name == "registry.example/app"
    with pytest.raises(InvalidArgumentError) as caught:
        client.gate("release", [subject, GateSubject.of("image", "sha256:00")])
    (violation,) = caught.value.violations
    assert violation.field == "subjects[1].artifact.digest"
    assert "64" in violation.message
    assert violation.field in str(caught.value)


def test_errors(client: Client) -> None:
    with pytest.raises(OutOfRangeError) as caught:
        client.get_entry(1 << 40)
    error = caught.value
    assert [v.field for v in error.violations] == ["index"]
    assert error.request_id is not None
    assert str(error).startswith("out_of_range: index: 1099511627776 is beyond")
    with pytest.raises(OutOfRangeError):
        list(client.get_payload(1 << 40))
    with pytest.raises(InvalidArgumentError):
        next(client.watch_entries(filter=EntryFilter(kind="No Kind")))


def test_permissions(kind: str, server: Ledger) -> None:
    with connect(kind, server.url, server.issue(f"reader-{kind}", "--role", "reader")) as reader:
        assert reader.whoami().role == "ROLE_READER"
        assert reader.get_checkpoint().tree_size > 0
        with pytest.raises(PermissionDeniedError) as caught:
            reader.append(b"x", kind="attestation", media_type="text/plain")
        assert "docs/access.md" in caught.value.remedy
    wrong = "mnt_acme_" + "A" * 43
    with connect(kind, server.url, wrong) as stranger:
        with pytest.raises(UnauthenticatedError) as refused:
            stranger.whoami()
        assert "TokenFile" in refused.value.remedy
        with pytest.raises(UnauthenticatedError):
            next(stranger.watch_entries())
        with pytest.raises(UnauthenticatedError):
            stranger.append_stream(io.BytesIO(b"x"), kind="attestation", media_type="text/plain")
    with (
        connect(kind, server.url, TokenFile(server.token), tenant="other") as foreign,
        pytest.raises((PermissionDeniedError, NotFoundError)),
    ):
        foreign.get_entry(0)


def test_token_files_are_read_again(kind: str, server: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(server.issue(f"first-{kind}", "--role", "reader") + "\n")
    with connect(kind, server.url, TokenFile(file)) as client:
        assert client.whoami().identity == f"token:first-{kind}"
        server.run("token", "revoke", f"first-{kind}", "--reason", "rotation")
        with pytest.raises(UnauthenticatedError):
            client.whoami()
        file.write_text(server.issue(f"second-{kind}", "--role", "reader"))
        assert client.whoami().identity == f"token:second-{kind}"


def test_wrong_receipts_are_refused(kind: str, server: Ledger) -> None:
    other = muniment.Policy.parse(
        b"log sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8\nquorum none\n"
    )
    with connect(kind, server.url, TokenFile(server.token), policy=other) as client:
        with pytest.raises(muniment.NotVerified) as caught:
            client.append(b"other log", kind="attestation", media_type="text/plain")
        assert caught.value.code == "checkpoint-origin"
        submission = Submission(kind="attestation", media_type="text/plain", payload=b"other log")
        (result,) = client.append_batch([submission])
        assert isinstance(result.error, muniment.NotVerified)
        assert result.appended is not None

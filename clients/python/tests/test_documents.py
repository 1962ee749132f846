"""Verification of files with a configuration, and the reports."""

import base64
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import bundlevectors
import exportvectors
import vectors
from muniment import (
    Configuration,
    Inputs,
    Policy,
    Report,
    parse_stream_key,
    report,
    sigstore,
    verify_bundle,
    verify_evidence_bundle,
    verify_export,
    verify_file,
    verify_receipt,
    verify_stream,
)
from muniment.configuration import TrustedKey
from muniment.configured import KINDS
from muniment.documents import recognize
from muniment.errors import CallerError, MunimentError
from muniment.export import PublicKey
from muniment.report import Kind
from test_configuration import VECTORS, blob, load_vector

ROOT = Path(__file__).resolve().parents[3]
VERDICTS = {"verified": "verified", "refused": "not-verified", "not-checked": "error"}
SIGSTORE = vectors.load("sigstore.json")
EXPORTS = vectors.load("exports.json")
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
EMPTY = Configuration.parse(b"{}")


def trusted_key(name: str, pem: str) -> TrustedKey:
    """Return a key of the vectors."""
    return TrustedKey(name, pem.encode(), PublicKey.parse(pem.encode()))


@pytest.mark.parametrize("case", vectors.CASES, ids=lambda case: case.name)
def test_receipts(case: vectors.Case) -> None:
    key = case.stream_key_text
    expected = {vectors.NAMES[name]: value for name, value in case.expect.items()}
    expected["stream_id"] = expected.pop("stream", None)
    try:
        stream_key = None if key is None else parse_stream_key(key)
        configuration = Configuration(policies=case.policies, stream_key=stream_key)
    except CallerError:
        return  # such a configuration cannot be loaded
    got = verify_receipt(
        case.receipt,
        configuration,
        payload=case.payload,
        external=case.external,
        header_only=case.header_only,
        **expected,
    )
    assert (got.verdict, got.code) == (VERDICTS[case.verdict], case.reason)
    if case.report is not None:
        members = {name: case.report[name] for name in ("proven", "claimed", "warnings")}
        assert got.to_dict() == {"file": "-", "kind": "receipt", "verdict": "verified"} | members
        assert recognize(case.receipt) == "receipt"


@pytest.mark.parametrize("case", SIGSTORE["cases"], ids=lambda case: case["name"])
def test_sigstore_bundles(case: dict[str, Any]) -> None:
    identities = [sigstore.Identity(i["name"], i["issuer"]) for i in case.get("identities", [])]
    try:
        keys = [trusted_key(name, SIGSTORE["keys"][name]) for name in case.get("keys", [])]
    except MunimentError:
        return  # such a configuration cannot be loaded
    artifact, digest = case.get("artifact"), case.get("artifactDigest")
    configuration = Configuration(
        trusted_keys=tuple(keys),
        identities=tuple(identities),
        trusted_roots=tuple(
            json.dumps(SIGSTORE["trustedRoots"][name]).encode() for name in case["trustedRoots"]
        ),
    )
    got = verify_bundle(
        base64.b64decode(case["bundleBase64"]),
        configuration,
        artifact=None if artifact is None else base64.b64decode(SIGSTORE["artifacts"][artifact]),
        artifact_sha256=None if digest is None else bytes.fromhex(digest),
    )
    if identities and keys:
        return  # a configuration may have both
    assert (got.verdict, got.code) == (VERDICTS[case["verdict"]], case.get("reason"))
    if case["verdict"] == "verified":
        expected = case["signer"]
        if "key" in expected:
            (own,) = (key for key in keys if key.path == expected["key"])
            assert got.proven["signer"] == {"keyId": own.key.id}
            assert "times" not in got.proven
        else:
            found = {"identity": expected["name"], "issuer": expected["issuer"]}
            assert got.proven["signer"] == found
            assert got.proven["times"] == sorted(got.proven["times"])
        assert ("artifact-not-checked" in got.warnings) == (artifact is None and digest is None)


def test_bundles_with_keys_and_identities() -> None:
    case = next(c for c in SIGSTORE["cases"] if c["verdict"] == "verified" and "key" in c["signer"])
    keys = tuple(trusted_key(name, SIGSTORE["keys"][name]) for name in case["keys"])
    roots = tuple(json.dumps(SIGSTORE["trustedRoots"][n]).encode() for n in case["trustedRoots"])
    someone = (sigstore.Identity("ci@acme.example", "https://issuer.example"),)
    bundle = base64.b64decode(case["bundleBase64"])
    artifact = base64.b64decode(SIGSTORE["artifacts"][case["artifact"]])
    for identities, given, code in (
        (someone, keys, None),
        (someone, (), "material-mismatch"),
        ((), (), "policy-missing"),
    ):
        configuration = Configuration(
            trusted_keys=given, identities=identities, trusted_roots=roots
        )
        assert verify_bundle(bundle, configuration, artifact=artifact).code == code


@pytest.mark.parametrize("case", exportvectors.CASES, ids=str)
def test_exports(case: exportvectors.ExportCase) -> None:
    try:
        inputs = case.inputs(case.files)
    except MunimentError:
        return  # such a configuration cannot be loaded
    configuration = Configuration(
        trusted_keys=tuple(trusted_key(n, EXPORTS["keys"][n]) for n in case.raw["keys"]),
        policies=tuple(inputs.policies),
        stream_key=inputs.stream_key,
        requirements=inputs.requirements,
    )
    stream = inputs.stream
    assert stream is None or isinstance(stream, bytes)
    got = verify_export(
        case.manifest,
        configuration,
        files=inputs.files,
        receipt=inputs.receipt,
        stream=stream,
        tenant=inputs.tenant,
        export=inputs.export,
    )
    verdict, code, expected = case.expected
    assert (got.verdict, got.code) == (VERDICTS[verdict], code)
    if expected is not None:
        assert got.to_dict() == {"file": "-", "kind": "export", "verdict": "verified"} | expected
        assert recognize(case.manifest) == "export"


@pytest.mark.parametrize("kind", ["evidence-bundle", "stream"])
@pytest.mark.parametrize(
    "case", bundlevectors.bundle_cases("bundles.json"), ids=lambda case: case.name
)
def test_evidence_bundles(case: bundlevectors.BundleCase, kind: str) -> None:
    raw = case.raw
    try:
        configuration = Configuration(
            policies=tuple(
                Policy.parse(case.file["policies"][name].encode(), name) for name in raw["policies"]
            ),
            stream_key=(
                None
                if raw.get("streamKey") is None
                else parse_stream_key(case.file["streamKeys"][raw["streamKey"]].encode())
            ),
        )
    except CallerError:
        return  # such a configuration cannot be loaded
    expect, bundle = raw.get("expect", {}), case.bundle()
    if kind == "stream":
        got = verify_stream(bundle, configuration, tenant=expect.get("tenant"))
        if configuration.stream_key is None:
            missing = "stream-key-missing" if configuration.policies else "policy-missing"
            assert (got.verdict, got.code, got.step) == ("error", missing, 0)
            return
        if "identity" in expect:
            return
        assert (got.verdict, got.code) == (VERDICTS[raw["verdict"]], raw.get("reason"))
        if got.verdict == "verified":
            assert sum(k["entries"] for k in got.claimed["kinds"]) <= got.proven["entries"]
            assert ("spends" in got.claimed) == ("spends-unreadable" not in got.warnings)
        return
    got = verify_evidence_bundle(
        bundle, configuration, identity=expect.get("identity"), tenant=expect.get("tenant")
    )
    assert (got.verdict, got.code) == (VERDICTS[raw["verdict"]], raw.get("reason"))
    if raw.get("report"):
        shared = {name: value for name, value in raw["report"].items() if name in got.proven}
        assert {name: got.proven[name] for name in shared} == shared
        warnings = [code for code in got.warnings if code != "erased"]
        assert warnings == raw["report"].get("warnings", warnings)
        assert ("erased" in got.warnings) == (got.proven["erased"] > 0)
        assert recognize(bundle) == "evidence-bundle"


def test_streams_are_counted() -> None:
    case = exportvectors.export_case("good with everything")
    inputs = case.inputs(None)
    configuration = Configuration(policies=tuple(inputs.policies), stream_key=inputs.stream_key)
    assert isinstance(inputs.stream, bytes)
    got = verify_stream(inputs.stream, configuration)
    assert got.warnings == ("not-witnessed",)
    spends = got.claimed["spends"]
    assert [spend["budget"] for spend in spends] == sorted(spend["budget"] for spend in spends)
    assert len({tuple(spend.values())[:4] for spend in spends}) == len(spends) > 1
    for spend in spends:
        assert spend["spends"] > 0
        assert re.fullmatch(r"\d+(\.\d*[1-9])?", spend["sum"])
    counted = {kind["kind"]: kind["entries"] for kind in got.claimed["kinds"]}
    assert counted["export-manifest"] >= sum(spend["spends"] for spend in spends)
    assert sum(counted.values()) == got.proven["entries"]
    assert got.claimed["first"] <= got.claimed["newest"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", None),
        (b"[]", None),
        (b"{}", None),
        (b'{"mediaType":"x"}', None),
        (b'{"mediaType":"application/vnd.muniment.receipt.v9+json","a":-1.5e3}', "receipt"),
        (b'{"mediaType":"application/vnd.muniment.receipt.","mediaType":"x"}', None),
        (b'{"mediaType":"application/vnd.dev.sigstore.bundle"}', "sigstore-bundle"),
        (b'{"verificationMaterial":null}', "sigstore-bundle"),
        (b'{"payloadType":1}', "export"),
        (b'{"verificationMaterial":1,"dsseEnvelope":{"payload":"e30="}}', "sigstore-bundle"),
        (b'{"dsseEnvelope":{"payload":"e30="}}', None),
        (b"\0" * 257 + b"ustar", "evidence-bundle"),
        (b"\0" * 257 + b"USTAR", None),
        (b" " * (16 << 20) + b"{}", None),
    ],
)
def test_recognition(content: bytes, kind: str | None, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    for given in (content, file):
        got = verify_file(given, EMPTY)
        assert (got.kind, got.verdict == "verified") == (kind, False)
        if kind is None:
            assert (got.verdict, got.code, got.step) == ("error", "kind-unknown", 0)


def test_recognizes_a_manifest_in_a_bundle() -> None:
    prefix = b'{"predicateType":"https://muniment.dev/predicate/export-manifest/v9","n":1.5}'
    for payload, kind in ((prefix, "export"), (prefix + b"x", "sigstore-bundle")):
        envelope = {"payload": base64.b64encode(payload).decode()}
        document = {"mediaType": "application/vnd.dev.sigstore.bundle", "dsseEnvelope": envelope}
        assert recognize(json.dumps(document).encode()) == kind


def test_unexpected_inputs() -> None:
    cases: list[tuple[Kind, Inputs]] = [
        ("receipt", Inputs(artifact=b"")),
        ("receipt", Inputs(files={})),
        ("sigstore-bundle", Inputs(tenant="acme")),
        ("sigstore-bundle", Inputs(header_only=True)),
        ("export", Inputs(payload=b"")),
        ("export", Inputs(kind="attestation")),
        ("stream", Inputs(identity="sha256:00")),
        ("evidence-bundle", Inputs(export="a")),
    ]
    for kind, inputs in cases:
        got = verify_file(b"", EMPTY, inputs, kind=kind)
        assert (got.verdict, got.code, got.step) == ("error", "input-unexpected", 0)
    assert verify_file(b"{", EMPTY, Inputs(export="a")).code == "kind-unknown"


def test_unreadable_files(tmp_path: Path) -> None:
    for file in (tmp_path, tmp_path / "missing", "a\0b"):
        for kind in (None, *KINDS):
            configuration = Configuration(policies=vectors.case("full").policies)
            got = verify_file(file, configuration, kind=kind)
            assert got.verdict == "error"
            assert got.code in (
                "unreadable",
                "policy-missing",
                "trust-missing",
                "stream-key-missing",
            )
            assert b"subjects" not in got.to_evidence(file)


# Reports


def test_warnings_are_those_of_the_specification() -> None:
    table = json.loads((ROOT / "docs/spec/tables/verify-warnings.json").read_bytes())
    assert table == report.WARNINGS


def test_a_report_is_no_boolean() -> None:
    with pytest.raises(TypeError, match="verdict"):
        bool(verify_file(b"", EMPTY))


MADE = Report(
    "a\n\u202e<b>\U000e0001.json",
    "receipt",
    "verified",
    proven={
        "index": 5,
        "tagChecked": False,
        "signers": ["b", "a"],
        "time": 1_700_000_000_123,
        "times": [0, 253_402_300_799_999, 253_402_300_800_000],
        "none": [],
        "object": {"a": {"time": 1, "b": [1, {"c": "d"}, []]}, "empty": {}},
        "list": [{"name": "n", "size": 1, "time": 0, "in": {"x": True}}, {}, [1, 2]],
        "x\x1b": "<script>\x1b[31m'\"&",
    },
    claimed={"nothing": {}},
    warnings=("not-witnessed", "content-not-checked"),
)

TEXT = r"""✓ VERIFIED  receipt  a\u000a\u202e<b>\udb40\udc01.json
Proven
  index             5
  tagChecked        no
  signers           b
  signers           a
  time              1700000000123 (2023-11-14T22:13:20.123Z)
  times             0 (1970-01-01T00:00:00.000Z)
  times             253402300799999 (9999-12-31T23:59:59.999Z)
  times             253402300800000
  none              none
  object.a.time     1 (1970-01-01T00:00:00.001Z)
  object.a.b[0]     1
  object.a.b[1].c   d
  list              name n, size 1, time 0 (1970-01-01T00:00:00.000Z), in.x yes
  list
  list              [0] 1, [1] 2
  x\u001b           <script>\u001b[31m'"&
Warnings
  not-witnessed        The trust policy requires no witness, so the log could show others something else.
  content-not-checked  The bytes of the evidence were not checked.
What this report does not prove: docs/sdk-trust-boundary.md#receipts
"""  # noqa: E501 - a sentence of the specification


def test_text() -> None:
    width = len("object.a.b[1].c") + 2
    expected = re.sub(r"^  ([a-z\\]\S*) +(?=\S)", lambda m: m[0], TEXT, flags=re.MULTILINE)
    got = MADE.to_text()
    assert [line.split() for line in got.splitlines()] == [
        line.split() for line in expected.splitlines()
    ]
    assert got.splitlines()[2] == "  " + "index".ljust(width) + "5"
    assert got.splitlines()[15] == "  " + "list".ljust(width)
    assert got.endswith("\n")
    refused = Report("f", None, "error", code="kind-unknown", step=0, message="no\x07pe")
    assert refused.to_text() == (
        "? ERROR  f\n  step 0: no\\u0007pe (kind-unknown)\n"
        "What this report does not prove: docs/sdk-trust-boundary.md\n"
    )


def test_json() -> None:
    text = MADE.to_json()
    assert json.loads(text) == MADE.to_dict()
    assert text.isprintable()
    assert list(MADE.to_dict()) == ["file", "kind", "verdict", "proven", "claimed", "warnings"]
    refused = Report("ü", None, "not-verified", code="inclusion", step=8, message="m")
    assert refused.to_json() == (
        '{"file":"ü","verdict":"not-verified","code":"inclusion","step":8,"message":"m"}'
    )


class Page(HTMLParser):
    """Collects the elements and the cells of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.cells: list[str] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect an element."""
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self._open = tag in ("th", "td")
        if self._open:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        """End a cell."""
        self._open = self._open and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        """Collect the text of a cell."""
        if self._open:
            self.cells[-1] += data


def test_html() -> None:
    text = MADE.to_html()
    page = Page(text)
    assert text.startswith('<!doctype html>\n<html lang="en">')
    allowed = "html head meta title style body main header h1 p code section h2 table tr th td"
    assert set(page.tags) <= {*allowed.split(), "footer"}
    names = {name for _, name, _ in page.attributes}
    assert names <= {"lang", "charset", "http-equiv", "content", "name", "class", "scope"}
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert ("meta", "content", policy) in page.attributes
    assert text.index("Content-Security-Policy") < text.index("<style>")
    assert "url(" not in text
    assert "@import" not in text
    items = [text for _, section in MADE.sections() for item in section for text in item]
    assert page.cells == items
    assert "<script" not in text.lower()
    assert r"a\u000a\u202e&lt;b&gt;\udb40\udc01.json" in text
    assert "✓ VERIFIED" in text
    assert MADE.boundary in text
    refused = Report("f", "export", "not-verified", code="file-size", step=8, message="<i>'")
    assert "step 8: &lt;i&gt;&#x27; (<code>file-size</code>)" in refused.to_html()


def test_evidence() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678900, UTC)
    assert json.loads(MADE.to_evidence(b"", now=moment)) == {
        "verdict": "verified",
        "reasonCode": "verified",
        "version": "0.1.0",
        "verifier": "muniment-python",
        "verifiedAt": "2026-01-02T03:04:05Z",
        "index": "5",
        "detail": "receipt; warnings: not-witnessed, content-not-checked",
        "subjects": [{"name": "a\n\u202e<b>\U000e0001.json", "digest": {"sha256": EMPTY_SHA256}}],
    }
    refused = Report("x/f", None, "error", code="kind-unknown", step=0, message="ü" * 5000)
    evidence = json.loads(refused.to_evidence(now=moment))
    assert evidence["reasonCode"] == "kind-unknown"
    assert "subjects" not in evidence
    assert len(evidence["detail"].encode()) <= 2048


CONFIGURATIONS = {case["name"]: case for case in VECTORS["configurations"]}
ARGUMENTS = {
    "predicateType": "predicate_type",
    "requireVerified": "require_verified",
    "stream": "stream_id",
}


def vector_inputs(given: dict[str, Any]) -> Inputs:
    """Return the inputs of a verification of the vectors."""
    texts = {ARGUMENTS.get(name, name): value for name, value in given.get("expect", {}).items()}
    files: dict[str, Any] = {
        name: blob(given[name])
        for name in ("payload", "external", "artifact", "receipt", "stream")
        if name in given
    }
    folder = given.get("files")
    digest = given.get("artifactDigest")
    return Inputs(
        **texts,
        **files,
        artifact_sha256=None if digest is None else bytes.fromhex(digest),
        header_only=given.get("headerOnly", False),
        files=None if folder is None else {path: blob(name) for path, name in folder.items()},
    )


@pytest.mark.parametrize("case", VECTORS["verifications"], ids=lambda case: case["name"])
def test_vector(case: dict[str, Any]) -> None:
    configuration = load_vector(CONFIGURATIONS[case["configuration"]])
    inputs = vector_inputs(case.get("inputs", {}))
    file, kind = case["file"], case.get("kind")
    got = verify_file(blob(file), configuration, inputs, kind=kind, name=file)
    members = got.to_dict()
    members.pop("message", None)
    assert json.dumps(members) == json.dumps(case["report"])
    if "text" in case:
        assert got.to_text() == case["text"]


@pytest.mark.parametrize("case", vectors.load("json-values.json"), ids=lambda case: case["name"])
def test_the_number_of_values(case: dict[str, Any]) -> None:
    configuration = load_vector(CONFIGURATIONS[case["configuration"]])
    file = vectors.filled(case)
    got = verify_file(file, configuration, kind=case.get("kind"), name=case["name"])
    assert got.code == case["code"]

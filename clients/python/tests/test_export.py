"""The verification of export manifests."""

import base64
import json
import os
import pickle
import random
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from exportvectors import CASES, ExportCase, export_case, write_files
from muniment import export, sigstore
from muniment.export.epsilon import holds, log_of_inverse
from muniment.export.licenses import check_allowed, decide
from muniment.export.number import T, parse_decimal, parse_rational
from muniment.export.statement import is_safe_name
from vectors import load

ROOT = Path(__file__).resolve().parents[3]
SPEC = ROOT / "docs/spec/export-manifest.md"
EPSILON = load("export-epsilon.json")
LICENSES = load("export-licenses.json")
SIZES = load("export-sizes.json")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_vector(case: ExportCase) -> None:
    assert case.verify() == case.expected


@pytest.mark.parametrize("case", [c for c in CASES if c.files is not None], ids=str)
def test_vector_with_a_folder(case: ExportCase, tmp_path: Path) -> None:
    write_files(tmp_path, case.files or {})
    assert case.verify(files=tmp_path) == case.expected


@pytest.mark.parametrize("raw", EPSILON["logarithms"], ids=lambda raw: raw["delta"])
def test_logarithm(raw: dict[str, str]) -> None:
    assert log_of_inverse(parse_decimal(raw["delta"]).units) == int(raw["ell"])


@pytest.mark.parametrize("raw", EPSILON["holds"], ids=str)
def test_holds(raw: dict[str, Any]) -> None:
    numbers = [parse_decimal(raw[name]) for name in ("epsilon", "delta", "rho")]
    assert holds(*numbers) == raw["holds"]


@pytest.mark.parametrize("raw", LICENSES, ids=lambda raw: repr(raw["expression"])[:60])
def test_license(raw: dict[str, Any]) -> None:
    for text in raw["allow"]:
        check_allowed(text)
    assert decide(raw["expression"], frozenset(raw["allow"])) == raw["verdict"]


@pytest.mark.parametrize("raw", SIZES, ids=lambda raw: raw["name"])
def test_size(raw: dict[str, Any]) -> None:
    limit = 4 << 20  # of receipts, which is the larger one
    count = min(raw["count"], limit + 1)
    prefix, suffix = (base64.b64decode(raw[name]) for name in ("prefixBase64", "suffixBase64"))
    data = prefix + raw["fill"].encode() * count + suffix
    case = export_case("good with everything")
    inputs = export.Inputs(keys=case.inputs(None).keys)
    code = None
    try:
        if raw["target"] == "receipt":
            inputs = replace(inputs, receipt=data, policies=case.inputs(None).policies)
            export.verify(case.manifest, inputs)
        else:
            export.verify(data, inputs)
    except export.ExportError as error:
        code = error.code
    assert code == raw.get("reason")


def test_codes_are_those_of_the_specification() -> None:
    text = SPEC.read_text(encoding="utf-8").partition("### Inputs")[2].partition("### The rep")[0]
    inputs, _, steps = text.partition("### Steps")
    specified = {0: set(re.findall(r"^\| `([a-z-]+)` \|", inputs, re.MULTILINE))}
    for number, step in re.findall(
        r"^(\d+)\. (.*?)(?=^\d+\. |^A check|\Z)", steps, re.MULTILINE | re.DOTALL
    ):
        known = {code for codes in export.EXPORT_STEPS.values() for code in codes}
        words = set(re.findall(r"`([a-z-]+)`", step))
        specified[int(number)] = (words & known) - {"storage-forbidden"} | (
            {"storage-forbidden"} & words if number == "5" else set()
        )
    assert specified == {step: set(codes) for step, codes in export.EXPORT_STEPS.items()}


def test_tables_are_those_of_the_specification() -> None:
    package = ROOT / "clients/python/src/muniment/export/tables"
    for name in ("cloud-regions.json", "iso3166.json", "spdx.json"):
        assert (package / name).read_bytes() == (ROOT / "docs/spec/tables" / name).read_bytes()


@pytest.mark.parametrize("seed", range(12))
def test_mutants_raise_only_the_error_of_the_package(seed: int) -> None:
    rng = random.Random(seed)
    pieces = [b"", b"\xff", b'"', b"{", b"]", b"\\ud800", b"9" * 5000, b"1e400", b"NaN", b"null"]
    for _ in range(80):
        case = rng.choice(CASES)
        data = bytearray(case.manifest)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(data) + 1)
            data[at : at + rng.choice([0, 1, 7, 200])] = rng.choice(pieces)
        assert case.verify(bytes(data))[0] in ("refused", "not-checked", "verified")


@pytest.mark.parametrize("seed", range(12))
def test_mutants_of_statements(seed: int) -> None:
    rng = random.Random(seed)
    signed = json.loads(base64.b64decode(_envelope(export_case("good").manifest)["payload"]))
    pieces = ["", "\\ud800", "9" * 5000, "1e400", "-1", "NaN", "null", "[]", "{}", '"x"', "[[", "}"]
    for _ in range(120):
        text = json.dumps(signed)
        for _ in range(rng.randint(1, 2)):
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(pieces) + text[at + rng.choice([0, 1, 2, 30]) :]
        payload = text.encode("utf-8", "surrogatepass")
        verdict, code, _ = _verify_signed(payload)
        assert verdict == "verified" or code in {c for s in export.EXPORT_STEPS.values() for c in s}


def _envelope(manifest: bytes) -> dict[str, Any]:
    file = json.loads(manifest)
    envelope: dict[str, Any] = file.get("dsseEnvelope", file)
    return envelope


def _verify_signed(payload: bytes) -> tuple[str, str, str]:
    """Verify a manifest that a fresh key signed."""
    private = ed25519.Ed25519PrivateKey.generate()
    message = b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(payload), payload)
    manifest = {
        "payloadType": "application/vnd.in-toto+json",
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"sig": base64.b64encode(private.sign(message)).decode()}],
    }
    key = export.PublicKey.parse(_pem(private.public_key()))
    try:
        export.verify(json.dumps(manifest).encode(), export.Inputs(keys=[key]))
    except export.ExportError as error:
        return error.verdict, error.code, error.message
    return "verified", "", ""


def _pem(key: Any) -> bytes:  # noqa: ANN401 - a public key of any type
    pem: bytes = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem


def _compressed() -> bytes:
    """Return a key on P-256 with a compressed point."""
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    short = point.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    prefix = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    text = base64.b64encode(prefix + short).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n".encode()


@pytest.mark.parametrize(
    ("curve", "algorithm"),
    [
        (ec.SECP256R1(), hashes.SHA256()),
        (ec.SECP384R1(), hashes.SHA384()),
        (ec.SECP384R1(), hashes.SHA256()),
        (ec.SECP521R1(), hashes.SHA512()),
    ],
    ids=lambda value: value.name,
)
def test_ecdsa_keys(curve: ec.EllipticCurve, algorithm: hashes.HashAlgorithm) -> None:
    private = ec.generate_private_key(curve)
    key = export.PublicKey.parse(_pem(private.public_key()))
    signature = private.sign(b"message", ec.ECDSA(algorithm))
    assert key.verifies(b"message", signature)
    assert not key.verifies(b"other", signature)
    assert not key.verifies(b"message", b"")


def test_rsa_keys() -> None:
    private = rsa.generate_private_key(65537, 2048)
    key = export.PublicKey.parse(_pem(private.public_key()))
    signature = private.sign(b"message", padding.PKCS1v15(), hashes.SHA256())
    assert key.verifies(b"message", signature)
    assert not key.verifies(b"message", signature[:-1])


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"key",
        _pem(rsa.generate_private_key(65537, 1024).public_key()),
        _pem(rsa.generate_private_key(65537, 2560).public_key()),
        _pem(ec.generate_private_key(ec.SECP256K1()).public_key()),
        _compressed(),
    ],
    ids=["empty", "text", "RSA-1024", "RSA-2560", "another curve", "compressed"],
)
def test_unsupported_keys(pem: bytes) -> None:
    with pytest.raises(sigstore.CallerError) as caught:
        export.PublicKey.parse(pem)
    assert caught.value.code == "key-malformed"


@pytest.mark.parametrize("text", ["", "1.", ".1", "-1", "+1", "1e400", "NaN", "01", "1 ", "\u0661"])
def test_malformed_numbers(text: str) -> None:
    for parse in (parse_decimal, parse_rational):
        with pytest.raises(ValueError, match="decimal"):
            parse(text)


def test_numbers() -> None:
    assert parse_decimal("0.000000000000000000000000000001").units == 1
    assert parse_decimal("999999999999999999").units == (10**18 - 1) * T
    assert parse_rational("1/3") == Fraction(1, 3)


@pytest.mark.parametrize("name", ["a", "a/b", ".a", "a..b/c", "a b", "x" * 1024])
def test_safe_names(name: str) -> None:
    assert is_safe_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "/a", "a/", "a//b", ".", "a/..", "...", "a\\b", "c:d", "a*", "a ", " a", "a."),
        *("a\0", "a\n", "\x7f", "\xe4", "x" * 1025),
    ],
)
def test_unsafe_names(name: str) -> None:
    assert not is_safe_name(name)


@pytest.mark.parametrize("what", ["file", "folder", "pipe"])
def test_links_are_not_followed(tmp_path: Path, what: str) -> None:
    case = export_case("good with everything")
    folder, real = tmp_path / "export", tmp_path / "real"
    for at in (folder, real):
        write_files(at, case.files or {})
    name = next(n for n in case.files or {} if "/" in n)
    if what == "file":
        (folder / name).unlink()
        (folder / name).symlink_to(real / name)
    elif what == "folder":
        top = name.split("/")[0]
        (folder / top).rename(tmp_path / "moved")
        (folder / top).symlink_to(real / top, target_is_directory=True)
    else:
        (folder / name).unlink()
        os.mkfifo(folder / name)
    assert case.verify(files=folder)[1] == "file-missing"


def test_unreadable_inputs(tmp_path: Path) -> None:
    case = export_case("good with everything")
    assert case.verify(files=tmp_path / "absent")[1] == "file-missing"
    inputs = replace(case.inputs(case.files), stream=tmp_path / "absent")
    with pytest.raises(export.ExportError) as caught:
        export.verify(case.manifest, inputs)
    assert (caught.value.code, caught.value.step, caught.value.verdict) == (
        "unreadable",
        0,
        "not-checked",
    )


def test_caller_errors_are_in_order() -> None:
    case = export_case("good with everything")
    inputs = case.inputs(case.files)
    someone = sigstore.Identity("ci@acme.example", "https://issuer.example")
    faults: list[tuple[dict[str, Any], str]] = [
        ({"receipt": bytes(5 << 20)}, "unreadable"),
        ({"export": ""}, "expectation-malformed"),
        ({"stream_key": b"short"}, "stream-key-malformed"),
        ({"stream_key": None}, "stream-key-missing"),
        ({"receipt": None}, "receipt-missing"),
        ({"receipt": inputs.receipt, "policies": []}, "policy-missing"),
        ({"identities": [someone]}, "trust-missing"),
        ({"identities": [], "keys": []}, "trust-missing"),
    ]
    for change, code in faults:
        inputs = replace(inputs, **change)
        with pytest.raises(export.ExportError) as caught:
            export.verify(b"", inputs)
        assert (caught.value.code, caught.value.step) == (code, 0)


def test_errors_can_be_pickled() -> None:
    error = export.ExportError("file-size", "too long", 8)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.code, copy.step, copy.message) == ("file-size", 8, "too long")
    assert copy.to_json()["verdict"] == "refused"

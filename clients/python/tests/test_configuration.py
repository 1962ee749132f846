"""The configuration of verifications."""

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from muniment import Configuration, ConfigurationError
from muniment.configuration import CONFIGURATION_CODES, public_good
from muniment.sigstore.urls import normal_form
from vectors import load, policy_text

ROOT = Path(__file__).resolve().parents[3]
SPEC = ROOT / "docs/spec/verify.md"
VECTORS = load("verify.json")
SIGSTORE = load("sigstore.json")
SOMEONE = {"issuer": "https://issuer.example", "subject": "ci@acme.example"}
REKOR = "https://rekor.sigstore.dev"


def write(folder: Path, text: object, name: str = "muniment.json") -> Path:
    """Write a configuration, and the files that the tests name, and return its path."""
    (folder / "keys").mkdir(exist_ok=True)
    (folder / "keys/cosign.pub").write_text(next(iter(SIGSTORE["keys"].values())))
    (folder / "policy").write_bytes(policy_text("log"))
    (folder / "stream.key").write_text("ab" * 32)
    (folder / "root.json").write_text(json.dumps(SIGSTORE["trustedRoots"]["local"]))
    (folder / "bad").write_text("-----BEGIN nothing secret")
    (folder / "large").write_bytes(b" " * (5 << 20))
    file = folder / name
    data = text if isinstance(text, bytes) else json.dumps(text).encode()
    file.write_bytes(data)
    return file


def test_everything_is_loaded(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        {
            "trustedKeys": ["keys/cosign.pub"],
            "identities": [SOMEONE],
            "trustedRoot": ["root.json", str(tmp_path / "root.json")],
            "trustPolicy": "../" + tmp_path.name + "/policy",
            "streamKey": "stream.key",
            "licenses": ["MIT"],
            "residency": {"storage-allowed": [{"country": "DE"}]},
            "epsilon": {"budget": "b", "epsilon": "1.5", "delta": "0.00001"},
        },
    )
    loaded = Configuration.load(file)
    assert [key.path for key in loaded.trusted_keys] == ["keys/cosign.pub"]
    assert [(i.name, i.issuer) for i in loaded.identities] == [tuple(reversed(SOMEONE.values()))]
    assert len(loaded.trusted_roots) == 2
    assert [policy.name for policy in loaded.policies] == ["../" + tmp_path.name + "/policy"]
    assert loaded.stream_key == bytes([0xAB] * 32)
    assert loaded.requirements.licenses == frozenset({"MIT"})
    assert loaded.requirements.epsilon is not None
    assert "abab" not in repr(loaded)
    assert r"\xab" not in repr(loaded)


def test_the_shortest_form(tmp_path: Path) -> None:
    given = b'{"sigstore":{"rekorUrl":"https://rekor.sigstore.dev"},"trustedKeys":["cosign.pub"]}'
    file = write(tmp_path, given)
    (tmp_path / "cosign.pub").write_text(next(iter(SIGSTORE["keys"].values())))
    loaded = Configuration.load(str(file))
    (root,) = loaded.trusted_roots
    assert [log["baseUrl"] for log in json.loads(root)["tlogs"]] == [REKOR]
    assert Configuration.parse(b"{}").trusted_roots == (public_good(),)


def test_public_good_is_that_of_the_repository() -> None:
    assert public_good() == (ROOT / "verifiers/sigstore/public-good.json").read_bytes()


MALFORMED = [
    b"",
    b"[]",
    b"{}{}",
    b"\xef\xbb\xbf{}",
    b'{"licenses":["\xff"]}',
    b'{"trustedKeys":["a"],"trustedKeys":["b"]}',
    b'{"licenses":[],"\\u006cicenses":[]}',
    b'{"licenses":["\\ud800"]}',
    b'{"epsilon":{"epsilon":1.5}}',
    b'{"epsilon":{"epsilon":1e400}}',
    b'{"epsilon":{"epsilon":NaN}}',
    b'{"licenses":' + b"[" * 17 + b"]" * 17 + b"}",
    b" " * (1 << 20) + b"{}",
]
UNKNOWN = [
    {"__proto__": {}},
    {"constructor": 1},
    {"TrustedKeys": ["a"]},
    {"trusted_keys": ["a"]},
    {"sigstore": {"rekorUrl": REKOR, "x": 1}},
    {"sigstore": {"rekor_url": REKOR}},
    {"identities": [SOMEONE, SOMEONE | {"__proto__": 1}]},
    {"identities": [{"name": "a", "issuer": "b"}], "trustedKeys": 5},
]
PATHS: list[Any] = [
    None, 5, True, {}, [], [5], [""], [["a"]], ["a\0"], ["a" * 4097], ["ü" * 2049], ["a"] * 65,
]  # fmt: skip
INVALID: list[dict[str, Any]] = [
    {"sigstore": None},
    {"sigstore": {}},
    {"sigstore": []},
    {"sigstore": {"rekorUrl": 5}},
    *({"sigstore": {"rekorUrl": url}} for url in (
        "", "rekor.sigstore.dev", "HTTPS://rekor.sigstore.dev", "https://a@rekor.sigstore.dev",
        REKOR + "?", REKOR + "#a", REKOR + ":123456", REKOR + "/%41", REKOR + "\n", "https://",
        REKOR + "/" + "a" * 2048,
    )),
    *({name: value} for name in ("trustedKeys", "trustedRoot", "trustPolicy") for value in PATHS),
    {"trustedKeys": "cosign.pub"},
    {"trustedRoot": ""},
    {"trustPolicy": ["a"] * 17},
    {"trustedRoot": ["a"] * 17},
    {"streamKey": ["a"]},
    {"streamKey": ""},
    {"streamKey": None},
    {"identities": SOMEONE},
    {"identities": []},
    {"identities": ["a"]},
    {"identities": [SOMEONE] * 65},
    {"identities": [{"issuer": 5, "subject": "a"}]},
    {"identities": [{"issuer": None, "subject": "a"}]},
    {"identities": [{"issuer": "a", "subject": "a" * 2049}]},
    {"identities": [{"issuer": "", "subject": "a"}], "streamKey": 5},
]  # fmt: skip
MISSING = [
    {"identities": [{"issuer": "", "subject": "a"}]},
    {"identities": [SOMEONE, {"issuer": "a", "subject": ""}], "licenses": 5},
    {"identities": [{"issuer": "a"}]},
    {"identities": [{}]},
]
REQUIREMENTS: list[dict[str, Any]] = [
    {"licenses": None},
    {"licenses": "MIT"},
    {"licenses": ["mit"]},
    {"residency": {"storage-allowed": [{"country": "XX"}]}},
    {"residency": {"elsewhere": []}},
    {"epsilon": {"epsilon": "1"}},
    {"epsilon": {"epsilon": "-1", "delta": "0.1"}},
    {"epsilon": {"epsilon": "1", "delta": "1"}, "trustedKeys": ["missing"]},
]
FILES: list[tuple[dict[str, Any], str]] = [
    ({"trustedKeys": ["missing"]}, "configuration-unreadable"),
    ({"trustedKeys": ["keys"]}, "configuration-unreadable"),
    ({"trustedKeys": ["fifo"]}, "configuration-unreadable"),
    ({"trustedKeys": ["keys/cosign.pub", "bad"]}, "key-malformed"),
    ({"trustedKeys": ["large"], "trustPolicy": "missing"}, "key-malformed"),
    ({"trustedRoot": "missing", "trustedKeys": ["bad"]}, "key-malformed"),
    ({"trustedRoot": "bad"}, "trusted-root-malformed"),
    ({"trustedRoot": "large"}, "trusted-root-malformed"),
    ({"trustedRoot": ["root.json", "bad"], "trustPolicy": "bad"}, "trusted-root-malformed"),
    ({"trustPolicy": "bad"}, "policy-malformed"),
    ({"trustPolicy": "large"}, "policy-malformed"),
    ({"trustPolicy": ["policy", "missing"], "streamKey": "bad"}, "configuration-unreadable"),
    ({"streamKey": "bad"}, "stream-key-malformed"),
    ({"streamKey": "large"}, "stream-key-malformed"),
    ({"sigstore": {"rekorUrl": "https://rekor.example"}}, "rekor-unknown"),
    ({"sigstore": {"rekorUrl": REKOR}, "trustedRoot": "root.json"}, "rekor-unknown"),
    ({"sigstore": {"rekorUrl": "http://rekor.sigstore.dev"}}, "rekor-unknown"),
    ({"sigstore": {"rekorUrl": REKOR + ":80"}}, "rekor-unknown"),
]
CASES: list[tuple[object, str]] = [
    *((text, "configuration-malformed") for text in MALFORMED),
    *((text, "configuration-unknown") for text in UNKNOWN),
    *((text, "configuration-invalid") for text in INVALID),
    *((text, "identity-missing") for text in MISSING),
    *((text, "requirement-malformed") for text in REQUIREMENTS),
    *FILES,
]


@pytest.mark.parametrize(("text", "code"), CASES, ids=range(len(CASES)))
def test_errors(text: object, code: str, tmp_path: Path) -> None:
    file = write(tmp_path, text)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigurationError) as caught:
        Configuration.load(file)
    assert (caught.value.code, caught.value.step) == (code, 0), caught.value.message
    assert "secret" not in caught.value.message
    assert caught.value.message.isprintable()


def test_unreadable(tmp_path: Path) -> None:
    for file in (tmp_path, tmp_path / "missing", "a\0b"):
        with pytest.raises(ConfigurationError) as caught:
            Configuration.load(file)
        assert caught.value.code == "configuration-unreadable"


def test_codes_are_those_of_the_specification() -> None:
    section = SPEC.read_text(encoding="utf-8").partition("### Loading")[2].partition("## 2")[0]
    cells = re.findall(r"^\| [\d. ]*\| ((?:`[a-z-]+`(?:, )?)+) \|", section, re.MULTILINE)
    codes = [code for cell in cells for code in re.findall("`([^`]+)`", cell)]
    assert list(dict.fromkeys(codes)) == list(CONFIGURATION_CODES)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://Rekor.Example:0443/", "https://rekor.example"),
        ("http://rekor.example:80", "http://rekor.example"),
        ("https://rekor.example:080/A/b//", "https://rekor.example:80/A/b"),
        ("https://[2001:DB8::1]:99999", "https://[2001:db8::1]:99999"),
        ("HTTPS://rekor.example", None),
        ("https://rekor.example/?", None),
        ("", None),
    ],
)
def test_normal_form(url: str, normal: str | None) -> None:
    assert normal_form(url) == normal


def blob(name: str) -> bytes:
    """Return a blob of the vectors."""
    return base64.b64decode(VECTORS["blobs"][name] or "", validate=True)


def load_vector(case: dict[str, Any]) -> Configuration:
    """Load a configuration of the vectors."""
    files = case.get("files", {})

    def read(path: str, limit: int) -> bytes:
        if path not in files:
            raise FileNotFoundError(path)
        return blob(files[path])[:limit]

    return Configuration.parse(base64.b64decode(case["configurationBase64"] or ""), read=read)


@pytest.mark.parametrize("case", VECTORS["configurations"], ids=lambda case: case["name"])
def test_vector(case: dict[str, Any]) -> None:
    try:
        load_vector(case)
        code = None
    except ConfigurationError as error:
        code = error.code
    assert code == case.get("code")

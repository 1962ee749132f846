"""Public keys: the vectors, by each of the functions that read keys."""

import base64
from typing import Any

import pytest

from muniment import Configuration, ConfigurationError, sigstore
from muniment.configuration import public_good
from muniment.export import PublicKey
from vectors import load

CASES: list[dict[str, Any]] = load("keys.json")


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_vector(case: dict[str, Any]) -> None:
    key = base64.b64decode(case["keyBase64"])

    def read(path: str, limit: int) -> bytes:
        assert path == "key"
        return key[:limit]

    def configure() -> Configuration:
        return Configuration.parse(b'{"trustedKeys":["key"]}', read=read)

    if case["verdict"] == "accept":
        assert PublicKey.parse(key).id == case["keyId"]
        sigstore.Trust([public_good()], keys=[key])
        assert [one.key.id for one in configure().trusted_keys] == [case["keyId"]]
        return
    with pytest.raises(sigstore.CallerError) as caught:
        PublicKey.parse(key)
    assert caught.value.code == "key-malformed"
    with pytest.raises(sigstore.CallerError) as caught:
        sigstore.Trust([public_good()], keys=[key])
    assert caught.value.code == "key-malformed"
    with pytest.raises(ConfigurationError) as refused:
        configure()
    assert refused.value.code == "key-malformed"

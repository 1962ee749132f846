"""The client against servers that fail or lie, and its credentials."""

import base64
import gzip
import io
import json
import logging
import pickle
import re
import ssl
import subprocess
import threading
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

import muniment
from facade import KINDS, connect
from ledger import Ledger, create, serve
from muniment.client import (
    ApiError,
    Client,
    ConnectionFailedError,
    CredentialsError,
    DeadlineExceededError,
    GitHubActions,
    GitLab,
    IdentityToken,
    InternalError,
    InvalidArgumentError,
    PermissionDeniedError,
    ResourceExhaustedError,
    ResponseTooLargeError,
    Retries,
    Token,
    TokenFile,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    Violation,
    details,
    errors,
)
from proxy import Answer, answering, error

SECRET = "mnt_acme_" + "S3cret" * 7
JSON = {"Content-Type": "application/json"}
CALLER = b'{"tenant":"acme","identity":"token:acme","role":"ROLE_READER"}'


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Return a kind of client."""
    return str(request.param)


def failing(*answers: Answer) -> Any:  # noqa: ANN401 - a context manager
    """Run a server that gives these answers in turn, and then CALLER."""
    left = list(answers)

    def answer(*_: object) -> Answer:
        return left.pop(0) if left else (200, JSON, CALLER)

    return answering(answer)


RETRY_INFO = [{"type": "google.rpc.RetryInfo", "value": "CgIQAQ"}]  # one nanosecond


@pytest.mark.parametrize(
    "answer",
    [
        (429, JSON, error("resource_exhausted", "busy", details=RETRY_INFO)),
        (503, {**JSON, "Retry-After": "0"}, error("unavailable", "stopping")),
        (503, {"Content-Type": "text/html"}, b"<h1>no upstream</h1>"),
        (502, {}, b""),
    ],
)
def test_failures_that_pass(kind: str, answer: Answer) -> None:
    with (
        failing(answer, answer) as url,
        connect(kind, url, SECRET, retries=Retries(base=0.0)) as client,
    ):
        assert client.whoami().tenant == "acme"


TLS_ANSWER = b"Client sent an HTTP request to an HTTPS server.\n"
HTML = {"Content-Type": "text/html"}
CUT_DETAIL = {"type": "buf.validate.Violations", "value": "Cg"}
FAILURES = [
    (429, {**JSON, "Retry-After": "3600"}, error("resource_exhausted", "disk"), "disk"),
    (503, {**JSON, "X-Request-Id": "A"}, error("unavailable", "clock"), "clock"),
    (404, HTML, b"nothing", "no ledger at this address"),
    (302, {"Location": "https://elsewhere.example"}, b"", "302"),
    (200, HTML, b"<h1>hello", "'text/html'"),
    (401, {}, b"", "HTTP status 401"),
    (403, {}, b"no", "HTTP status 403"),
    (418, {}, b"", "HTTP status 418"),
    (200, JSON, b"{", "malformed"),
    (200, JSON, b'{"tenant":5}', "Caller tenant"),
    (200, JSON, b"[" * 1900, "malformed"),
    (400, JSON, b"[" * 60000, "HTTP status 400"),
    (200, JSON, b" " * 3000, "exceeds 2000 bytes"),
    (200, {**JSON, "Content-Encoding": "gzip"}, gzip.compress(CALLER, mtime=0), "compressed"),
    (400, JSON, error("invalid_argument", "x" * 50000), "x" * 4096),
    (400, JSON, error("invalid_argument", "x" * 70000), "HTTP status 400"),
    (400, JSON, error("invalid_argument", "\x1b[31m\u202e"), r"\x1b[31m\u202e"),
    (400, JSON, error("invalid_argument", "a", details=[CUT_DETAIL, 5]), "a"),
    (400, {}, TLS_ANSWER, "Use https://"),
]
CLASSES = {
    "disk": ResourceExhaustedError,
    "clock": UnavailableError,
    "no ledger at this address": UnimplementedError,
    "302": UnimplementedError,
    "'text/html'": UnimplementedError,
    "HTTP status 401": UnauthenticatedError,
    "HTTP status 403": PermissionDeniedError,
    "HTTP status 400": InternalError,
    "malformed": InternalError,
    "exceeds 2000 bytes": ResponseTooLargeError,
    "a": InvalidArgumentError,
    "Use https://": UnavailableError,
}


@pytest.mark.parametrize(("status", "headers", "body", "text"), FAILURES)
def test_failures(
    kind: str, status: int, headers: Mapping[str, str], body: bytes, text: str
) -> None:
    answer = (status, headers, body)
    expected = CLASSES.get(text, ApiError)
    retries = Retries(attempts=2, base=0.0)
    with (
        failing(answer, answer) as url,
        connect(kind, url, SECRET, max_message=2000, retries=retries) as client,
    ):
        with pytest.raises(expected) as caught:
            client.whoami()
        assert text in str(caught.value)
        assert all(line.isprintable() for line in str(caught.value).splitlines())
        assert len(str(caught.value)) < 5000


def test_messages_of_streams_are_bounded(kind: str) -> None:
    stream = {"Content-Type": "application/connect+json"}
    for body, expected in (
        (b"\x00\xff\xff\xff\xff", ResponseTooLargeError),
        (b"\x02\xff\xff\xff\xff", ResponseTooLargeError),
        (b"\x01\x00\x00\x00\x01x", InternalError),
        (b"\x00\x00\x00\x00\x02[]", InternalError),
        (b"\x02\x00\x00\x00\x02[]", InternalError),
        (b"\x00\x00\x00\x00\x02", ConnectionFailedError),
        (b"", ConnectionFailedError),
    ):
        with (
            failing((200, stream, body)) as url,
            connect(kind, url, SECRET, retries=Retries(attempts=1)) as client,
            pytest.raises(expected),
        ):
            list(client.get_payload(0))


def test_slow_servers(kind: str) -> None:
    release = threading.Event()

    def answer(*_: object) -> Answer:
        release.wait()
        return 200, JSON, CALLER

    with answering(answer) as url, connect(kind, url, SECRET, timeout=0.05) as client:
        with pytest.raises(DeadlineExceededError):
            client.whoami()
        release.set()


def test_no_server(kind: str) -> None:
    with (
        connect(kind, "http://127.0.0.1:9", SECRET, retries=Retries(attempts=1)) as client,
        pytest.raises(ConnectionFailedError, match="Is the server running"),
    ):
        client.whoami()


@pytest.mark.parametrize(
    "server",
    [
        "ledger.example",
        "ftp://ledger.example",
        "https://user:password@ledger.example",
        "https://ledger.example/api",
        "https://ledger.example?x=1",
        "https://ledger.example#x",
        f"https://{SECRET}",
        "https://ledger.example:0",
        "https://ledger.example:x",
        "",
    ],
)
def test_servers(server: str) -> None:
    with pytest.raises(ValueError, match=r"^server: ") as caught:
        Client(server, SECRET)
    assert SECRET not in str(caught.value)
    assert "password" not in str(caught.value).replace("password:", "").replace("or password", "")


def test_violations() -> None:
    raw = details.decode(
        "Cp8BEg5zdHJpbmcucGF0dGVybhpObXVzdCBiZSAxIHRvIDYzIGxvd2VyY2FzZSBsZXR0ZXJzLCBkaWdpdHMgYW5kI"
        "Gh5cGhlbnMsIGFuZCBiZWdpbiB3aXRoIGEgbGV0dGVyKh4KEAgCEgpzdWJtaXNzaW9uGAsKCggBEgRraW5kGAkyHQ"
        "oMCA4SBnN0cmluZxgLCg0IBhIHcGF0dGVybhgJ"
    )
    (found,) = details.violations(raw)
    assert (found.field, found.rule) == ("submission.kind", "string.pattern")
    for cut in range(1, len(raw)):
        try:
            list(details.violations(raw[:cut]))
        except details.MalformedError:
            continue


def test_errors_can_be_pickled() -> None:
    for kind in errors.BY_CODE.values():
        one = kind("text", violations=[Violation("a", "b")], retry_after=1.5, request_id="X")
        again = pickle.loads(pickle.dumps(one))
        assert (type(again), str(again), again.violations) == (kind, str(one), one.violations)
        assert (again.retry_after, again.request_id) == (1.5, "X")


# Identity tokens


class Issuer:
    """An OIDC issuer whose keys the server has in a file."""

    url = "http://127.0.0.1:1"

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(65537, 2048)
        self._count = 0

    def jwks(self) -> str:
        """Return the public keys."""
        numbers = self._key.public_key().public_numbers()
        n, e = (
            _url64(v.to_bytes((v.bit_length() + 7) // 8, "big")) for v in (numbers.n, numbers.e)
        )
        key = {"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", "n": n, "e": e}
        return json.dumps({"keys": [key]})

    def token(self, audience: str = "ledger.example.com") -> str:
        """Return a new identity token."""
        self._count += 1
        now = datetime.now(UTC)
        claims = {
            "iss": self.url,
            "sub": "job",
            "aud": audience,
            "jti": str(self._count),
            "iat": int(now.timestamp()),
            "exp": int((now + timedelta(minutes=5)).timestamp()),
        }
        head = {"alg": "RS256", "kid": "1"}
        text = ".".join(_url64(json.dumps(part).encode()) for part in (head, claims))
        signature = self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{_url64(signature)}"


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


ISSUER = Issuer()


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """Return a server that accepts the issuer's tokens, and client certificates, by TLS."""
    data = create(tmp_path_factory.mktemp("keyless"))
    make_certificates(data)
    (data / "jwks.json").write_text(ISSUER.jwks())
    file = data / "muniment.yaml"
    text = file.read_text()
    assert "\ntenants:\n  - name: acme\n" in text
    text = text.replace(
        "\ntenants:\n  - name: acme\n",
        f"""
identity:
  issuers:
    - issuer: {Issuer.url}
      jwks_file: jwks.json
tls:
  cert: server.pem
  key: server.key
  client_ca: ca.pem
tenants:
  - name: acme
    identities:
      - name: job
        issuer: {Issuer.url}
        claims: {{sub: job}}
        role: appender
    certificates:
      - common_name: ci
        role: reader
""",
    )
    file.write_text(text)
    with serve(data) as running:
        yield running


def make_certificates(folder: Path) -> None:
    """Make an authority, the server's certificate and a client's."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = (
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    )
    openssl(*new, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    for name, extension in (
        ("server", "subjectAltName=IP:127.0.0.1"),
        ("ci", "extendedKeyUsage=clientAuth"),
    ):
        openssl(
            *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem",
            "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", extension,
            "-addext", "basicConstraints=critical,CA:false",
        )  # fmt: skip


def test_github(kind: str, keyless: Ledger) -> None:
    seen: list[tuple[str, str]] = []

    def runner(path: str, headers: Mapping[str, str], _: bytes) -> Answer:
        seen.append((path, headers["authorization"]))
        return 200, JSON, json.dumps({"value": ISSUER.token()}).encode()

    with answering(runner) as url:
        environment = {
            "ACTIONS_ID_TOKEN_REQUEST_URL": url + "/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner-secret",
        }
        credentials = GitHubActions("ledger.example.com", environment=environment)
        ca = keyless.data / "ca.pem"
        with connect(kind, keyless.url, credentials, tenant="acme", ca=ca) as client:
            client.append(b"keyless", kind="attestation", media_type="text/plain")
            assert client.whoami().identity == f"oidc:{Issuer.url}#job"
            assert len(seen) == 1
            with pytest.raises(PermissionDeniedError):
                client.get_entry(0)
            credentials_of(client)._exchanged = None
            client.append_stream(io.BytesIO(b"x"), kind="attestation", media_type="text/plain")
    assert (
        seen == [("/token?api-version=2.0&audience=ledger.example.com", "Bearer runner-secret")] * 2
    )


def credentials_of(client: Client) -> Any:  # noqa: ANN401 - the private calls of both clients
    """Return what holds the exchanged token."""
    return getattr(client, "_client", client)._calls


def test_one_exchange_for_many_threads(keyless: Ledger) -> None:
    environment = {"MUNIMENT_ID_TOKEN": ISSUER.token()}  # the ledger accepts it once
    ca = keyless.data / "ca.pem"
    credentials = GitLab(environment=environment)
    with (
        Client(keyless.url, credentials, tenant="acme", ca=ca) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        assert (
            len({f.result().identity for f in [pool.submit(client.whoami) for _ in range(16)]}) == 1
        )
        credentials_of(client)._exchanged = None
        with pytest.raises(UnauthenticatedError, match="used before"):
            client.whoami()


def test_refused_tokens_are_renewed(kind: str, keyless: Ledger) -> None:
    ca = keyless.data / "ca.pem"
    with connect(kind, keyless.url, IdentityToken(ISSUER.token), tenant="acme", ca=ca) as client:
        client.whoami()
        calls = credentials_of(client)
        held = calls._exchanged
        broken = held.token.get_secret_value()[:-4] + "AAAA"
        calls._exchanged = type(held)(token=broken, expires=held.expires)
        client.whoami()
        calls._exchanged = type(held)(token=broken, expires=held.expires)
        with pytest.raises(PermissionDeniedError):
            list(client.get_payload(0))


def test_client_certificates(kind: str, keyless: Ledger) -> None:
    data = keyless.data
    files = {"client_cert": data / "ci.pem", "client_key": data / "ci.key"}
    with connect(kind, keyless.url, tenant="acme", ca=data / "ca.pem", **files) as client:
        assert client.whoami().identity == "cert:cn:ci"
        with pytest.raises(PermissionDeniedError, match="appender"):
            client.append(b"x", kind="attestation", media_type="text/plain")
    retries = Retries(attempts=1)
    with (
        connect(kind, keyless.url, TokenFile(keyless.token), retries=retries) as client,
        pytest.raises(ConnectionFailedError, match="Pass the authority's certificate as ca"),
    ):
        client.whoami()
    plain = keyless.url.replace("https://", "http://")
    with (
        connect(kind, plain, TokenFile(keyless.token), retries=retries) as client,
        pytest.raises(UnavailableError, match=r"[Uu]se https://"),
    ):
        client.whoami()
    with pytest.raises(ValueError, match="client_cert"):
        Client(keyless.url, tenant="acme", client_key=data / "ci.key")
    with pytest.raises(ssl.SSLError):
        Client(keyless.url, tenant="acme", ca=data / "ca.key")


def test_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUNIMENT_TOKEN_FILE", raising=False)
    with pytest.raises(CredentialsError, match="no token file"):
        TokenFile()
    for text in ("", "secret words", "mnt_acme_x y", SECRET + "\n" + SECRET):
        with pytest.raises(CredentialsError) as caught:
            Token(text)
        assert not text or text not in str(caught.value)
    (tmp_path / "big").write_text(SECRET * 1000)
    for name in ("missing", "big"):
        file = TokenFile(tmp_path / name)
        with (
            Client("http://127.0.0.1:9", file) as client,
            pytest.raises(CredentialsError, match=name),
        ):
            client.whoami()
    with Client("http://127.0.0.1:9") as client, pytest.raises(CredentialsError, match="no tenant"):
        client.get_entry(0)
    for environment, text in (
        ({}, "id-token: write"),
        (
            {
                "ACTIONS_ID_TOKEN_REQUEST_URL": "http://evil.example",
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "s",
            },
            "https",
        ),
    ):
        credentials = GitHubActions(environment=environment)
        with (
            Client("http://127.0.0.1:9", credentials, tenant="acme") as client,
            pytest.raises(CredentialsError, match=text),
        ):
            client.whoami()
    with (
        Client("http://127.0.0.1:9", GitLab(environment={}), tenant="acme") as client,
        pytest.raises(CredentialsError, match="id_tokens entry named MUNIMENT_ID_TOKEN"),
    ):
        client.whoami()


def test_secrets_are_not_printed(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    identity, runner, exchanged = "e30.e30.SIGNED", "runner-s3cret", "mnt_acme_" + "Exchanged" * 5
    seen: list[str] = []

    def echo(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        seen.append(path)
        if path.startswith("/runner"):
            return 200, JSON, json.dumps({"value": identity}).encode()
        if path.endswith("/ExchangeToken") and len(seen) < 3:
            return 400, JSON, error("invalid_argument", "got " + body.decode())
        if path.endswith("/ExchangeToken"):
            expires = (datetime.now(UTC) + timedelta(minutes=9)).isoformat()
            return 200, JSON, json.dumps({"token": exchanged, "expires": expires}).encode()
        return 400, JSON, error("invalid_argument", f"got {headers} and {body!r}")

    caplog.set_level(logging.DEBUG)
    printed = []
    with answering(echo) as url:
        environment = {
            "ACTIONS_ID_TOKEN_REQUEST_URL": url + "/runner",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": runner,
        }
        for credentials in (GitHubActions(environment=environment), Token(SECRET)):
            with connect(kind, url, credentials, tenant="acme", stream_key=b"key" * 11) as client:
                printed += [repr(client), repr(credentials)]
                for call in (client.whoami, client.whoami, lambda: next(client.watch_entries())):
                    with pytest.raises(ApiError) as caught:
                        call()
                    printed.append("".join(traceback.format_exception(caught.value)))
                    printed.append(repr(caught.value))
                printed.append(repr(credentials_of(client)._exchanged))
                printed.append(repr(credentials_of(client).settings))
    assert any("[secret]" in text for text in printed)
    for text in (*printed, caplog.text):
        for secret in (SECRET, identity, runner, exchanged, "keykey"):
            assert secret not in text, text


def test_receipts_for_other_payloads(kind: str, server: Ledger) -> None:
    with connect("sync", server.url, TokenFile(server.token)) as client:
        other = client.append(b"other payload", kind="attestation", media_type="text/plain")
    body = {"appended": {"index": "1", "receipt": base64.b64encode(other.receipt).decode()}}
    answer = (200, JSON, json.dumps(body).encode())
    with failing(answer) as url, connect(kind, url, SECRET) as client:
        with pytest.raises(muniment.NotVerified) as caught:
            client.append(b"my payload", kind="attestation", media_type="text/plain")
        assert caught.value.code == "payload-mismatch"


def test_every_connect_code_has_a_class() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs/api.md").read_text(encoding="utf-8")
    documented = re.findall(
        r"^\| `([a-z_]+)` \| ", text.split("| code | reasons |")[1], re.MULTILINE
    )
    assert set(documented) <= set(errors.BY_CODE)
    assert len(errors.BY_CODE) == 16

"""The client against several servers of one log."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from facade import KINDS, connect
from ledger import pair
from muniment.client import Client, Retries, TokenFile
from proxy import Answer, answering


class Balancer(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Sends the requests to servers in turn, and keeps the sizes that they ask for."""

    def __init__(self, *urls: str) -> None:
        self.asked: list[int] = []
        self._urls = itertools.cycle(map(httpx.URL, urls))
        self._sync, self._async = httpx.HTTPTransport(), httpx.AsyncHTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request of a Client."""
        return self._sync.handle_request(self._turned(request))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request of an AsyncClient."""
        return await self._async.handle_async_request(self._turned(request))

    def _turned(self, request: httpx.Request) -> httpx.Request:
        self.asked.append(int(request.headers.get("muniment-min-size", 0)))
        server = next(self._urls)
        request.url = request.url.copy_with(host=server.host, port=server.port)
        return request

    def http(self, kind: str) -> httpx.Client | httpx.AsyncClient:
        """Return a client of httpx that sends its requests so."""
        return httpx.Client(transport=self) if kind == "sync" else httpx.AsyncClient(transport=self)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, str]]:
    """Return the token file, and the URLs of two servers of one log."""
    with pair(tmp_path_factory.mktemp("pair")) as (one, two):
        yield one.token, one.url, two.url


@pytest.mark.parametrize("kind", KINDS)
def test_reads_what_it_wrote(servers: tuple[Path, str, str], kind: str) -> None:
    token, *urls = servers
    balancer = Balancer(*urls)
    with connect(kind, urls[0], TokenFile(token), http=balancer.http(kind)) as client:
        sizes = [0]
        for n in range(10):  # three calls: each is answered by the one and by the other
            payload = f"{kind} {n}".encode()
            index = client.append(payload, kind="attestation", media_type="text/plain").index
            assert client.get_entry(index, include_payload=True).payload == payload
            sizes.append(client.get_checkpoint().tree_size)
            assert sizes[-1] > max(index, sizes[-2])
    assert balancer.asked == sorted(balancer.asked)
    assert balancer.asked[-1] == sizes[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_asks_for_the_largest_size(kind: str) -> None:
    stated = iter(["7", "x", "12345678901234567890123", "", "5", "9", "1"])
    asked: list[str | None] = []

    def answer(_: str, headers: Mapping[str, str], __: bytes) -> Answer:
        asked.append(headers.get("muniment-min-size"))
        caller = b'{"tenant":"acme","identity":"token:acme","role":"ROLE_READER"}'
        return 200, {"Content-Type": "application/json", "Muniment-Size": next(stated)}, caller

    with answering(answer) as url, connect(kind, url, tenant="acme", retries=Retries()) as client:
        for _ in range(7):
            whoami(client)
    assert asked == [None, "7", "7", "7", "7", "7", "9"]


def whoami(client: Client) -> None:
    """Make a call."""
    assert client.whoami().tenant == "acme"

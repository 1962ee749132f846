"""Both clients behind the synchronous interface, so that each test runs with both."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, cast

from anyio.from_thread import BlockingPortal, start_blocking_portal

from muniment.client import AsyncClient, Client

KINDS = ("sync", "asyncio")


class _Blocking:
    """Calls an AsyncClient in the event loop of another thread."""

    def __init__(self, portal: BlockingPortal, client: AsyncClient) -> None:
        self._portal = portal
        self._client = client

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a method
        method = getattr(self._client, name)

        def call(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401 - as the method
            async def get() -> Any:  # noqa: ANN401 - as the method
                result = method(*arguments, **keywords)
                return result if hasattr(result, "__aiter__") else await result

            result = self._portal.call(get)
            return self._iterate(result) if hasattr(result, "__aiter__") else result

        return call

    def _iterate(self, results: AsyncIterator[Any]) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._portal.call(results.__anext__)
                except StopAsyncIteration:
                    return
        finally:
            self._portal.call(results.aclose)  # type: ignore[attr-defined, call-arg]

    def __repr__(self) -> str:
        return repr(self._client)


@contextmanager
def connect(kind: str, *arguments: Any, **keywords: Any) -> Iterator[Client]:  # noqa: ANN401 - as Client
    """Open a client of a kind, with the arguments of Client."""
    if kind == "sync":
        with Client(*arguments, **keywords) as client:
            yield client
        return
    with start_blocking_portal(kind) as portal:
        asynchronous = AsyncClient(*arguments, **keywords)
        try:
            yield cast(Client, _Blocking(portal, asynchronous))
        finally:
            portal.call(asynchronous.close)

"""Performs the steps of calls with httpx, and turns its failures into ApiErrors."""

import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import httpx

from ..printable import printable
from .calls import StreamCall
from .errors import (
    ApiError,
    ConnectionFailedError,
    DeadlineExceededError,
    ResponseTooLargeError,
)
from .steps import Action, Exclusive, Pause, Reply, Send, Steps, Work
from .wire import MAX_ERROR

T = TypeVar("T")

CONNECT_TIMEOUT = 10.0
"""Longest time to connect, in seconds."""

IDLE_TIMEOUT = 90.0
"""Longest time between two pieces of a stream, in seconds. A watch has progress every 15, and an
append waits for witnesses up to 60."""


def tls_context(
    ca: str | Path | None, certificate: str | Path | None, key: str | Path | None
) -> ssl.SSLContext:
    """Return the context with the authorities and the client certificate, of files in PEM.

    `ca` replaces the authorities of the system.
    """
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        context.load_cert_chain(str(certificate), None if key is None else str(key))
    elif key is not None:
        raise ValueError("client_key: specify client_cert too")
    return context


def failure(error: Exception) -> ApiError:
    """Return the ApiError of a failure of httpx, with its cause and remedy."""
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return DeadlineExceededError("the server did not answer in time")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = printable(cause.verify_message or "not valid")
            remedy = "Pass the authority's certificate as ca, or use a name that is in it."
            return ConnectionFailedError(f"the server's certificate: {reason}", remedy=remedy)
        if isinstance(cause, ssl.SSLError):
            remedy = (
                "If the port does not speak TLS, use http:// in the server's URL. If the server "
                "requires a client certificate, pass client_cert and client_key."
            )
            return ConnectionFailedError("the TLS handshake failed", remedy=remedy)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        remedy = "Is the server running, and is its URL right?"
        return ConnectionFailedError(
            f"cannot connect: {printable(str(error))[:200]}", remedy=remedy
        )
    reason = type(error).__name__
    # A server that speaks TLS answers plain requests, and closes the connection
    # at once. Its answer can be lost.
    remedy = "Repeat the call. If the port speaks TLS, use https:// in the server's URL."
    return ConnectionFailedError(f"the connection failed: {reason}", remedy=remedy)


class _Collector:
    """Collects a response within its limits of size and time."""

    def __init__(self, request: Send, status: int) -> None:
        self.body = bytearray()
        self._limit = request.limit if status == 200 else MAX_ERROR
        self._success = status == 200
        self._end = None if request.timeout is None else time.monotonic() + request.timeout

    def take(self, piece: bytes) -> bool:
        """Take a piece, and report whether there may be more."""
        self.body += piece
        if self._end is not None and time.monotonic() > self._end:
            raise DeadlineExceededError("the server did not answer in time")
        if len(self.body) <= self._limit:
            return True
        if self._success:
            raise ResponseTooLargeError(f"the response exceeds {self._limit} bytes")
        del self.body[self._limit :]
        return False


def _timeout(request: Send) -> httpx.Timeout:
    read = IDLE_TIMEOUT if request.timeout is None else request.timeout
    return httpx.Timeout(read, connect=min(CONNECT_TIMEOUT, read))


def _stream_timeout() -> httpx.Timeout:
    return httpx.Timeout(IDLE_TIMEOUT, connect=CONNECT_TIMEOUT)


def _reply(response: httpx.Response, body: bytes) -> Reply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, body)


class Transport:
    """Performs steps with a synchronous client, in any thread."""

    def __init__(self, http: httpx.Client) -> None:
        import threading  # noqa: PLC0415 - only this class has threads

        self._http = http
        self._lock = threading.Lock()

    def run(self, steps: Steps[T]) -> T:
        """Perform the steps of a call and return its result."""
        result: Any = None
        error: BaseException | None = None
        while True:
            try:
                action = steps.send(result) if error is None else steps.throw(error)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            result = error = None
            try:
                result = self._perform(action)
            except Exception as raised:
                error = raised

    def _perform(self, action: Action) -> Any:  # noqa: ANN401 - what the action returns
        match action:
            case Send():
                return self._send(action)
            case Pause():
                time.sleep(action.seconds)
                return None
            case Work():
                return action.function()
            case Exclusive():
                with self._lock:
                    return self.run(action.steps())

    def _send(self, request: Send) -> Reply:
        body = request.body if isinstance(request.body, bytes) else request.body()
        try:
            with self._http.stream(
                request.method,
                request.url,
                headers=dict(request.headers),
                content=body,
                timeout=_timeout(request),
            ) as response:
                collected = _Collector(request, response.status_code)
                for piece in response.iter_raw():
                    if not collected.take(piece):
                        break
                return _reply(response, bytes(collected.body))
        except httpx.HTTPError as error:
            raise failure(error) from None

    def stream(self, call: StreamCall[T]) -> Iterator[T]:
        """Yield the results of a stream, across failures of the connection."""
        while not call.done:
            try:
                yield from self._attempt(call)
            except ApiError as error:
                self.run(call.failed(error))

    def _attempt(self, call: StreamCall[T]) -> Iterator[T]:
        request = self.run(call.open())
        assert isinstance(request.body, bytes)
        try:
            with self._http.stream(
                request.method,
                request.url,
                headers=dict(request.headers),
                content=request.body,
                timeout=_stream_timeout(),
            ) as response:
                body = b"" if response.status_code == 200 else self._error_body(request, response)
                call.begin(_reply(response, body))
                for piece in response.iter_raw():
                    yield from call.feed(piece)
                call.finish()
        except httpx.HTTPError as error:
            raise failure(error) from None

    def _error_body(self, request: Send, response: httpx.Response) -> bytes:
        collected = _Collector(request, response.status_code)
        for piece in response.iter_raw():
            if not collected.take(piece):
                break
        return bytes(collected.body)


class AsyncTransport:
    """Performs steps with an asynchronous client, on asyncio."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._lock: anyio.Lock | None = None

    async def run(self, steps: Steps[T]) -> T:
        """Perform the steps of a call and return its result."""
        result: Any = None
        error: BaseException | None = None
        while True:
            try:
                action = steps.send(result) if error is None else steps.throw(error)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            result = error = None
            try:
                result = await self._perform(action)
            except Exception as raised:
                error = raised

    async def _perform(self, action: Action) -> Any:  # noqa: ANN401 - what the action returns
        match action:
            case Send():
                return await self._send(action)
            case Pause():
                await anyio.sleep(action.seconds)
                return None
            case Work():
                return await anyio.to_thread.run_sync(action.function)
            case Exclusive():
                if self._lock is None:
                    self._lock = anyio.Lock()
                async with self._lock:
                    return await self.run(action.steps())

    async def _send(self, request: Send) -> Reply:
        body = request.body if isinstance(request.body, bytes) else _pieces(request.body)
        try:
            async with self._http.stream(
                request.method,
                request.url,
                headers=dict(request.headers),
                content=body,
                timeout=_timeout(request),
            ) as response:
                return _reply(response, await self._collect(request, response))
        except httpx.HTTPError as error:
            raise failure(error) from None

    async def stream(self, call: StreamCall[T]) -> AsyncIterator[T]:
        """Yield the results of a stream, across failures of the connection."""
        while not call.done:
            try:
                async for result in self._attempt(call):
                    yield result
            except ApiError as error:
                await self.run(call.failed(error))

    async def _attempt(self, call: StreamCall[T]) -> AsyncIterator[T]:
        request = await self.run(call.open())
        assert isinstance(request.body, bytes)
        try:
            async with self._http.stream(
                request.method,
                request.url,
                headers=dict(request.headers),
                content=request.body,
                timeout=_stream_timeout(),
            ) as response:
                success = response.status_code == 200
                body = b"" if success else await self._collect(request, response)
                call.begin(_reply(response, body))
                async for piece in response.aiter_raw():
                    for result in call.feed(piece):
                        yield result
                call.finish()
        except httpx.HTTPError as error:
            raise failure(error) from None

    async def _collect(self, request: Send, response: httpx.Response) -> bytes:
        collected = _Collector(request, response.status_code)
        async for piece in response.aiter_raw():
            if not collected.take(piece):
                break
        return bytes(collected.body)


async def _pieces(start: Callable[[], Iterator[bytes]]) -> AsyncIterator[bytes]:
    """Yield pieces that are read in a thread, one at a time."""
    pieces = start()
    while piece := await anyio.to_thread.run_sync(next, pieces, b""):
        yield piece

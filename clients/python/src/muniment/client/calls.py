"""The calls of the API, as steps that both clients perform."""

import os
import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, Generic, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, Field

from .. import hashes
from ..errors import FormatError, NotVerified
from ..expectations import ByteSource, pieces
from ..policy import Policy
from ..receipt import parse_header, parse_receipt
from ..verify import verify
from . import wire
from .credentials import Credentials, tenant_of
from .errors import (
    ApiError,
    ConnectionFailedError,
    CredentialsError,
    InternalError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
)
from .models import (
    Appended,
    Caller,
    Checkpoint,
    EntryFilter,
    EntryPage,
    EntryWithPayload,
    ExchangedToken,
    GateResult,
    GateSubject,
    Message,
    StreamHead,
    Submission,
    Watched,
)
from .models import Base64 as _Base64
from .steps import Pause, Reply, Send, Steps, exclusive, file_pieces, send, work

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

CHUNK = 1 << 20
"""Size of the chunks of a streamed payload, in bytes."""

Order = Literal["newest-first", "oldest-first"]
"""The order of listed entries."""

_EARLY = timedelta(seconds=30)
_SIZE = re.compile(r"[0-9]{1,20}", re.ASCII)
_USER_AGENT = "muniment-python/0.1.0"
_LEDGER, _GATE, _IDENTITY = (
    "/muniment.v1.LedgerService/",
    "/muniment.v1.GateService/",
    "/muniment.v1.IdentityService/",
)


@dataclass(frozen=True, slots=True)
class Retries:
    """When and how often a call is repeated.

    A call is repeated if the server asks for it, or if the connection fails, until there were
    `attempts`. Appends are recorded once, so repeating them is safe. The waiting time before
    attempt n is random, at most `base`·2^n seconds and at most `longest`. The server's own delay
    takes precedence. A longer one than `longest` is an error at once: a full disk needs an
    operator.
    """

    attempts: int = 6
    base: float = 0.1
    longest: float = 5.0

    def delay(self, error: ApiError, attempt: int) -> float | None:
        """Return the time to wait after the failure of an attempt, from 1, or None."""
        if attempt >= self.attempts:
            return None
        if isinstance(error, ResourceExhaustedError | UnavailableError):
            if error.retry_after is not None:
                return error.retry_after if error.retry_after <= self.longest else None
            if isinstance(error, ConnectionFailedError) or error.request_id is None:
                return random.uniform(0, min(self.longest, self.base * 2**attempt))
        return None


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client is made with. See Client."""

    server: str
    credentials: Credentials | None = None
    tenant: str | None = None
    policy: Policy | None = None
    stream_key: bytes | None = field(default=None, repr=False)
    witnessed: bool = False
    timeout: float = 90.0
    max_message: int = 128 << 20
    retries: Retries = Retries()
    user_agent: str = _USER_AGENT


def check_server(server: str) -> str:
    """Return a server's URL without a slash at the end. Raises ValueError, without secrets."""
    if "mnt_" in server:
        raise ValueError("server: the URL contains a token: use the server's URL alone")
    if "@" in server:
        raise ValueError("server: the URL contains an @: remove the user name or password")
    try:
        parts = urlsplit(server)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise ValueError("server: must be an http or https URL, such as https://ledger.example")
    if parts.path not in ("", "/") or "?" in server or "#" in server:
        host = f"{parts.scheme}://{parts.netloc}"
        raise ValueError(f"server: must have no path, query or fragment: use {host!r}")
    return f"{parts.scheme}://{parts.netloc}"


class Session:
    """Makes each answer at least as new as those before, whichever server of a log gives it.

    Servers that share a log state the size that they serve, and are asked for no less.
    """

    def __init__(self) -> None:
        self._size = 0
        self._lock = threading.Lock()

    def headers(self) -> dict[str, str]:
        """Return the headers of a request."""
        return {"muniment-min-size": str(self._size)} if self._size else {}

    def learn(self, reply: Reply) -> None:
        """Take the size from the headers of a response, if it has one."""
        text = reply.headers.get("muniment-size", "")
        if _SIZE.fullmatch(text):
            with self._lock:
                self._size = max(self._size, int(text))


class _AppendReply(Message):
    appended: Appended


class _AppendFailure(Message):
    code: str = "unknown"
    message: str = ""
    field_: str = Field(default="", alias="field")


class _BatchItem(Message):
    appended: Appended | None = None
    error: _AppendFailure | None = None


class _BatchReply(Message):
    results: tuple[_BatchItem, ...] = ()


class _ReceiptReply(Message):
    receipt: _Base64


class _Chunk(Message):
    chunk: _Base64 = b""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of one submission of a batch: an entry, or the reason why there is none.

    `appended` is the entry. `error` is an ApiError if the server refused the submission, and
    NotVerified if it recorded it but the receipt was refused.
    """

    appended: Appended | None
    error: ApiError | NotVerified | None

    def unwrap(self) -> Appended:
        """Return the entry, or raise the error."""
        if self.error is not None:
            raise self.error
        assert self.appended is not None
        return self.appended


class Calls:
    """The calls of one client. It holds the token that an identity token was exchanged for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tenant = settings.tenant
        self._exchanged: ExchangedToken | None = None
        self.session = Session()

    # Requests and responses

    def call(
        self, path: str, message: Mapping[str, Any], model: type[M], *, tenant: bool = True
    ) -> Steps[M]:
        """Make a call with one request and one response, and repeat it if that helps."""

        def once() -> Steps[M]:
            headers, secrets, named = yield from self._authorize()
            body = wire.encode({"tenant": named, **message} if tenant else message)
            reply = yield from self._post(path, headers, body)
            wire.check(reply, "application/json", secrets)
            return wire.decode(model, reply.body)

        return (yield from self._repeat(once))

    def _post(
        self,
        path: str,
        headers: Mapping[str, str],
        body: "bytes | Callable[[], Iterator[bytes]]",
        content_type: str = "application/json",
        *,
        bounded: bool = True,
    ) -> Steps[Reply]:
        own = {
            "content-type": content_type,
            "connect-protocol-version": "1",
            "accept-encoding": "identity",
            "user-agent": self.settings.user_agent,
        }
        timeout = self.settings.timeout if bounded else None
        if timeout is not None:
            own["connect-timeout-ms"] = str(max(1, int(timeout * 1000)))
        url = self.settings.server + path
        sent = {**own, **self.session.headers(), **headers}
        reply = yield from send(Send("POST", url, sent, body, self.settings.max_message, timeout))
        self.session.learn(reply)
        return reply

    def _repeat(self, once: "Callable[[], Steps[T]]") -> Steps[T]:
        attempt, refreshed = 0, False
        while True:
            attempt += 1
            try:
                return (yield from once())
            except UnauthenticatedError:
                if refreshed or self._exchanged is None:
                    raise
                self._exchanged, refreshed = None, True
            except ApiError as error:
                delay = self.settings.retries.delay(error, attempt)
                if delay is None:
                    raise
                yield Pause(delay)

    # Credentials

    def _authorize(self) -> Steps[tuple[dict[str, str], tuple[str, ...], str]]:
        """Return the headers with the credentials, the secrets among them, and the tenant."""
        source = self.settings.credentials
        if source is None:
            return {}, (), self._tenant(None)
        if source.exchanged:
            token = yield from exclusive(self._exchange)
        else:
            token = yield from source.fetch(self.settings.server)
        return {"authorization": f"Bearer {token}"}, (token,), self._tenant(token)

    def _tenant(self, token: str | None) -> str:
        named = self.settings.tenant or (None if token is None else tenant_of(token))
        if named is None:
            raise CredentialsError("no tenant specified: pass tenant to the client")
        self.tenant = named
        return named

    def _exchange(self) -> Steps[str]:
        """Return a token of the ledger, which an identity token is exchanged for if need be."""
        held = self._exchanged
        if held is not None and datetime.now(UTC) + _EARLY < held.expires:
            return held.token.get_secret_value()
        source = self.settings.credentials
        assert source is not None
        attempt = 0
        while True:
            attempt += 1
            identity = yield from source.fetch(self.settings.server)
            body = wire.encode({"tenant": self._tenant(None), "identityToken": identity})
            try:
                reply = yield from self._post(_IDENTITY + "ExchangeToken", {}, body)
                wire.check(reply, "application/json", (identity,))
            except ConnectionFailedError:
                raise  # the server may have seen the identity token, which it accepts once
            except ApiError as error:
                delay = self.settings.retries.delay(error, attempt)
                if delay is None:
                    raise
                yield Pause(delay)
                continue
            self._exchanged = wire.decode(ExchangedToken, reply.body)
            return self._exchanged.token.get_secret_value()

    # Appending

    def _wait(self) -> str:
        policy = self.settings.policy
        witnessed = self.settings.witnessed or (policy is not None and policy.asks_for_witness)
        return "APPEND_WAIT_WITNESSED" if witnessed else "APPEND_WAIT_PUBLISHED"

    def append(self, submission: Submission) -> Steps[Appended]:
        """Record one submission and check its receipt."""
        message = {"submission": submission.to_request(), "wait": self._wait()}
        reply = yield from self.call(_LEDGER + "Append", message, _AppendReply)
        yield from work(lambda: self._check(reply.appended, submission.kind, submission.payload))
        return reply.appended

    def append_batch(self, submissions: Sequence[Submission]) -> Steps[list[BatchResult]]:
        """Record submissions and check their receipts."""
        requests = [submission.to_request() for submission in submissions]
        message = {"submissions": requests, "wait": self._wait()}
        reply = yield from self.call(_LEDGER + "AppendBatch", message, _BatchReply)
        if len(reply.results) != len(submissions):
            found = len(reply.results)
            raise InternalError(f"{found} results for {len(submissions)} submissions")

        def judge() -> list[BatchResult]:
            pairs = zip(submissions, reply.results, strict=True)
            return [self._judge(submission, item) for submission, item in pairs]

        return (yield from work(judge))

    def _judge(self, submission: Submission, item: _BatchItem) -> BatchResult:
        if item.error is not None:
            return BatchResult(None, wire.error_of(item.error.code, item.error.message, ()))
        if item.appended is None:
            return BatchResult(None, InternalError("the server returned no result"))
        try:
            self._check(item.appended, submission.kind, submission.payload)
        except NotVerified as error:
            return BatchResult(item.appended, error)
        return BatchResult(item.appended, None)

    def append_stream(
        self,
        file: BinaryIO,
        kind: str,
        media_type: str | None,
        idempotency_key: str | None,
        progress: Callable[[int], None] | None,
    ) -> Steps[Appended]:
        """Record a payload that is sent in chunks, from the start again after a failure."""
        size = yield from work(lambda: file.seek(0, os.SEEK_END))
        optional = {"mediaType": media_type, "idempotencyKey": idempotency_key}
        header: dict[str, Any] = {"kind": kind, "size": str(size), "wait": self._wait()}
        header |= {name: value for name, value in optional.items() if value is not None}

        def once() -> Steps[Appended]:
            headers, secrets, tenant = yield from self._authorize()

            def body() -> Iterator[bytes]:
                yield wire.envelope({"header": {"tenant": tenant, **header}})
                sent = 0
                for piece in file_pieces(file, CHUNK):
                    yield wire.envelope(_Chunk(chunk=piece).to_request())
                    sent += len(piece)
                    if progress is not None:
                        progress(sent)

            reply = yield from self._post(
                _LEDGER + "AppendStream", headers, body, "application/connect+json", bounded=False
            )
            wire.check(reply, "application/connect+json", secrets)
            reader = wire.Reader(self.settings.max_message, reply.headers, secrets)
            messages = list(reader.feed(reply.body))
            if len(messages) != 1 or not reader.ended:
                raise ConnectionFailedError("the response ended too soon")
            return wire.decode(_AppendReply, messages[0]).appended

        appended = yield from self._repeat(once)
        yield from work(lambda: self._check(appended, kind, file_pieces(file, CHUNK)))
        return appended

    def _check(self, appended: Appended, kind: str, payload: ByteSource) -> None:
        """Check a receipt on arrival. Raises NotVerified.

        An entry with a wrong tag cannot be distinguished later from one that was never made.
        """
        policy, stream_key = self.settings.policy, self.settings.stream_key
        if policy is None:
            return _check_commitment(appended.receipt, payload)
        verify(
            appended.receipt,
            [policy],
            payload=payload,
            tenant=self.tenant,
            kind=kind,
            stream_key=stream_key,
        )
        return None

    # Reading

    def get_entry(self, index: int, *, include_payload: bool) -> Steps[EntryWithPayload]:
        """Return an entry, and its payload if requested."""
        message = {"index": str(index), "includePayload": include_payload}
        return (yield from self.call(_LEDGER + "GetEntry", message, EntryWithPayload))

    def list_entries(
        self, chosen: EntryFilter | None, order: Order, page_size: int, page_token: str
    ) -> Steps[EntryPage]:
        """Return a page of entries."""
        message: dict[str, Any] = {"pageSize": page_size, "pageToken": page_token}
        if chosen is not None:
            message["filter"] = chosen.to_request()
        message["order"] = {
            "newest-first": "ORDER_NEWEST_FIRST",
            "oldest-first": "ORDER_OLDEST_FIRST",
        }[order]
        return (yield from self.call(_LEDGER + "ListEntries", message, EntryPage))

    def get_receipt(
        self, index: int, *, tree_size: int, shared: bool, include_payload: bool, witnessed: bool
    ) -> Steps[bytes]:
        """Return a receipt."""
        message = {
            "index": str(index),
            "treeSize": str(tree_size),
            "form": "RECEIPT_FORM_SHARED" if shared else "RECEIPT_FORM_UNSPECIFIED",
            "includePayload": include_payload,
            "witnessed": witnessed,
        }
        reply = yield from self.call(_LEDGER + "GetReceipt", message, _ReceiptReply)
        return reply.receipt

    def get_checkpoint(self, *, witnessed: bool) -> Steps[Checkpoint]:
        """Return the latest checkpoint."""
        message = {"witnessed": witnessed}
        path = _LEDGER + "GetCheckpoint"
        return (yield from self.call(path, message, Checkpoint, tenant=False))

    def get_stream_head(self) -> Steps[StreamHead]:
        """Return the end of the tenant's stream."""
        return (yield from self.call(_LEDGER + "GetStreamHead", {}, StreamHead))

    def whoami(self) -> Steps[Caller]:
        """Return the caller's identity and permissions."""
        return (yield from self.call(_IDENTITY + "WhoAmI", {}, Caller, tenant=False))

    def gate(
        self,
        stage: str,
        subjects: Sequence[GateSubject],
        environment: str,
        *,
        time: datetime | None,
        tree_size: int | None,
        dry_run: bool,
    ) -> Steps[GateResult]:
        """Decide whether artifacts may pass a stage."""
        if time is not None and tree_size is not None:
            raise ValueError("specify time or tree_size, not both")
        message: dict[str, Any] = {
            "stage": stage,
            "environment": environment,
            "subjects": [subject.to_request() for subject in subjects],
            "dryRun": dry_run,
        }
        if tree_size is not None:
            message["treeSize"] = str(tree_size)
        if time is not None:
            message["time"] = EntryFilter(to=time).to_request()["to"]
        return (yield from self.call(_GATE + "Decide", message, GateResult))


class StreamCall(Generic[T]):
    """A call whose response is a stream of messages, which is resumed after a failure.

    `open` returns the request. The transport feeds the response to `feed`, and calls `finish` at
    its end. After an error, `failed` waits or raises it. Then the transport opens the call again,
    unless it is `done`.
    """

    _path: str

    def __init__(self, calls: Calls) -> None:
        self.done = False
        self._calls = calls
        self._reader: wire.Reader | None = None
        self._secrets: tuple[str, ...] = ()
        self._failures = 0
        self._refreshed = False

    def open(self) -> Steps[Send]:
        """Return the request for the rest of the stream."""
        headers, self._secrets, tenant = yield from self._calls._authorize()
        settings = self._calls.settings
        self._reader = None
        own = {
            "content-type": "application/connect+json",
            "connect-protocol-version": "1",
            "connect-accept-encoding": "identity",
            "accept-encoding": "identity",
            "user-agent": settings.user_agent,
        }
        body = wire.envelope({"tenant": tenant, **self.request()})
        url = settings.server + self._path
        sent = {**own, **self._calls.session.headers(), **headers}
        return Send("POST", url, sent, body, settings.max_message, None)

    def begin(self, reply: Reply) -> None:
        """Take status and headers of the response, and the body if the status is not 200."""
        self._calls.session.learn(reply)
        wire.check(reply, "application/connect+json", self._secrets)
        limit = self._calls.settings.max_message
        self._reader = wire.Reader(limit, reply.headers, self._secrets)

    def feed(self, data: bytes) -> Iterator[T]:
        """Yield the results that these bytes of the response complete."""
        assert self._reader is not None
        for message in self._reader.feed(data):
            self._failures, self._refreshed = 0, False
            yield from self.received(message)
        self.done = self._reader.ended and self.ends

    def finish(self) -> None:
        """Raise an error if the response ended before the stream did."""
        assert self._reader is not None
        if not self.done:
            raise ConnectionFailedError("the stream ended too soon")

    def failed(self, error: ApiError) -> Steps[None]:
        """Wait before the next attempt, or raise the error."""
        if isinstance(error, UnauthenticatedError) and self._calls._exchanged is not None:
            if self._refreshed:
                raise error
            self._calls._exchanged, self._refreshed = None, True
            return
        self._failures += 1
        delay = self._calls.settings.retries.delay(error, self._failures)
        if delay is None:
            raise error
        yield Pause(delay)

    ends = True
    """Whether the call is done when the server ends the stream."""

    def request(self) -> Mapping[str, Any]:
        """Return the request for the rest of the stream, without the tenant."""
        raise NotImplementedError

    def received(self, message: bytearray) -> Iterator[T]:
        """Yield the results of a message."""
        raise NotImplementedError


class WatchCall(StreamCall[Watched]):
    """WatchEntries, resumed from the last index received."""

    _path = _LEDGER + "WatchEntries"
    ends = False

    def __init__(
        self, calls: Calls, from_index: int, chosen: EntryFilter | None, *, progress: bool
    ) -> None:
        super().__init__(calls)
        self._next = from_index
        self._filter = chosen
        self._progress = progress

    def request(self) -> Mapping[str, Any]:
        """Return the request from the next index on."""
        message: dict[str, Any] = {"fromIndex": str(self._next)}
        if self._filter is not None:
            message["filter"] = self._filter.to_request()
        return message

    def received(self, message: bytearray) -> Iterator[Watched]:
        """Yield an entry, and progress if that was requested."""
        watched = wire.decode(Watched, message)
        self._next = max(self._next, watched.next_index)
        if watched.entry is not None or self._progress:
            yield watched


class PayloadCall(StreamCall[bytes]):
    """GetPayload. After a failure, the bytes that were received before are skipped."""

    _path = _LEDGER + "GetPayload"

    def __init__(self, calls: Calls, index: int) -> None:
        super().__init__(calls)
        self._index = index
        self._received = 0
        self._skip = 0

    def request(self) -> Mapping[str, Any]:
        """Return the request, which is always for the whole payload."""
        self._skip = self._received
        return {"index": str(self._index)}

    def received(self, message: bytearray) -> Iterator[bytes]:
        """Yield the chunk's new bytes."""
        chunk = wire.decode(_Chunk, message).chunk
        skipped = min(self._skip, len(chunk))
        self._skip -= skipped
        self._received += len(chunk) - skipped
        if len(chunk) > skipped:
            yield chunk[skipped:]


def _check_commitment(data: bytes, payload: ByteSource) -> None:
    """Check that a receipt commits to the payload that was sent. Raises NotVerified."""
    try:
        receipt = parse_receipt(data)
        if receipt.header is None or receipt.payload is None:
            return  # erased in the meantime
        header = parse_header(receipt.header.content)
    except FormatError as error:
        raise NotVerified(error.code, error.message) from None
    commitment = hashes.start_commitment(receipt.payload.salt)
    for piece in pieces(payload):
        commitment.update(piece)
    if commitment.digest() != header.commitment:
        reason = "the receipt is for a different payload from the one sent"
        raise NotVerified("payload-mismatch", reason)

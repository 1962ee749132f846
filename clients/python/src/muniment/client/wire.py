"""Connect's protocol with JSON: requests, responses, envelopes, errors.

See https://connectrpc.com/docs/protocol. Compression is refused, so that the size of what arrives
bounds the memory it takes.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from ..printable import printable
from . import details
from .errors import (
    BY_CODE,
    ApiError,
    InternalError,
    ResponseTooLargeError,
    UnavailableError,
    UnimplementedError,
    UnknownError,
    Violation,
)
from .steps import Reply

M = TypeVar("M", bound=BaseModel)

MAX_ERROR = 64 << 10
"""Size limit of the body of an error, in bytes."""

_MAX_MESSAGE_TEXT = 4096
_MAX_VIOLATIONS = 1000
_END, _COMPRESSED = 2, 1
_BY_STATUS = {
    400: "internal",
    401: "unauthenticated",
    403: "permission_denied",
    404: "unimplemented",
    429: "unavailable",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}
_TLS_ANSWERS = (
    b"Client sent an HTTP request to an HTTPS server",
    b"The plain HTTP request was sent to HTTPS port",
    b"speaking plain HTTP to an SSL-enabled server port",
)
_MULTIPLE = re.compile(r"^validation errors?:\s*")


def encode(message: Mapping[str, Any]) -> bytes:
    """Return the JSON of a message."""
    return json.dumps(message, separators=(",", ":")).encode()


def envelope(message: Mapping[str, Any]) -> bytes:
    """Return a message of a stream: flags, size, JSON."""
    data = encode(message)
    return b"\x00" + len(data).to_bytes(4, "big") + data


def decode(model: type[M], data: bytes | bytearray) -> M:
    """Return a message of the server. Raises InternalError if it is malformed."""
    try:
        return model.model_validate_json(bytes(data))
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        reason = f"the server's response is malformed: {model.__name__} {where}".rstrip()
        raise InternalError(printable(reason)) from None


class Reader:
    """Splits a response stream into its messages.

    No message may exceed `limit` bytes. `ended` is true after the message that ends the stream.
    """

    def __init__(self, limit: int, headers: Mapping[str, str], secrets: Iterable[str]) -> None:
        self.ended = False
        self._limit = limit
        self._headers = headers
        self._secrets = tuple(secrets)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytearray]:
        """Yield the messages that are complete with these bytes. Raises the server's ApiError."""
        self._buffer += data
        while len(self._buffer) >= 5 and not self.ended:
            flags, size = self._buffer[0], int.from_bytes(self._buffer[1:5], "big")
            limit = MAX_ERROR if flags & _END else self._limit
            if size > limit:
                raise ResponseTooLargeError(f"the server's message exceeds {limit} bytes")
            if flags & _COMPRESSED:
                raise InternalError("the server sent a compressed message, which was not asked for")
            if len(self._buffer) < 5 + size:
                return
            message = self._buffer[5 : 5 + size]
            del self._buffer[: 5 + size]
            if flags & _END:
                self.ended = True
                self._finish(message)
                return
            yield message

    def _finish(self, message: bytearray) -> None:
        try:
            end = json.loads(message)
            error = end.get("error")
            metadata = end.get("metadata", {})
            headers = {str(k).lower(): str(v[0]) for k, v in metadata.items() if v}
        except (ValueError, AttributeError, TypeError, LookupError, RecursionError):
            raise InternalError("the server's response is malformed: end of stream") from None
        if error is not None:
            raise _error(error, {**self._headers, **headers}, self._secrets)


def check(reply: Reply, content_type: str, secrets: Iterable[str]) -> None:
    """Raise the ApiError of a response that is no success."""
    headers = reply.headers
    if headers.get("content-encoding", "identity") != "identity":
        raise InternalError("the server sent a compressed response, which was not asked for")
    found = headers.get("content-type", "").partition(";")[0].strip()
    if reply.status == 200:
        if found != content_type:
            _refuse_other(f"the response has the type {printable(found[:100])!r}")
        return
    if found == "application/json":
        try:
            error = json.loads(reply.body)
        except (ValueError, RecursionError):
            error = None
        if isinstance(error, dict) and error.get("code") in BY_CODE:
            raise _error(error, headers, tuple(secrets))
    if reply.status == 400 and any(text in reply.body for text in _TLS_ANSWERS):
        raise UnavailableError("the port speaks TLS", remedy="Use https:// in the server's URL.")
    if 300 <= reply.status < 400 or reply.status == 404:
        _refuse_other(f"HTTP status {reply.status}")
    kind = BY_CODE[_BY_STATUS.get(reply.status, "unknown")]
    raise kind(
        f"HTTP status {reply.status}, without an error of the ledger",
        retry_after=_seconds(headers.get("retry-after")),
        request_id=_request_id(headers),
    )


def _refuse_other(reason: str) -> NoReturn:
    remedy = "There is no ledger at this address: check the server's URL."
    raise UnimplementedError(reason, remedy=remedy)


def _error(error: Any, headers: Mapping[str, str], secrets: tuple[str, ...]) -> ApiError:  # noqa: ANN401 - JSON
    """Return the ApiError of Connect's JSON error."""
    if not isinstance(error, dict):
        error = {}
    message = error.get("message", "")
    text = _clean(message if isinstance(message, str) else "", secrets)
    found, delay = _read_details(error.get("details"))
    violations = tuple(
        Violation(_clean(v.field, secrets), _clean(v.message, secrets), _clean(v.rule, secrets))
        for v in found
    )
    kind = BY_CODE.get(str(error.get("code")), UnknownError)
    return kind(
        _MULTIPLE.sub("", text) or "no message",
        violations=violations,
        retry_after=_seconds(headers.get("retry-after")) if delay is None else delay,
        request_id=_request_id(headers),
    )


def error_of(code: str, message: str, secrets: Iterable[str]) -> ApiError:
    """Return the error of one submission of a batch."""
    return BY_CODE.get(code, UnknownError)(_clean(message, tuple(secrets)) or "no message")


def _read_details(raw: object) -> tuple[list[Violation], float | None]:
    found: list[Violation] = []
    delay: float | None = None
    for detail in raw if isinstance(raw, list) else []:
        if not isinstance(detail, dict):
            continue
        try:
            value = details.decode(detail.get("value"))
            if detail.get("type") == "buf.validate.Violations":
                found += list(details.violations(value))[:_MAX_VIOLATIONS]
            elif detail.get("type") == "google.rpc.RetryInfo":
                delay = details.retry_delay(value)
        except details.MalformedError:
            continue
    return found, delay


def _clean(text: str, secrets: tuple[str, ...]) -> str:
    """Return a server's text without secrets, escaped for terminals, and of bounded length."""
    for secret in secrets:
        text = text.replace(secret, "[secret]")
    lines = (printable(line) for line in text[:_MAX_MESSAGE_TEXT].splitlines())
    return "\n".join(lines)


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and re.fullmatch(r"[0-9]{1,9}", text) else None


def _request_id(headers: Mapping[str, str]) -> str | None:
    text = headers.get("x-request-id")
    return None if text is None else printable(text[:100])

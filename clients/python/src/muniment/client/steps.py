"""The steps of a call, which a transport performs: this package's logic without its input/output.

A call is a generator. It yields the action that it needs next, is sent the result, and returns the
result of the call. The synchronous and the asynchronous client perform the same calls.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request and read the whole response, at most `limit` bytes of it.

    `body` is the request's body, or a function that returns its pieces from the start. The response
    must be complete after `timeout` seconds; None is no limit but that between two pieces.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: "bytes | Callable[[], Iterator[bytes]]" = field(repr=False)
    limit: int
    timeout: float | None


@dataclass(frozen=True, slots=True)
class Reply:
    """A response. The names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Call a function that computes, or reads files, for longer than an event loop may wait."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Exclusive:
    """Perform other steps while no other call of the client performs such steps."""

    steps: "Callable[[], Steps[Any]]"


Action = Send | Pause | Work | Exclusive
Steps = Generator[Action, Any, T]
"""The steps of a call that returns a T."""


def send(request: Send) -> Steps[Reply]:
    """Send a request. Raises ApiError if there is no response."""
    return cast(Reply, (yield request))


def work(function: Callable[[], T]) -> Steps[T]:
    """Call a function that takes long."""
    return cast(T, (yield Work(function)))


def exclusive(steps: "Callable[[], Steps[T]]") -> Steps[T]:
    """Perform steps that calls must not perform at the same time."""
    return cast(T, (yield Exclusive(steps)))


def file_pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the content of a file from its start, in pieces of `size` bytes."""
    file.seek(0)
    while piece := file.read(size):
        yield piece

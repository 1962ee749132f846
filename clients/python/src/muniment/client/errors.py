"""The errors of API calls, one class for each code of docs/api.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Violation:
    """A field of a request that breaks a rule.

    `field` is its path, such as `submission.kind`; `message` completes the sentence that the path
    begins. `rule` is the rule's ID, and empty for rules of the server's own.
    """

    field: str
    message: str
    rule: str = ""


class ApiError(Exception):
    """A call failed. Catch a subclass to handle one code, or compare `code`.

    - `code`: the Connect code, such as `not_found`.
    - `message`: the server's message, for people.
    - `remedy`: what to do about it, in a sentence. Empty if the message is all there is.
    - `violations`: the invalid fields, if the server named them.
    - `retry_after`: the time in seconds after which the server asks to repeat the call.
    - `request_id`: the ID under which the server's audit log has the call.

    Secrets that the call carried are removed from all of them.
    """

    code: ClassVar[str] = "unknown"
    _remedy: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        remedy: str | None = None,
        violations: Sequence[Violation] = (),
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = self._remedy if remedy is None else remedy
        self.violations = tuple(violations)
        self.retry_after = retry_after
        self.request_id = request_id

    def __str__(self) -> str:
        """Return the code and the message, and the remedy on a line of its own."""
        text = f"{self.code}: {self.message}"
        return f"{text}\n{self.remedy}" if self.remedy else text

    def __reduce__(self) -> tuple[type["ApiError"], tuple[str], dict[str, object]]:
        """Support pickling."""
        return type(self), (self.message,), dict(self.__dict__)


class CanceledError(ApiError):
    """The server ended the call because the caller did."""

    code = "canceled"


class UnknownError(ApiError):
    """The server's answer has no code that this version knows."""

    code = "unknown"


class InvalidArgumentError(ApiError):
    """A field of the request is invalid: see `violations`."""

    code = "invalid_argument"


class DeadlineExceededError(ApiError):
    """The call took longer than its timeout. An append may have been recorded."""

    code = "deadline_exceeded"
    _remedy = "Repeat the call, with a longer timeout if need be: appends are recorded once."


class NotFoundError(ApiError):
    """The tenant's stream has no such entry, or no control set is in force."""

    code = "not_found"


class AlreadyExistsError(ApiError):
    """The ID was used before."""

    code = "already_exists"


class PermissionDeniedError(ApiError):
    """The credentials do not allow the call, or the admission policy refuses the evidence."""

    code = "permission_denied"
    _remedy = "`whoami` returns the role and kinds of these credentials. docs/access.md has all."


class ResourceExhaustedError(ApiError):
    """A limit is reached, too many calls wait, or the disk is nearly full."""

    code = "resource_exhausted"
    _remedy = "Make fewer calls at once, or batches. docs/access.md has the limits of a tenant."


class FailedPreconditionError(ApiError):
    """The state of the log does not allow the call."""

    code = "failed_precondition"


class AbortedError(ApiError):
    """Another call was faster."""

    code = "aborted"
    _remedy = "Repeat the call."


class OutOfRangeError(ApiError):
    """The index or size is beyond the published log."""

    code = "out_of_range"


class UnimplementedError(ApiError):
    """The server does not have this call."""

    code = "unimplemented"
    _remedy = "Check that the URL is that of a ledger, and as new as this client."


class InternalError(ApiError):
    """The server failed, or its answer is malformed."""

    code = "internal"


class UnavailableError(ApiError):
    """The server cannot answer now."""

    code = "unavailable"


class ConnectionFailedError(UnavailableError):
    """There was no answer: the connection failed, or ended too soon."""


class DataLossError(ApiError):
    """The stored entry is damaged."""

    code = "data_loss"
    _remedy = "The operator finds the damage with `muniment fsck`: docs/operator.md."


class UnauthenticatedError(ApiError):
    """There are no credentials, or the server does not accept them."""

    code = "unauthenticated"
    _remedy = (
        "Pass credentials: TokenFile(path), Token(text), or in a CI job GitHubActions() or "
        "GitLab(). A token may be expired or revoked: docs/access.md."
    )


class ResponseTooLargeError(InternalError):
    """A message from the server exceeds the client's limit."""

    _remedy = "Ask for less, or raise max_message."


class CredentialsError(Exception):
    """The credentials cannot be read or obtained. The message has the remedy, and no secret."""


BY_CODE: Mapping[str, type[ApiError]] = {
    kind.code: kind
    for kind in (
        CanceledError,
        UnknownError,
        InvalidArgumentError,
        DeadlineExceededError,
        NotFoundError,
        AlreadyExistsError,
        PermissionDeniedError,
        ResourceExhaustedError,
        FailedPreconditionError,
        AbortedError,
        OutOfRangeError,
        UnimplementedError,
        InternalError,
        UnavailableError,
        DataLossError,
        UnauthenticatedError,
    )
}
"""Maps each Connect code to the class of its errors."""

"""The client of a ledger's API (docs/api.md): `pip install 'muniment[client]'`.

    from muniment.client import Client, TokenFile

    with Client("https://ledger.example", TokenFile("acme.token")) as ledger:
        appended = ledger.append(evidence, kind="attestation", media_type="text/plain")
        Path("build.receipt.json").write_bytes(appended.receipt)

`Client` and `AsyncClient` have the same methods. Failed calls raise an `ApiError`, with the code,
the message, the remedy and the invalid fields. Secrets appear in no repr, log or exception. `Order`
is the order of listed entries, `newest-first` or `oldest-first`.
"""

try:
    import httpx as _httpx  # noqa: F401 - the extra is installed
except ImportError:
    raise ImportError("muniment.client needs httpx: pip install 'muniment[client]'") from None

from .asynchronous import AsyncClient
from .calls import BatchResult, Order, Retries
from .credentials import (
    Credentials,
    GitHubActions,
    GitLab,
    IdentityToken,
    Token,
    TokenFile,
)
from .errors import (
    AbortedError,
    AlreadyExistsError,
    ApiError,
    CanceledError,
    ConnectionFailedError,
    CredentialsError,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    PermissionDeniedError,
    ResourceExhaustedError,
    ResponseTooLargeError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    UnknownError,
    Violation,
)
from .models import (
    Admission,
    Appended,
    Caller,
    Checkpoint,
    ControlResult,
    Entry,
    EntryFilter,
    EntryPage,
    EntryWithPayload,
    External,
    GateDecision,
    GatePart,
    GateResult,
    GateSubject,
    Signer,
    StreamHead,
    Subject,
    SubjectDecision,
    Submission,
    Watched,
)
from .sync import Client

__all__ = [
    "AbortedError",
    "Admission",
    "AlreadyExistsError",
    "ApiError",
    "Appended",
    "AsyncClient",
    "BatchResult",
    "Caller",
    "CanceledError",
    "Checkpoint",
    "Client",
    "ConnectionFailedError",
    "ControlResult",
    "Credentials",
    "CredentialsError",
    "DataLossError",
    "DeadlineExceededError",
    "Entry",
    "EntryFilter",
    "EntryPage",
    "EntryWithPayload",
    "External",
    "FailedPreconditionError",
    "GateDecision",
    "GatePart",
    "GateResult",
    "GateSubject",
    "GitHubActions",
    "GitLab",
    "IdentityToken",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "Order",
    "OutOfRangeError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "ResponseTooLargeError",
    "Retries",
    "Signer",
    "StreamHead",
    "Subject",
    "SubjectDecision",
    "Submission",
    "Token",
    "TokenFile",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UnknownError",
    "Violation",
    "Watched",
]

"""Where the client's credentials come from. None of them shows a secret in its repr."""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import urlencode, urlsplit, urlunsplit

from .errors import ApiError, CredentialsError
from .steps import Send, Steps, send

ID_TOKEN_VARIABLE = "MUNIMENT_ID_TOKEN"
"""The variable in which a GitLab job has its identity token, by an `id_tokens` entry."""

_TOKEN = re.compile(r"mnt_([a-z0-9-]{1,63})_[A-Za-z0-9_-]{16,}", re.ASCII)
_MAX_TOKEN_FILE = 4096
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@runtime_checkable
class Credentials(Protocol):
    """A source of a token of the ledger, or of an identity token that is exchanged for one."""

    exchanged: bool
    """Whether the token is an OIDC identity token, which the client exchanges."""

    def fetch(self, audience: str) -> Steps[str]:
        """Return the current token. `audience` is for identity tokens."""


class Token:
    """A fixed token of the ledger."""

    exchanged = False
    """Whether the client exchanges the token, which is one of the ledger already."""

    def __init__(self, text: str) -> None:
        self._text = _check_token(text.strip(), "the token")

    def fetch(self, audience: str) -> Steps[str]:  # noqa: ARG002 - of the protocol
        """Return the token."""
        return self._text
        yield  # pragma: no cover - makes this a generator

    def __repr__(self) -> str:
        """Return the tenant of the token, without its secret."""
        return f"Token(<secret of tenant {tenant_of(self._text)}>)"


class TokenFile:
    """A file with a token of the ledger on one line, which is read anew for each call.

    A rotated token is therefore used at once. By default it is the file that the environment
    variable MUNIMENT_TOKEN_FILE names.
    """

    exchanged = False
    """Whether the client exchanges the token, which is one of the ledger already."""

    def __init__(self, path: str | Path | None = None) -> None:
        chosen = path or os.environ.get("MUNIMENT_TOKEN_FILE")
        if not chosen:
            raise CredentialsError("no token file specified: pass a path to TokenFile")
        self._path = Path(chosen)

    def fetch(self, audience: str) -> Steps[str]:  # noqa: ARG002 - of the protocol
        """Return the token in the file. Raises CredentialsError."""
        return self.read()
        yield  # pragma: no cover - makes this a generator

    def read(self) -> str:
        """Return the token in the file. Raises CredentialsError."""
        try:
            with self._path.open("rb") as file:
                content = file.read(_MAX_TOKEN_FILE + 1)
        except OSError as error:
            reason = error.strerror or "read failed"
            raise CredentialsError(f"token file {str(self._path)!r}: {reason}") from None
        text = content.decode("ascii", "replace").strip() if len(content) <= _MAX_TOKEN_FILE else ""
        return _check_token(text, f"token file {str(self._path)!r}")

    def __repr__(self) -> str:
        """Return the path."""
        return f"TokenFile({str(self._path)!r})"


class GitHubActions:
    """The identity token of a GitHub Actions job with the permission `id-token: write`.

    The job requests a new one for each exchange. The audience is by default the server's URL.
    """

    exchanged = True
    """Whether the client exchanges the token, which is an identity token."""

    def __init__(
        self, audience: str | None = None, *, environment: Mapping[str, str] | None = None
    ) -> None:
        self._audience = audience
        self._environment = os.environ if environment is None else environment

    def fetch(self, audience: str) -> Steps[str]:
        """Request a token from the runner. Raises CredentialsError."""
        address = self._environment.get("ACTIONS_ID_TOKEN_REQUEST_URL", "")
        secret = self._environment.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")
        if not address or not secret:
            raise CredentialsError(
                "the job has no identity token: grant it the permission `id-token: write`"
            )
        parts = urlsplit(address)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise CredentialsError("ACTIONS_ID_TOKEN_REQUEST_URL: must be an https URL")
        query = "&".join(
            filter(None, (parts.query, urlencode({"audience": self._audience or audience})))
        )
        url = urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
        headers = {"authorization": f"Bearer {secret}", "accept": "application/json"}
        try:
            reply = yield from send(Send("GET", url, headers, b"", 64 << 10, 30.0))
        except ApiError as error:
            reason = error.message.replace(secret, "[secret]")
            raise CredentialsError(f"request the job's identity token: {reason}") from None
        if reply.status != 200:
            raise CredentialsError(f"request the job's identity token: HTTP status {reply.status}")
        try:
            return _check_identity_token(json.loads(reply.body)["value"], "the runner's response")
        except (ValueError, KeyError, TypeError, RecursionError):
            reason = "the response contains no token"
            raise CredentialsError(f"request the job's identity token: {reason}") from None

    def __repr__(self) -> str:
        """Return the audience."""
        return f"GitHubActions(audience={self._audience!r})"


class GitLab:
    """The identity token of a GitLab job, in an environment variable that `id_tokens` sets.

    The ledger accepts it once. A job that outlives the token it is exchanged for, 15 minutes at
    most, needs one variable for each exchange.
    """

    exchanged = True
    """Whether the client exchanges the token, which is an identity token."""

    def __init__(
        self,
        variable: str = ID_TOKEN_VARIABLE,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._variable = variable
        self._environment = os.environ if environment is None else environment

    def fetch(self, audience: str) -> Steps[str]:  # noqa: ARG002 - of the protocol
        """Return the token in the variable. Raises CredentialsError."""
        text = self._environment.get(self._variable, "").strip()
        if not text:
            raise CredentialsError(
                f"the job has no identity token: add an id_tokens entry named {self._variable}"
            )
        return _check_identity_token(text, self._variable)
        yield  # pragma: no cover - makes this a generator

    def __repr__(self) -> str:
        """Return the name of the variable."""
        return f"GitLab({self._variable!r})"


class IdentityToken:
    """An OIDC identity token of another system. `source` returns a new one for each exchange."""

    exchanged = True
    """Whether the client exchanges the token, which is an identity token."""

    def __init__(self, source: Callable[[], str]) -> None:
        self._source = source

    def fetch(self, audience: str) -> Steps[str]:  # noqa: ARG002 - of the protocol
        """Return a token of the source."""
        return _check_identity_token(self._source().strip(), "the identity token")
        yield  # pragma: no cover - makes this a generator

    def __repr__(self) -> str:
        """Return the type only."""
        return "IdentityToken(…)"


def tenant_of(token: str) -> str | None:
    """Return the tenant named in a token of the ledger."""
    match = _TOKEN.fullmatch(token)
    return None if match is None else match[1]


def _check_token(text: str, where: str) -> str:
    """Return a token of the ledger, or raise CredentialsError."""
    if tenant_of(text) is None:
        raise CredentialsError(f"{where}: must be a token of the ledger, mnt_TENANT_…, on one line")
    return text


def _check_identity_token(text: str, where: str) -> str:
    """Return a signed JWT, or raise CredentialsError. Headers must contain nothing else."""
    if re.fullmatch(r"[A-Za-z0-9_.-]{1,16384}", text, re.ASCII) is None:
        raise CredentialsError(f"{where}: must be a signed JWT")
    return text

"""The asynchronous client, for asyncio."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import httpx

from ..policy import Policy
from .calls import (
    BatchResult,
    Calls,
    Order,
    PayloadCall,
    Retries,
    Settings,
    WatchCall,
    check_server,
)
from .credentials import Credentials, Token
from .models import (
    Appended,
    Caller,
    Checkpoint,
    Entry,
    EntryFilter,
    EntryPage,
    EntryWithPayload,
    GateResult,
    GateSubject,
    StreamHead,
    Submission,
    Watched,
)
from .transport import AsyncTransport, tls_context


class AsyncClient:
    """An asynchronous client of one ledger, for one tenant. Tasks may share it.

    It has the methods of `Client`.

    - `server`: the server's URL, such as `https://ledger.example`.
    - `credentials`: Token, TokenFile, GitHubActions, GitLab or IdentityToken. A text is a Token.
      None is for client certificates.
    - `tenant`: by default the one named in the token.
    - `policy`: if given, each receipt of an append is verified on arrival. Without a policy, it
      must only commit to the payload that was sent.
    - `stream_key`: if given beside a policy, each tag is checked as well. The log then cannot hide
      an entry from an audit by a wrong tag.
    - `witnessed`: appends wait until the log's witnesses have cosigned the checkpoint. A policy
      that requires witnesses implies it.
    - `timeout`: the longest duration of a call with one response, in seconds. Uploads, watches and
      downloads may take longer, if no more than 90 seconds pass between two pieces.
    - `retries`: how often failed calls are repeated.
    - `max_message`: size limit of a message of the server, in bytes.
    - `ca`, `client_cert`, `client_key`: files in PEM, with the authorities of the server's
      certificate in place of the system's, and the client's certificate and key.
    - `http`: an httpx client of your own, which then has the TLS settings.

    Every call raises an ApiError if the server refuses it, and CredentialsError if there is no
    token.
    """

    def __init__(
        self,
        server: str,
        credentials: Credentials | str | None = None,
        *,
        tenant: str | None = None,
        policy: Policy | None = None,
        stream_key: bytes | None = None,
        witnessed: bool = False,
        timeout: float = 90.0,
        retries: Retries | None = None,
        max_message: int = 128 << 20,
        ca: str | Path | None = None,
        client_cert: str | Path | None = None,
        client_key: str | Path | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        settings = Settings(
            server=check_server(server),
            credentials=Token(credentials) if isinstance(credentials, str) else credentials,
            tenant=tenant,
            policy=policy,
            stream_key=stream_key,
            witnessed=witnessed,
            timeout=timeout,
            max_message=max_message,
            retries=retries or Retries(),
        )
        self._http = http or httpx.AsyncClient(verify=tls_context(ca, client_cert, client_key))
        self._calls = Calls(settings)
        self._transport = AsyncTransport(self._http)

    def __repr__(self) -> str:
        """Return the server, and the kind of credentials without their secret."""
        settings = self._calls.settings
        return f"{type(self).__name__}({settings.server!r}, {settings.credentials!r})"

    async def __aenter__(self) -> "AsyncClient":
        """Return the client, which the end of the block closes."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def append(
        self,
        payload: bytes,
        *,
        kind: str,
        media_type: str | None = None,
        idempotency_key: str | None = None,
    ) -> Appended:
        """Record evidence or an event, and return its index and receipt.

        Repeating it is safe: the receipt is then that of the first entry. Raises NotVerified if the
        receipt is refused; the entry is recorded nevertheless. See Submission for the arguments.
        """
        return await self._transport.run(
            self._calls.append(
                Submission(
                    kind=kind,
                    payload=payload,
                    media_type=media_type,
                    idempotency_key=idempotency_key,
                )
            )
        )

    async def append_batch(self, submissions: Sequence[Submission]) -> list[BatchResult]:
        """Record up to 1,000 submissions. Returns one result for each, in their order."""
        return await self._transport.run(self._calls.append_batch(submissions))

    async def append_stream(
        self,
        file: BinaryIO,
        *,
        kind: str,
        media_type: str | None = None,
        idempotency_key: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Appended:
        """Record a payload of up to 1 GiB from a file, which need not fit in memory.

        The file must be seekable: it is sent again from its start after a failure, and read again
        to check the receipt. `progress` is called with the number of bytes sent.
        """
        steps = self._calls.append_stream(file, kind, media_type, idempotency_key, progress)
        return await self._transport.run(steps)

    async def get_entry(self, index: int, *, include_payload: bool = False) -> EntryWithPayload:
        """Return one of the tenant's entries, and its payload if requested."""
        return await self._transport.run(
            self._calls.get_entry(index, include_payload=include_payload)
        )

    def get_payload(self, index: int) -> AsyncIterator[bytes]:
        """Yield the payload of an entry in pieces. A broken download goes on where it was."""
        return self._transport.stream(PayloadCall(self._calls, index))

    async def get_receipt(
        self,
        index: int,
        *,
        tree_size: int = 0,
        shared: bool = False,
        include_payload: bool = False,
        witnessed: bool = False,
    ) -> bytes:
        """Return a receipt: a file for `verify_receipt`.

        It is at the latest checkpoint or at the one of `tree_size` entries. `shared` hides the
        stream, for third parties. With `witnessed`, the checkpoint has the witnesses' cosignatures.
        """
        return await self._transport.run(
            self._calls.get_receipt(
                index,
                tree_size=tree_size,
                shared=shared,
                include_payload=include_payload,
                witnessed=witnessed,
            )
        )

    async def list_entries(
        self,
        filter: EntryFilter | None = None,  # noqa: A002 - the API's name
        *,
        order: Order = "newest-first",
        page_size: int = 100,
    ) -> AsyncIterator[Entry]:
        """Yield the tenant's entries that match, page by page."""
        token = ""
        while True:
            page = await self.list_page(filter, order=order, page_size=page_size, page_token=token)
            for entry in page.entries:
                yield entry
            token = page.next_page_token
            if not token:
                return

    async def list_page(
        self,
        filter: EntryFilter | None = None,  # noqa: A002 - the API's name
        *,
        order: Order = "newest-first",
        page_size: int = 100,
        page_token: str = "",
    ) -> EntryPage:
        """Return one page of up to 1,000 entries. `page_token` is from the previous page."""
        return await self._transport.run(
            self._calls.list_entries(filter, order, page_size, page_token)
        )

    def watch_entries(
        self,
        from_index: int = 0,
        filter: EntryFilter | None = None,  # noqa: A002 - the API's name
        *,
        progress: bool = False,
    ) -> AsyncIterator[Watched]:
        """Yield the tenant's entries from an index on, as they are published, without an end.

        A broken connection is resumed, so that each entry arrives once. To resume in another
        process, store `next_index` of the last message. With `progress`, messages without an entry
        arrive as well, every 15 seconds.
        """
        call = WatchCall(self._calls, from_index, filter, progress=progress)
        return self._transport.stream(call)

    async def gate(
        self,
        stage: str,
        subjects: Sequence[GateSubject],
        *,
        environment: str = "",
        time: datetime | None = None,
        tree_size: int | None = None,
        dry_run: bool = False,
    ) -> GateResult:
        """Decide whether up to 10,000 artifacts may pass a stage, and record the decisions.

        Decisions of a past `time` or `tree_size`, and those with `dry_run`, are not recorded. Check
        `passed` of the result.
        """
        return await self._transport.run(
            self._calls.gate(
                stage,
                subjects,
                environment,
                time=time,
                tree_size=tree_size,
                dry_run=dry_run,
            )
        )

    async def get_checkpoint(self, *, witnessed: bool = False) -> Checkpoint:
        """Return the latest checkpoint, or the latest that the witnesses have cosigned."""
        return await self._transport.run(self._calls.get_checkpoint(witnessed=witnessed))

    async def get_stream_head(self) -> StreamHead:
        """Return the end of the tenant's stream at the latest checkpoint."""
        return await self._transport.run(self._calls.get_stream_head())

    async def whoami(self) -> Caller:
        """Return the tenant, identity, role, kinds and expiry of the credentials."""
        return await self._transport.run(self._calls.whoami())

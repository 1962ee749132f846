"""The command `python -m muniment`.

Exit codes: 0, every receipt verified; 1, at least one did not verify; 2, none of these, but
something could not be checked (unreadable file, unusable policy or key, wrong usage).
"""

import argparse
import io
import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from .errors import NotVerified, PolicyError
from .policy import Policy
from .receipt import parse_header
from .verify import Statement, verify

_STREAM_KEY = re.compile(rb"[0-9a-f]{64}\n")

VERIFIED, NOT_VERIFIED, NOT_CHECKED = 0, 1, 2


class _NotCheckedError(Exception):
    """Something that is needed for checking cannot be had; the text says what."""


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="muniment", description="Work with Muniment receipts.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "verify",
        help="verify receipts offline",
        description="Verify receipts offline.",
        epilog="Exit codes: 0 all verified, 1 one did not verify, 2 something could not be checked."
        " Without --tenant, --kind and --subject any valid receipt of the log will do.",
        allow_abbrev=False,
    )
    add = command.add_argument
    add("receipts", nargs="+", metavar="RECEIPT", help="receipt file")
    add(
        "--policy",
        nargs="+",
        action="extend",
        required=True,
        metavar="FILE",
        help="policy file; a receipt must satisfy one of those given",
    )
    add("--payload", metavar="FILE", help="the payload of the receipts, from elsewhere")
    add("--header-only", action="store_true", help="do without the payload")
    add("--tenant", metavar="T", help="expect this tenant")
    add("--kind", metavar="K", help="expect this kind")
    add("--subject", metavar="D", help="expect this subject, as algorithm:value")
    add("--stream-key", metavar="FILE", help="expect the stream of the key in this file")
    add("--json", action="store_true", help="print one JSON object a line for each receipt")
    return parser


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise _NotCheckedError(f"{_printable(path)}: {reason or 'cannot be read'}") from None


def _read_policy(path: str) -> Policy:
    try:
        return Policy.parse(_read(path))
    except PolicyError as error:
        raise _NotCheckedError(f"{_printable(path)}: {error}") from None


def _read_stream_key(path: str) -> bytes:
    data = _read(path)
    if _STREAM_KEY.fullmatch(data) is None:
        raise _NotCheckedError(
            f"{_printable(path)}: not 64 lowercase hexadecimal digits and a newline"
        )
    return bytes.fromhex(data[:64].decode("ascii"))


def _printable(text: str) -> str:
    """Return `text` with everything escaped that could disturb a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _describe(path: str, statement: Statement, policy_path: str) -> str:
    """Return some lines of plain text on a verified receipt."""
    lines = [
        f"{_printable(path)}: verified",
        f"  log      {_printable(statement.origin)}, entry {statement.index} of {statement.size}",
        f"  time     {_time(statement.time)} (the log's claim)",
    ]
    if statement.seq is not None and statement.stream_id is not None:
        lines.append(f"  stream   {statement.stream_id.hex()}, entry {statement.seq}")
    if statement.header is not None:
        header = parse_header(statement.header)
        lines.append(f"  tenant   {header.tenant}")
        lines.append(f"  kind     {header.kind}")
    if statement.payload_sha256 is not None:
        lines.append(f"  payload  sha256:{statement.payload_sha256.hex()}")
    else:
        lines.append("  payload  not checked")
    lines.append(f"  signers  {', '.join(_printable(signer) for signer in statement.signers)}")
    lines.append(f"  policy   {_printable(policy_path)}")
    if not statement.witnessed:
        lines.append("  not witnessed")
    return "\n".join(lines)


def _time(milliseconds: int) -> str:
    """Return a time in UTC, or the bare number where the calendar ends."""
    seconds, rest = divmod(milliseconds, 1000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def _run(options: argparse.Namespace) -> int:
    """Verify the receipts of the command line, print the verdicts, return the exit code."""
    policies = [_read_policy(path) for path in options.policy]
    payload = None if options.payload is None else _read(options.payload)
    stream_key = None if options.stream_key is None else _read_stream_key(options.stream_key)
    codes = set()
    for path in options.receipts:
        result: dict[str, object] = {"receipt": path}
        text = ""
        try:
            statement = verify(
                _read(path),
                policies,
                payload=payload,
                header_only=options.header_only,
                tenant=options.tenant,
                kind=options.kind,
                subject=options.subject,
                stream_key=stream_key,
            )
        except NotVerified as error:
            codes.add(NOT_VERIFIED)
            result |= {"verdict": "not verified", "step": error.step, "message": error.message}
            text = f"{_printable(path)}: NOT VERIFIED: {error}"
        except _NotCheckedError as error:
            codes.add(NOT_CHECKED)
            result |= {"verdict": "not checked", "message": str(error)}
            text = f"{error} (NOT CHECKED)"
        else:
            codes.add(VERIFIED)
            policy_path = options.policy[statement.policy]
            result |= {
                "verdict": "verified",
                "policy": policy_path,
                "witnessed": statement.witnessed,
                "statement": statement.to_json(),
            }
            text = _describe(path, statement, policy_path)
        print(json.dumps(result) if options.json else text)
    sys.stdout.flush()
    if NOT_VERIFIED in codes:
        return NOT_VERIFIED
    return NOT_CHECKED if NOT_CHECKED in codes else VERIFIED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = _arguments().parse_args(arguments)
    try:
        return _run(options)
    except _NotCheckedError as error:
        print(f"muniment: {error}", file=sys.stderr)
    except Exception as error:  # a fault of the program must not look like a verdict (exit code 1)
        print(f"muniment: {type(error).__name__}: {error}", file=sys.stderr)
    return NOT_CHECKED


if __name__ == "__main__":
    sys.exit(main())

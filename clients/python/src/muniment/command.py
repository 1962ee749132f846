"""The command `python -m muniment`: arguments, files, exit codes."""

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from . import __version__
from .errors import CallerError, NotVerified, PolicyError
from .expectations import parse_expectations
from .policy import MAX_POLICY_SIZE, Policy
from .printable import printable, unicode_name
from .streamkey import MAX_STREAM_KEY_SIZE, parse_stream_key
from .text import describe
from .verify import MAX_RECEIPT_SIZE, verify

VERIFIED, REFUSED, NOT_CHECKED = 0, 1, 2

_PIECE = 1 << 20
_TEXTS = (
    "tenant",
    "kind",
    "subject",
    "predicate_type",
    "control",
    "signer",
    "issuer",
    "stream",
)

_USAGE = """\
Usage: python -m muniment verify RECEIPT... --policy FILE... [flags]

Commands:
  verify     Verify receipts offline.
  help       Show this text; `verify --help` lists the flags.

  --version  Show the version.
"""

_EXAMPLES = """\
exit code: 0 all verified; 1 one is refused; 2 none is refused, but one could
not be checked, or the call itself is wrong

examples:
  python -m muniment verify build.receipt.json --policy policy
  python -m muniment verify scan.receipt.json --policy policy --external scan.json
  python -m muniment verify app.receipt.json --policy policy --payload app.intoto.json \\
      --tenant acme --kind attestation --subject sha256:2cf24dba…
  python -m muniment verify app.receipt.json --policy policy --require-verified \\
      --signer release@acme.example --issuer https://issuer.example --admitted
  python -m muniment verify receipts/*.receipt.json --policy policy,policy.2025 --json

Scripts should give --tenant, --kind and --subject: without them any genuine
receipt of the log verifies.
"""


class UsageError(Exception):
    """The arguments are wrong."""


class OutputError(Exception):
    """Standard output cannot be written."""


class _Parser(argparse.ArgumentParser):
    """An argument parser that leaves output and exit codes to `main`."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m muniment verify",
        description="Verify receipts offline. Needs no server and no network.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    add = parser.add_argument
    add("receipts", nargs="*", metavar="RECEIPT", help="receipt file")
    add("-h", "--help", action="store_true", help="show this text")
    add(
        "--policy",
        action="append",
        metavar="FILE,...",
        help="policy file: the keys of the log and its witnesses. May be given more than once; "
        "one must accept ($MUNIMENT_POLICY)",
    )
    add("--payload", metavar="FILE", help="the payload, for a receipt that does not hold it")
    add("--external", metavar="FILE", help="the evidence that an entry by reference refers to")
    add("--header-only", action="store_true", help="verify without the payload")
    add("--tenant", metavar="TENANT", help="the entry must be of this tenant")
    add("--kind", metavar="KIND", help="the entry must be of this kind")
    add("--subject", metavar="DIGEST", help="the entry must be about this artifact: sha256:…")
    add("--predicate-type", metavar="URI", help="the entry must have this predicate type")
    add("--control", metavar="CONTROL", help="the entry must be about this control")
    add(
        "--require-verified",
        action="store_true",
        help="the log must have verified the signatures of the evidence",
    )
    add("--signer", metavar="ID", help="this identity or key ID must have signed, verified")
    add("--issuer", metavar="URL", help="the signer's identity must be by this issuer, verified")
    add("--admitted", action="store_true", help="an admission policy must have admitted the entry")
    add("--stream", metavar="ID", help="the entry must be of the stream with this ID")
    add(
        "--stream-key",
        metavar="FILE",
        help="the entry must be of this key's stream, under its right tag ($MUNIMENT_STREAM_KEY)",
    )
    add("--json", action="store_true", help="print one JSON object for each receipt")
    return parser


def _options(arguments: Sequence[str], environment: Mapping[str, str]) -> argparse.Namespace:
    """Read the arguments of `verify`; the policies become a list of paths."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = _parser().parse_intermixed_args(arguments[:end])
    if options.help:
        return options
    options.receipts += arguments[end + 1 :]
    lists = options.policy or [environment.get("MUNIMENT_POLICY", "")]
    options.policy = [path for item in lists for path in item.split(",") if path]
    if options.stream_key is None:
        options.stream_key = environment.get("MUNIMENT_STREAM_KEY") or None
    if not options.receipts:
        raise UsageError("no receipt specified")
    if not options.policy:
        raise UsageError("no policy specified: use --policy")
    for name in ("payload", "external", "stream_key"):
        if getattr(options, name) == "":
            raise UsageError(f"--{name.replace('_', '-')} is empty")
    for name in ("payload", "external"):
        path = getattr(options, name)
        if path is not None and len(options.receipts) > 1:
            raise UsageError(f"--{name} is for one receipt at a time")
    return options


def _pieces(path: str) -> Iterator[bytes]:
    """Return the content of a file in pieces, or raise CallerError."""
    try:
        with Path(path).open("rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                yield piece
    except OSError as error:
        reason = f"{printable(path)}: {error.strerror or 'read failed'}"
        raise CallerError("unreadable", reason) from None


def _read(path: str, limit: int) -> bytes:
    """Return the content of a file, at most one byte more than `limit`, or raise CallerError."""
    content = bytearray()
    for piece in _pieces(path):
        content += piece
        if len(content) > limit:
            break
    return bytes(content[: limit + 1])


def _read_policy(path: str) -> Policy:
    try:
        return Policy.parse(_read(path, MAX_POLICY_SIZE), unicode_name(path))
    except PolicyError as error:
        raise CallerError(error.code, f"policy {printable(path)}: {error}") from None


def _read_stream_key(path: str) -> bytes:
    content = _read(path, MAX_STREAM_KEY_SIZE)
    try:
        return parse_stream_key(content)
    except CallerError as error:
        raise CallerError(error.code, f"{printable(path)}: {error}") from None


def _check(path: str, policies: Sequence[Policy], expected: dict[str, Any]) -> dict[str, Any]:
    """Return the report on one receipt; `text` in it is the report for people."""
    report: dict[str, Any] = {"receipt": unicode_name(path)}
    try:
        statement = verify(_read(path, MAX_RECEIPT_SIZE), policies, **expected)
    except (NotVerified, CallerError) as error:
        refused = isinstance(error, NotVerified)
        mark = "✗ REFUSED" if refused else "? NOT CHECKED"
        return report | {
            "verdict": "refused" if refused else "not-checked",
            "reason": {"code": error.code, "step": error.step, "message": error.message},
            "text": f"{mark}  {printable(path)}\n  {error.code}: {printable(error.message)}",
        }
    return report | {
        "verdict": "verified",
        **statement.to_json(),
        "text": describe(path, statement),
    }


def _verify(options: argparse.Namespace) -> int:
    """Verify the receipts of the command line, print the reports, return the exit code."""
    policies = [_read_policy(path) for path in options.policy]
    expected: dict[str, Any] = {name: getattr(options, name) for name in _TEXTS}
    expected["require_verified"] = options.require_verified
    expected["admitted"] = options.admitted
    if options.stream_key is not None:
        expected["stream_key"] = _read_stream_key(options.stream_key)
    parse_expectations(**expected)  # an error ends the command before the first receipt
    expected["header_only"] = options.header_only
    verdicts = set()
    for path in options.receipts:
        for name in ("payload", "external"):
            source = getattr(options, name)
            expected[name] = None if source is None else _pieces(source)
        report = _check(path, policies, expected)
        verdicts.add(report["verdict"])
        text = report.pop("text")
        _print(json.dumps(report) if options.json else text)
    if "refused" in verdicts:
        return REFUSED
    return NOT_CHECKED if "not-checked" in verdicts else VERIFIED


def _print(text: str) -> None:
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    try:
        print(text.rstrip("\n"), flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output: {error.strerror or 'write failed'}") from None


def _run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    match list(arguments):
        case ["--version"]:
            _print(f"muniment {__version__}")
        case ["help" | "--help" | "-h"]:
            _print(_USAGE)
        case ["help", "verify"]:
            _print(_parser().format_help())
        case ["verify", *rest]:
            options = _options(rest, environment)
            if not options.help:
                return _verify(options)
            _print(_parser().format_help())
        case []:
            raise UsageError("no command specified: use verify")
        case [command, *_]:
            raise UsageError(f"unknown command {command}: use verify")
    return VERIFIED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); return the exit code.

    A fault of the program never looks like a verdict: it ends with exit code 2.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(sys.argv[1:] if arguments is None else arguments, os.environ)
    except BrokenPipeError:
        # The reader has left, as `| head -1` does.
        _discard_output()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except OutputError as error:
        message = str(error)
        _discard_output()
    except UsageError as error:
        message = f"{error}\nRun 'python -m muniment help verify' for usage."
    except CallerError as error:
        message = error.message
    except Exception as error:
        message = f"internal error: {type(error).__name__}"
    _complain(message)
    return NOT_CHECKED


BROKEN_PIPE, INTERRUPTED = 141, 130
"""The exit codes that shells report for a program ended by SIGPIPE and SIGINT."""


def _discard_output() -> None:
    """Keep the interpreter from writing the rest of the output when it ends."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: str) -> None:
    lines = "\n".join(printable(line) for line in message.splitlines())
    try:
        print(f"muniment: {lines}", file=sys.stderr, flush=True)
    except OSError:
        return  # there is no other place for it

"""The commands `muniment-verify` and `python -m muniment`: arguments, files, exit codes."""

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from . import __version__, configured
from .configuration import ConfigurationError
from .errors import CallerError, NotVerified, PolicyError
from .expectations import parse_expectations
from .kinds import KINDS
from .policy import MAX_POLICY_SIZE, Policy
from .printable import printable, unicode_name
from .streamkey import MAX_STREAM_KEY_SIZE, parse_stream_key
from .strictjson import quote
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

_MODULE, _CONSOLE = "python -m muniment verify", "muniment-verify"

_USAGE = """\
Usage: python -m muniment verify RECEIPT... --policy FILE... [flags]

Commands:
  verify     Verify receipts offline.
  help       Show this help. `help verify` lists the flags of verify.

  --version  Show the version.
"""

_EXAMPLES = """\
exit code: 0 all verified; 1 a file was refused; 2 none was refused, but one
could not be checked, or the call is wrong

examples:
  PROGRAM build.receipt.json --policy policy
  PROGRAM scan.receipt.json --policy policy --external scan.json
  PROGRAM app.receipt.json --policy policy --payload app.intoto.json \\
      --tenant acme --kind attestation --subject sha256:2cf24dba…
  PROGRAM app.receipt.json --policy policy --require-verified \\
      --signer release@acme.example --issuer https://issuer.example --admitted
  PROGRAM receipts/*.receipt.json --policy policy --policy policy.2025 --json
  PROGRAM --config muniment.json export.sigstore.json --as export --files rows \\
      --receipt export.receipt.json --stream-bundle stream.mbundle --html report.html

Scripts should set --tenant, --kind and --subject: without them, any genuine
receipt of the log verifies.
"""


class UsageError(Exception):
    """The arguments are wrong."""


class OutputError(Exception):
    """Writing to standard output failed."""


class _Parser(argparse.ArgumentParser):
    """An argument parser that leaves errors and exit codes to `main`."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=program,
        description="Verify receipts, or with --config also Sigstore bundles, export manifests, "
        "streams and evidence bundles, offline. Needs no server and no network.",
        epilog=_EXAMPLES.replace("PROGRAM", program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    add = parser.add_argument
    add("receipts", nargs="*", metavar="FILE", help="file to verify")
    add("-h", "--help", action="store_true", help="show this help")
    add(
        "--policy",
        action="append",
        metavar="FILE",
        help="trust policy: the keys of the log and its witnesses. May be repeated; one must "
        "accept ($MUNIMENT_POLICY)",
    )
    add("--payload", metavar="FILE", help="payload of a receipt that does not contain it")
    add("--external", metavar="FILE", help="evidence that an entry by reference refers to")
    add("--header-only", action="store_true", help="verify the header only, without the payload")
    add("--tenant", metavar="TENANT", help="the entry must belong to this tenant")
    add("--kind", metavar="KIND", help="the entry must be of this kind")
    add("--subject", metavar="DIGEST", help="the entry must be about this artifact: sha256:…")
    add("--predicate-type", metavar="URI", help="the entry must have this in-toto predicate type")
    add("--control", metavar="CONTROL", help="the entry must be about this control")
    add(
        "--require-verified",
        action="store_true",
        help="the log must have verified the evidence's signatures",
    )
    add(
        "--signer",
        metavar="ID",
        help="the log must have verified a signature by this identity or key ID",
    )
    add(
        "--issuer",
        metavar="URL",
        help="the log must have verified a signature by an identity of this OIDC issuer",
    )
    add("--admitted", action="store_true", help="an admission policy must have admitted the entry")
    add("--stream", metavar="ID", help="the entry must belong to the stream with this ID")
    add(
        "--stream-key",
        metavar="FILE",
        help="the entry must belong to this key's stream, and have the right tag "
        "($MUNIMENT_STREAM_KEY)",
    )
    add("--json", action="store_true", help="print one JSON object per file")
    configured.add_flags(add)
    return parser


def _options(
    arguments: Sequence[str], environment: Mapping[str, str], program: str
) -> argparse.Namespace:
    """Parse the arguments of `verify`, with defaults from the environment."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = _parser(program).parse_intermixed_args(arguments[:end])
    if options.help:
        return options
    options.receipts += arguments[end + 1 :]
    if not options.receipts:
        raise UsageError("no receipt specified" if options.config is None else "no file specified")
    if options.config is None:
        _add_trust(options, environment)
    else:
        _check_configured(options)
    kinds = [kind.name for kind in KINDS]
    if options.kind not in (None, "", *kinds):
        known = ", ".join(kinds)
        raise UsageError(f"--kind: unknown kind {quote(options.kind)}: use one of {known}")
    for name in (*configured.ONE_FILE, "config", "stream-key"):
        if _value(options, name) == "":
            raise UsageError(f"--{name}: must not be empty")
    for name in configured.ONE_FILE:
        if _value(options, name) is not None and len(options.receipts) > 1:
            raise UsageError(f"--{name} is for one file at a time")
    return options


def _value(options: argparse.Namespace, flag: str) -> str | None:
    name = "as_kind" if flag == "as" else flag.replace("-", "_")
    value: str | None = getattr(options, name)
    return value


def _add_trust(options: argparse.Namespace, environment: Mapping[str, str]) -> None:
    """Add the defaults of the environment, without a configuration."""
    for name in (*configured.FLAGS, *configured.OUTPUTS):
        if _value(options, name) is not None:
            raise UsageError(f"--{name}: requires --config")
    policies = options.policy or [environment.get("MUNIMENT_POLICY", "")]
    options.policy = [path for path in policies if path]
    if options.stream_key is None:
        options.stream_key = environment.get("MUNIMENT_STREAM_KEY") or None
    if not options.policy:
        raise UsageError("no policy specified: use --policy, or --config")


def _check_configured(options: argparse.Namespace) -> None:
    """Refuse the flags that a configuration replaces."""
    for name in ("policy", "stream-key"):
        if _value(options, name) is not None:
            raise UsageError(f"--{name}: not with --config, which names the files itself")
    if options.as_kind not in (None, *configured.KINDS):
        known = ", ".join(configured.KINDS)
        raise UsageError(f"--as: unknown kind {quote(options.as_kind)}: use one of {known}")


def _open(path: str) -> Iterator[bytes]:
    """Open a file and return an iterator over its content. Both raise CallerError."""
    try:
        file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - _pieces closes it
    except OSError as error:
        raise _unreadable(path, error) from None
    return _pieces(path, file)


def _pieces(path: str, file: io.RawIOBase) -> Iterator[bytes]:
    with file:
        try:
            while piece := file.read(_PIECE):
                yield piece
        except OSError as error:
            raise _unreadable(path, error) from None


def _unreadable(path: str, error: OSError) -> CallerError:
    return CallerError("unreadable", f"{printable(path)}: {error.strerror or 'read failed'}")


def _read(path: str, limit: int) -> bytes:
    """Return the content of a file, up to `limit` + 1 bytes of it. Raises CallerError."""
    content = bytearray()
    for piece in _open(path):
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


def _check(
    path: str,
    policies: Sequence[Policy],
    sources: Mapping[str, str | None],
    expected: Mapping[str, Any],
) -> dict[str, Any]:
    """Verify one receipt and return its report.

    `sources` are the files of the payload and the external evidence. The member `text` of the
    report is the human-readable form.
    """
    report: dict[str, Any] = {"receipt": unicode_name(path)}
    try:
        receipt = _read(path, MAX_RECEIPT_SIZE)
        opened = {name: _open(file) for name, file in sources.items() if file is not None}
        statement = verify(receipt, policies, **{**expected, **opened})
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
    """Verify the files, print the reports, and return the exit code."""
    if options.config is not None:
        return _verify_configured(options)
    policies = [_read_policy(path) for path in options.policy]
    expected: dict[str, Any] = {name: getattr(options, name) for name in _TEXTS}
    expected["require_verified"] = options.require_verified
    expected["admitted"] = options.admitted
    if options.stream_key is not None:
        expected["stream_key"] = _read_stream_key(options.stream_key)
    parse_expectations(**expected)  # report a wrong call before the first receipt
    expected["header_only"] = options.header_only
    sources = {"payload": options.payload, "external": options.external}
    verdicts = set()
    for path in options.receipts:
        report = _check(path, policies, sources, expected)
        verdicts.add(report["verdict"])
        text = report.pop("text")
        _print(json.dumps(report) if options.json else text)
    if "refused" in verdicts:
        return REFUSED
    return NOT_CHECKED if "not-checked" in verdicts else VERIFIED


def _verify_configured(options: argparse.Namespace) -> int:
    try:
        return configured.verify_files(options, _print)
    except ConfigurationError as error:
        raise CallerError(error.code, f"{error.message} ({error.code})") from None
    except (BrokenPipeError, OutputError):
        raise
    except OSError as error:
        reason = error.strerror or "write failed"
        raise CallerError("unreadable", f"{printable(str(error.filename))}: {reason}") from None


def _print(text: str) -> None:
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    try:
        print(text.rstrip("\n"), flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output: {error.strerror or 'write failed'}") from None


def _verify_command(arguments: Sequence[str], environment: Mapping[str, str], program: str) -> int:
    options = _options(arguments, environment, program)
    if not options.help:
        return _verify(options)
    _print(_parser(program).format_help())
    return VERIFIED


def _run_verify(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `muniment-verify`."""
    if list(arguments) == ["--version"]:
        _print(f"muniment {__version__}")
        return VERIFIED
    return _verify_command(arguments, environment, _CONSOLE)


def _run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `python -m muniment`."""
    match list(arguments):
        case ["--version"]:
            _print(f"muniment {__version__}")
        case ["help" | "--help" | "-h"]:
            _print(_USAGE)
        case ["help", "verify"]:
            _print(_parser(_MODULE).format_help())
        case ["verify", *rest]:
            return _verify_command(rest, environment, _MODULE)
        case []:
            raise UsageError("no command specified: use verify")
        case [command, *_]:
            raise UsageError(f"unknown command {command}: use verify")
    return VERIFIED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m muniment` and return its exit code.

    `arguments` defaults to those of the process.
    """
    return _guard(_run, "python -m muniment help verify", arguments)


def main_verify(arguments: Sequence[str] | None = None) -> int:
    """Run `muniment-verify` and return its exit code.

    `arguments` defaults to those of the process.
    """
    return _guard(_run_verify, f"{_CONSOLE} --help", arguments)


def _guard(
    run: Callable[[Sequence[str], Mapping[str, str]], int],
    usage: str,
    arguments: Sequence[str] | None,
) -> int:
    """Run a command, and return its exit code or that of its error.

    An internal error never looks like a verdict: its exit code is 2.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return run(sys.argv[1:] if arguments is None else arguments, os.environ)
    except BrokenPipeError:
        # The reader closed the pipe, as in `| head -1`.
        _discard_output()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except OutputError as error:
        message = str(error)
        _discard_output()
    except UsageError as error:
        message = f"{error}\nRun '{usage}' for usage."
    except CallerError as error:
        message = error.message
    except Exception as error:
        message = f"internal error: {type(error).__name__}"
    _complain(message)
    return NOT_CHECKED


BROKEN_PIPE, INTERRUPTED = 141, 130
"""The exit codes that shells report for programs ended by SIGPIPE and SIGINT."""


def _discard_output() -> None:
    """Keep the interpreter from flushing the remaining output at exit."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: str) -> None:
    lines = "\n".join(printable(line) for line in message.splitlines())
    try:
        print(f"muniment: {lines}", file=sys.stderr, flush=True)
    except OSError:
        return  # there is nowhere else to report it

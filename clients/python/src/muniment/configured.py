"""The command's verification with a configuration (docs/spec/verify.md, section 6)."""

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast, get_args

from .configuration import Configuration
from .documents import Inputs, verify_file
from .report import Kind, Report, Verdict

KINDS: tuple[Kind, ...] = get_args(Kind)
"""The kinds of files."""

EXIT: Mapping[Verdict, int] = {"verified": 0, "not-verified": 1, "error": 2}
"""The exit code for the verdict of one file."""

FLAGS = ("as", "artifact", "files", "receipt", "stream-bundle", "export", "identity")
"""The flags with a value that require --config, besides the outputs."""

OUTPUTS = ("html", "report")
"""The flags of files that are written."""

ONE_FILE = ("payload", "external", "artifact", "files", "receipt", "stream-bundle", *OUTPUTS)
"""The flags that require exactly one file to verify."""

_DIGEST = re.compile(r"sha256:([0-9A-Fa-f]{64})", re.ASCII)


def add_flags(add: Callable[..., argparse.Action]) -> None:
    """Add the flags to a parser."""
    add("--config", metavar="FILE", help="configuration of the verifiers, instead of --policy")
    add("--as", dest="as_kind", metavar="KIND", help=f"with --config: the kind of the files: "
        f"{', '.join(KINDS)}. Default: recognized")  # fmt: skip
    add("--artifact", metavar="FILE", help="what a Sigstore bundle is about: a file, or sha256:…")
    add("--files", metavar="DIR", help="folder with the files of an export and nothing else")
    add("--receipt", metavar="FILE", help="receipt of an export manifest")
    add("--stream-bundle", metavar="FILE", help="evidence bundle with the stream of an export")
    add("--export", metavar="ID", help="the manifest must be that of this export")
    add("--identity", metavar="ID", help="the evidence bundle must have this identity")
    add("--html", metavar="FILE", help="with --config: also write the report as a page")
    add("--report", metavar="FILE", help="with --config: also write the report as evidence, for "
        "an entry of the kind verification-report")  # fmt: skip


def verify_files(options: argparse.Namespace, show: Callable[[str], None]) -> int:
    """Verify the files, print the reports, and return the exit code.

    Raises ConfigurationError, and OSError if a report cannot be written.
    """
    configuration = Configuration.load(options.config)
    inputs = _inputs(options)
    codes: set[int] = set()
    for file in options.receipts:
        kind = cast(Kind | None, options.as_kind)
        report = verify_file(file, configuration, inputs, kind=kind)
        show(report.to_json() if options.json else report.to_text())
        _write(report, file, options)
        codes.add(EXIT[report.verdict])
    return min(codes - {0}, default=0)


def _inputs(options: argparse.Namespace) -> Inputs:
    digest = _DIGEST.fullmatch(options.artifact or "")
    return Inputs(
        payload=options.payload,
        external=options.external,
        header_only=options.header_only,
        tenant=options.tenant,
        kind=options.kind,
        subject=options.subject,
        predicate_type=options.predicate_type,
        control=options.control,
        require_verified=options.require_verified,
        signer=options.signer,
        issuer=options.issuer,
        admitted=options.admitted,
        stream_id=options.stream,
        artifact=None if digest else options.artifact,
        artifact_sha256=bytes.fromhex(digest[1]) if digest else None,
        files=None if options.files is None else Path(options.files),
        receipt=options.receipt,
        stream=options.stream_bundle,
        export=options.export,
        identity=options.identity,
    )


def _write(report: Report, file: str, options: argparse.Namespace) -> None:
    if options.html is not None:
        Path(options.html).write_text(report.to_html(), encoding="utf-8")
    if options.report is not None:
        Path(options.report).write_bytes(report.to_evidence(file))

"""Offline verification of what a Muniment ledger hands out.

    from muniment import Configuration, verify_receipt

    configuration = Configuration.load("muniment.json")
    report = verify_receipt("build.receipt.json", configuration, tenant="acme", kind="attestation")
    print(report.to_text())

A configuration has the keys, identities and policies that are trusted (docs/spec/verify.md). The
functions `verify_receipt`, `verify_bundle`, `verify_export`, `verify_stream` and
`verify_evidence_bundle` return a `Report`. docs/sdk-trust-boundary.md lists what it does not prove.

`STEPS` maps the codes of receipts to steps, and `KINDS` are the kinds of entries.

`verify` is the check of receipts alone, by docs/spec/receipt.md. The verifiers of the other formats
are `muniment.sigstore`, `muniment.export` and `muniment.bundle`. `muniment.client` calls the API.
"""

from .configuration import Configuration, ConfigurationError
from .documents import (
    Inputs,
    verify_bundle,
    verify_evidence_bundle,
    verify_export,
    verify_file,
    verify_receipt,
    verify_stream,
)
from .errors import STEPS, CallerError, FormatError, MunimentError, NotVerified, PolicyError
from .kinds import KINDS, Kind
from .policy import Policy
from .receipt import Header
from .report import Report
from .statement import Statement
from .streamkey import parse_stream_key
from .verify import verify

__version__ = "0.1.0"

__all__ = [
    "KINDS",
    "STEPS",
    "CallerError",
    "Configuration",
    "ConfigurationError",
    "FormatError",
    "Header",
    "Inputs",
    "Kind",
    "MunimentError",
    "NotVerified",
    "Policy",
    "PolicyError",
    "Report",
    "Statement",
    "__version__",
    "parse_stream_key",
    "verify",
    "verify_bundle",
    "verify_evidence_bundle",
    "verify_export",
    "verify_file",
    "verify_receipt",
    "verify_stream",
]

"""Offline verifier for Muniment receipts (docs/spec/entry.md and docs/spec/receipt.md)."""

from .errors import STEPS, CallerError, FormatError, MunimentError, NotVerified, PolicyError
from .kinds import KINDS, Kind
from .policy import Policy
from .receipt import Header
from .statement import Statement
from .streamkey import parse_stream_key
from .verify import verify

__version__ = "0.1.0"

__all__ = [
    "KINDS",
    "STEPS",
    "CallerError",
    "FormatError",
    "Header",
    "Kind",
    "MunimentError",
    "NotVerified",
    "Policy",
    "PolicyError",
    "Statement",
    "__version__",
    "parse_stream_key",
    "verify",
]

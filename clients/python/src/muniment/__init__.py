"""Offline verifier for Muniment receipts (docs/spec/entry.md and docs/spec/receipt.md)."""

from .errors import STEPS, CallerError, FormatError, MunimentError, NotVerified, PolicyError
from .policy import Policy
from .receipt import Header
from .statement import Statement
from .streamkey import parse_stream_key
from .verify import verify

__version__ = "0.1.0"

__all__ = [
    "STEPS",
    "CallerError",
    "FormatError",
    "Header",
    "MunimentError",
    "NotVerified",
    "Policy",
    "PolicyError",
    "Statement",
    "__version__",
    "parse_stream_key",
    "verify",
]

"""Offline verifier for Muniment receipts (docs/spec/entry.md and docs/spec/receipt.md)."""

from .errors import FormatError, NotVerified, PolicyError
from .policy import Policy
from .verify import Statement, verify

__all__ = ["FormatError", "NotVerified", "Policy", "PolicyError", "Statement", "verify"]

"""Offline verification of evidence bundles (docs/spec/bundle.md)."""

from .archive import BundleSource
from .errors import BUNDLE_STEPS, BundleError
from .records import Record
from .verify import BundleReport, verify

__all__ = [
    "BUNDLE_STEPS",
    "BundleError",
    "BundleReport",
    "BundleSource",
    "Record",
    "verify",
]

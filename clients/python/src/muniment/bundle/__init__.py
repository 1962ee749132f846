"""Offline verification of evidence bundles (docs/spec/bundle.md).

`BUNDLE_STEPS` maps the codes to steps. A `BundleSource` is the path of a bundle, its bytes, or an
open file.
"""

from .archive import BundleSource
from .errors import BUNDLE_STEPS, BundleError
from .manifest import payload_name
from .records import Record
from .verify import BundleReport, verify

__all__ = [
    "BUNDLE_STEPS",
    "BundleError",
    "BundleReport",
    "BundleSource",
    "Record",
    "payload_name",
    "verify",
]

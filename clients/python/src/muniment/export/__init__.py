"""Offline verification of export manifests (docs/spec/export-manifest.md).

`EXPORT_STEPS` maps the steps to codes. `Files` are the folder of an export, or the content of its
files by name.
"""

from .errors import EXPORT_STEPS, ExportError
from .files import Files
from .keys import PublicKey
from .report import ExportReport
from .requirements import Requirements, parse_requirements, read_requirements
from .statement import Manifest, Signer
from .stream import StreamFacts
from .verify import Inputs, verify

__all__ = [
    "EXPORT_STEPS",
    "ExportError",
    "ExportReport",
    "Files",
    "Inputs",
    "Manifest",
    "PublicKey",
    "Requirements",
    "Signer",
    "StreamFacts",
    "parse_requirements",
    "read_requirements",
    "verify",
]

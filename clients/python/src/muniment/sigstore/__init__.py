"""Offline verification of Sigstore bundles (docs/spec/sigstore-verification.md).

`SIGSTORE_STEPS` maps the codes to steps.
"""

from .errors import SIGSTORE_STEPS, CallerError, NotVerified, SigstoreError
from .verify import Identity, Signer, Trust, Verified

__all__ = [
    "SIGSTORE_STEPS",
    "CallerError",
    "Identity",
    "NotVerified",
    "Signer",
    "SigstoreError",
    "Trust",
    "Verified",
]

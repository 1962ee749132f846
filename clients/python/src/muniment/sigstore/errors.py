"""The errors of this package, each with a code (sigstore-verification.md, section 5)."""

from collections.abc import Mapping

from ..errors import MunimentError

SIGSTORE_STEPS: Mapping[str, int] = {
    code: step
    for step, codes in (
        (0, "policy-missing identity-missing key-malformed trusted-root-malformed"),
        (1, "bundle-malformed bundle-version promise-missing proof-missing"),
        (2, "material-mismatch"),
        (3, "artifact-missing statement-malformed artifact-mismatch"),
        (
            4,
            """entry-missing entry-duplicate entry-kind entry-malformed entry-signature entry-key
            entry-digest promise-signature checkpoint-invalid checkpoint-mismatch inclusion
            log-unknown""",
        ),
        (5, "log-validity time-missing timestamp-invalid"),
        (6, "certificate-malformed certificate-time certificate-untrusted"),
        (7, "sct-missing sct-invalid"),
        (8, "algorithm-unsupported signature"),
        (9, "issuer-mismatch identity-mismatch"),
        (10, "library"),
    )
    for code in codes.split()
}
"""Maps each reason code to its step. This verifier never returns `library`."""


class SigstoreError(MunimentError):
    """The base of the errors of this package."""

    @property
    def step(self) -> int:
        """The number of the step in sigstore-verification.md, section 5, that failed."""
        return SIGSTORE_STEPS[self.code]


class NotVerified(SigstoreError):  # noqa: N818 - a verdict, not a programming error
    """The bundle was refused."""


class CallerError(SigstoreError, ValueError):
    """The call was wrong, so there is no verdict on the bundle."""

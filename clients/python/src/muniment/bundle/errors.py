"""The error of this package, with its codes (bundle.md, section 5)."""

from collections.abc import Mapping

from ..errors import MunimentError

BUNDLE_STEPS: Mapping[str, int] = {
    code: step
    for step, codes in (
        (
            0,
            "policy-missing policy-malformed stream-key-malformed expectation-malformed unreadable",
        ),
        (1, "archive-malformed"),
        (2, "manifest-missing manifest-malformed manifest-version members-differ"),
        (3, "member-digest"),
        (
            4,
            """checkpoint-malformed checkpoint-origin checkpoint-signature checkpoint-unsigned
            checkpoint-quorum checkpoint-mismatch""",
        ),
        (5, "leaves-malformed tree-root tile-mismatch"),
        (
            6,
            """record-malformed record-order header-malformed header-foreign record-leaf
            stream-mismatch""",
        ),
        (7, "erasure-mismatch"),
        (
            8,
            """payload-omitted payload-missing payload-unexpected payload-mismatch
            receipt-mismatch""",
        ),
        (9, "stream-key-mismatch stream-incomplete"),
        (10, "identity-mismatch tenant-mismatch"),
        (11, "report-mismatch"),
    )
    for code in codes.split()
}
"""Maps each reason code to its step in bundle.md, section 5.

This verifier performs steps 1 to 10, and never returns `report-mismatch`.
"""


class BundleError(MunimentError, ValueError):
    """The bundle was not verified.

    `code` is a key of BUNDLE_STEPS. At step 0 the call was wrong, and there is no verdict on the
    bundle. At any other step the bundle was refused.
    """

    @property
    def step(self) -> int:
        """The number of the step in bundle.md, section 5, that failed."""
        return BUNDLE_STEPS[self.code]

    @property
    def verdict(self) -> str:
        """`refused`, or `not-checked` if the call was wrong."""
        return "refused" if self.step else "not-checked"

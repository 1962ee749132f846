"""The error of this package, with its codes (export-manifest.md, section 7)."""

from collections.abc import Mapping

from ..errors import MunimentError

EXPORT_STEPS: Mapping[int, tuple[str, ...]] = {
    step: tuple(codes.split())
    for step, codes in (
        (
            0,
            """trust-missing policy-missing policy-malformed receipt-missing stream-key-missing
            stream-key-malformed expectation-malformed requirement-malformed unreadable""",
        ),
        (1, "manifest-malformed payload-type"),
        (2, "signature-unverified"),
        (
            3,
            """statement-malformed statement-version predicate-type number-malformed number-range
            name-unsafe name-duplicate subjects-differ""",
        ),
        (4, "tenant-mismatch export-mismatch"),
        (
            5,
            """region-unknown region-contradiction claim-signer residency-missing
            storage-not-allowed storage-forbidden processing-not-included processing-excluded""",
        ),
        (6, "license-malformed license-unknown license-not-allowed"),
        (
            7,
            """privacy-missing flavor-unsupported privacy-parameters claim-signer
            epsilon-understated rho-understated spent-understated budget-exceeded budget-mismatch
            epsilon-not-allowed""",
        ),
        (8, "file-missing file-extra file-size file-digest"),
        (9, ""),
        (
            10,
            """entry-missing entry-differs evidence-missing spend-unreadable spend-differs
            spent-understated""",
        ),
    )
}
"""Maps each step of export-manifest.md, section 7, to its codes.

Step 9 also has the codes of receipts, and step 10 those of evidence bundles.
"""


class ExportError(MunimentError, ValueError):
    """The manifest was not verified.

    `code` is one of EXPORT_STEPS, or a code of a receipt at step 9, or of an evidence bundle at
    step 10. At step 0 the call was wrong, and there is no verdict on the manifest. At any other
    step the manifest was refused.
    """

    def __init__(self, code: str, message: str, step: int = 0) -> None:
        super().__init__(code, message)
        self._step = step

    @property
    def step(self) -> int:
        """The number of the step in export-manifest.md, section 7, that failed."""
        return self._step

    @property
    def verdict(self) -> str:
        """`refused`, or `not-checked` if the call was wrong."""
        return "refused" if self._step else "not-checked"

    def to_json(self) -> dict[str, object]:
        """Return the members `verdict` and `reason` of the JSON report."""
        reason = {"code": self.code, "step": self._step, "message": self.message}
        return {"verdict": self.verdict, "reason": reason}

    def __reduce__(self) -> tuple[type["ExportError"], tuple[str, str, int]]:  # type: ignore[override]
        """Support pickling."""
        return type(self), (self.code, self.message, self._step)

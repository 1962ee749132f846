"""The errors of this package, each with a code (receipt.md, section 5)."""

from collections.abc import Mapping

STEPS: Mapping[str, int] = {
    code: step
    for step, codes in (
        (
            0,
            "policy-missing policy-malformed stream-key-malformed expectation-malformed unreadable",
        ),
        (1, "receipt-malformed receipt-version proof-malformed"),
        (2, "payload-unexpected payload-erased payload-missing payload-differs"),
        (4, "header-malformed payload-mismatch"),
        (5, "link-prev link-seq"),
        (7, "checkpoint-origin checkpoint-signature checkpoint-unsigned checkpoint-quorum"),
        (8, "inclusion"),
        (9, "origin-mismatch"),
        (
            10,
            """header-erased tenant-mismatch kind-mismatch subject-mismatch predicate-type-mismatch
            control-mismatch signature-unverified signer-mismatch not-admitted link-hidden
            stream-mismatch tag-mismatch external-unexpected external-mismatch""",
        ),
    )
    for code in codes.split()
}
"""Maps each reason code to its step in receipt.md, section 4."""


class MunimentError(Exception):
    """The base of all errors of this package.

    `code` is a key of STEPS. `message` is for people and may change between versions. Text that it
    quotes from a document is escaped to printable ASCII.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def step(self) -> int:
        """The number of the step in receipt.md, section 4, that failed."""
        return STEPS[self.code]

    def __reduce__(self) -> tuple[type["MunimentError"], tuple[str, ...]]:
        """Support pickling, which test runners and process pools rely on."""
        return type(self), (self.code, self.message)


class NotVerified(MunimentError):  # noqa: N818 - a verdict, not a programming error
    """The receipt was refused."""


class CallerError(MunimentError, ValueError):
    """The call itself was wrong (step 0), so there is no verdict on the receipt."""


class PolicyError(CallerError):
    """A policy file is malformed. The message never quotes the file."""

    def __init__(self, message: str) -> None:
        super().__init__("policy-malformed", message)

    def __reduce__(self) -> tuple[type["PolicyError"], tuple[str]]:
        """Support pickling."""
        return type(self), (self.message,)


class FormatError(MunimentError, ValueError):
    """A document violates its format."""

    def __init__(self, message: str, code: str = "receipt-malformed") -> None:
        super().__init__(code, message)

    def __reduce__(self) -> tuple[type["FormatError"], tuple[str, str]]:
        """Support pickling."""
        return type(self), (self.message, self.code)

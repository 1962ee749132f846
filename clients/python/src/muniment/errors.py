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
"""Every code, and the step of receipt.md, section 4, that it belongs to."""


class MunimentError(Exception):
    """The base of all errors of this package.

    `code` is one of STEPS. `message` states the reason, in printable ASCII where it quotes a
    document. It is for people and may change.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def step(self) -> int:
        """The number of the failing step in receipt.md, section 4."""
        return STEPS[self.code]

    def __reduce__(self) -> tuple[type["MunimentError"], tuple[str, ...]]:
        """Make the error survive pickling, which test runners and process pools use."""
        return type(self), (self.code, self.message)


class NotVerified(MunimentError):  # noqa: N818 - a verdict, not a fault of the program
    """A receipt is refused."""


class CallerError(MunimentError, ValueError):
    """The call itself is wrong (step 0), so that there is no verdict about the receipt."""


class PolicyError(CallerError):
    """A policy file is malformed. The message never repeats text of the file."""

    def __init__(self, message: str) -> None:
        super().__init__("policy-malformed", message)

    def __reduce__(self) -> tuple[type["PolicyError"], tuple[str]]:
        """Make the error survive pickling."""
        return type(self), (self.message,)


class FormatError(MunimentError, ValueError):
    """A document violates its format."""

    def __init__(self, message: str, code: str = "receipt-malformed") -> None:
        super().__init__(code, message)

    def __reduce__(self) -> tuple[type["FormatError"], tuple[str, str]]:
        """Make the error survive pickling."""
        return type(self), (self.message, self.code)

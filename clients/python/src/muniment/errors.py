"""The errors of this package."""


class FormatError(ValueError):
    """A document is not in the form that the specification asks for."""


class PolicyError(ValueError):
    """A policy file cannot be used, whatever the receipt."""


class NotVerified(Exception):  # noqa: N818 - a verdict, not a fault of the program
    """A receipt did not verify.

    `step` is the number of the failing step in receipt.md, section 4 (1 to 10).
    `message` says why, in printable ASCII when it quotes the receipt.
    """

    def __init__(self, step: int, message: str) -> None:
        super().__init__(f"step {step}: {message}")
        self.step = step
        self.message = message

    def __reduce__(self) -> tuple[type["NotVerified"], tuple[int, str]]:
        """Make the error survive pickling, which test runners and process pools use."""
        return NotVerified, (self.step, self.message)

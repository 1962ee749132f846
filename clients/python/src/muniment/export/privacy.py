"""The privacy budget (export-manifest.md, section 5; section 7, step 7)."""

from collections.abc import Set

from .epsilon import PURE_DP, ZCDP, at_least, holds, loss
from .errors import ExportError
from .number import Decimal
from .requirements import Epsilon
from .statement import Privacy, Signer

_STEP = 7


def _refuse(code: str, message: str) -> ExportError:
    return ExportError(code, message, _STEP)


def check_privacy(privacy: Privacy | None, signers: Set[Signer], required: Epsilon | None) -> None:
    """Perform step 7. Raises ExportError."""
    if privacy is None:
        if required is not None:
            raise _refuse("privacy-missing", "the manifest states no privacy loss")
        return
    if privacy.flavor not in (PURE_DP, ZCDP):
        raise _refuse("flavor-unsupported", f"only {PURE_DP} and {ZCDP} are supported")
    if not _fits(privacy):
        raise _refuse("privacy-parameters", f"the members are not those of {privacy.flavor}")
    if privacy.sensitivity_by not in signers or privacy.sampler_by not in signers:
        reason = "the sensitivity or the sampler is asserted by somebody who has not signed"
        raise _refuse("claim-signer", reason)
    _check_sums(privacy)
    if required is None:
        return
    if required.budget not in (None, privacy.budget):
        raise _refuse("budget-mismatch", "the export is charged to another budget")
    if not _is_within(privacy, required.epsilon, required.delta):
        raise _refuse("epsilon-not-allowed", "more is spent of the budget than the requirement")


def _fits(privacy: Privacy) -> bool:
    zcdp = (privacy.delta, privacy.rho, privacy.budget_delta, privacy.spent_rho)
    if privacy.flavor == ZCDP:
        return None not in zcdp and privacy.spent_epsilon is None
    laplace = all(mechanism.name == "Laplace" for mechanism in privacy.mechanisms)
    return zcdp == (None,) * 4 and privacy.spent_epsilon is not None and laplace


def amount(privacy: Privacy) -> Decimal:
    """Return what the export is charged: epsilon, or rho."""
    return privacy.rho if privacy.rho is not None else privacy.epsilon


def spent(privacy: Privacy) -> Decimal:
    """Return what all exports up to this one were charged, by the manifest: epsilon, or rho."""
    found = privacy.spent_rho if privacy.spent_rho is not None else privacy.spent_epsilon
    assert found is not None  # step 7.3
    return found


def _check_sums(privacy: Privacy) -> None:
    """Perform steps 7.5 to 7.7."""
    if not at_least(amount(privacy), loss(privacy.flavor, privacy.mechanisms)):
        code = "rho-understated" if privacy.flavor == ZCDP else "epsilon-understated"
        raise _refuse(code, "the stated loss is less than that of the mechanisms")
    if (
        privacy.delta is not None
        and privacy.rho is not None
        and not holds(privacy.epsilon, privacy.delta, privacy.rho)
    ):
        raise _refuse("epsilon-understated", "epsilon is less than rho implies")
    if spent(privacy).units < amount(privacy).units:
        raise _refuse("spent-understated", "less is spent of the budget than by this export")
    if not _is_within(privacy, privacy.budget_epsilon, privacy.budget_delta):
        raise _refuse("budget-exceeded", "more is spent of the budget than its limit")


def _is_within(privacy: Privacy, epsilon: Decimal, delta: Decimal | None) -> bool:
    """Report whether what is spent is within a limit. `delta` is not None with ZCDP."""
    if privacy.spent_rho is not None and delta is not None:
        return holds(epsilon, delta, privacy.spent_rho)
    return spent(privacy).units <= epsilon.units

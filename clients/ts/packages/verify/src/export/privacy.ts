/** The ε budget (export-manifest.md, section 5, and section 7, step 7). */

import type { Signer } from '../header.js';
import { quote } from '../json.js';
import { PURE_DP, ZCDP } from '../spends.js';
import { atLeast, holds, loss } from './epsilon.js';
import { Failure } from './errors.js';
import type { Decimal } from '../decimal.js';
import type { Requirements } from './requirements.js';
import type { Privacy } from './statement.js';

/** What an export is charged, and what is spent with it. */
export interface Charge {
  /**
   * The name of the amounts: ε with `Pure DP`, ρ with `Zero-concentrated DP`.
   */
  name: 'epsilon' | 'rho';
  amount: Decimal;
  spent: Decimal;
  /** Reports whether what is spent is within a limit. */
  isWithin: (epsilon: Decimal, delta: Decimal | undefined) => boolean;
}

/** Performs steps 7.2 and 7.3. */
export function chargeOf(privacy: Privacy): Charge {
  const { flavor, epsilon, delta, rho, budgetDelta, spentEpsilon, spentRho, mechanisms } = privacy;
  if (flavor !== PURE_DP && flavor !== ZCDP)
    throw new Failure(
      'flavor-unsupported',
      `the flavor ${quote(flavor)} is not supported: only ${PURE_DP} and ${ZCDP} are`,
    );
  if (flavor === ZCDP) {
    if (delta !== undefined && rho !== undefined && budgetDelta !== undefined)
      if (spentRho !== undefined && spentEpsilon === undefined)
        return {
          name: 'rho',
          amount: rho,
          spent: spentRho,
          isWithin: (limit, at) => at !== undefined && holds(limit, at, spentRho),
        };
  } else if ([delta, rho, budgetDelta, spentRho].every((one) => one === undefined)) {
    if (spentEpsilon !== undefined && mechanisms.every(({ name }) => name === 'Laplace'))
      return {
        name: 'epsilon',
        amount: epsilon,
        spent: spentEpsilon,
        isWithin: (limit) => spentEpsilon.units <= limit.units,
      };
  }
  throw new Failure('privacy-parameters', `the parameters are not those of ${flavor}`);
}

/** Performs step 7. */
export function checkPrivacy(
  privacy: Privacy | undefined,
  required: Requirements['epsilon'],
  isSigner: (signer: Signer) => boolean,
): void {
  if (privacy === undefined) {
    if (required !== undefined) throw new Failure('privacy-missing', 'the manifest states no privacy loss');
    return;
  }
  const charge = chargeOf(privacy);
  for (const by of [privacy.sensitivityBy, privacy.samplerBy])
    if (!isSigner(by))
      throw new Failure('claim-signer', 'the sensitivity or the sampler is asserted by somebody who has not signed');
  checkLoss(privacy, charge);
  const { budget, budgetEpsilon, budgetDelta } = privacy;
  if (charge.spent.units < charge.amount.units)
    throw new Failure('spent-understated', `less is spent of budget ${budget} than by this export alone`);
  if (!charge.isWithin(budgetEpsilon, budgetDelta))
    throw new Failure('budget-exceeded', `${charge.spent.text} is spent of budget ${budget}, more than its limit`);
  if (required === undefined) return;
  if (required.budget !== undefined && required.budget !== budget)
    throw new Failure('budget-mismatch', `the budget is ${budget}, expected ${required.budget}`);
  if (!charge.isWithin(required.epsilon, required.delta))
    throw new Failure(
      'epsilon-not-allowed',
      `${charge.spent.text} is spent of budget ${budget}, more than is required`,
    );
}

/** Performs step 7.5. */
function checkLoss({ flavor, mechanisms, epsilon, delta, rho }: Privacy, { name, amount }: Charge): void {
  if (!atLeast(amount, loss(flavor, mechanisms)))
    throw new Failure(`${name}-understated`, `${name} ${amount.text} is less than the loss of the mechanisms`);
  if (delta !== undefined && rho !== undefined && !holds(epsilon, delta, rho))
    throw new Failure('epsilon-understated', `epsilon ${epsilon.text} at delta ${delta.text} is less than rho implies`);
}

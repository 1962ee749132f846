/** Privacy losses in integers (export-manifest.md, section 5). */

import { ZCDP } from '../spends.js';
import { T, type Decimal, type Rational } from '../decimal.js';

const S = 10n ** 40n;
/** S·ln 2, rounded up. */
const ln2 = 6931471805599453094172321214581765680756n;
/** The number of terms of the series of a logarithm. */
const terms = 40;

/** Returns a/b, rounded up, for a ≥ 0 and b > 0. */
function ceil(a: bigint, b: bigint): bigint {
  return (a + b - 1n) / b;
}

/** Returns ℓ(D), an upper bound of S·ln(T/D), for 0 < D < T. */
export function logOfInverse(d: bigint): bigint {
  let k = 0n;
  let m = d;
  while (2n * m <= T) {
    m *= 2n;
    k++;
  }
  const z = ceil(S * (T - m), T + m);
  const y = ceil(z * z, S);
  let t = z;
  let s = 0n;
  for (let i = 0; i < terms; i++) {
    s += ceil(t, BigInt(2 * i + 1));
    t = ceil(t * y, S);
  }
  return k * ln2 + 2n * (s + t);
}

/**
 * Reports whether ρ-zCDP implies (ε, δ)-differential privacy by
 * ε ≥ ρ + 2√(ρ·ln(1/δ)), for 0 < δ < 1.
 */
export function holds(epsilon: Decimal, delta: Decimal, rho: Decimal): boolean {
  const rest = epsilon.units - rho.units;
  return rest >= 0n && rest * rest * S >= 4n * rho.units * T * logOfInverse(delta.units);
}

/** Noise that answered a number of queries. */
export interface Mechanism {
  name: 'Gaussian' | 'Laplace';
  sensitivity: Rational;
  /** σ of Gaussian, b of Laplace. Not 0. */
  scale: Rational;
  count: number;
}

/**
 * Returns the loss of the mechanisms: ε with `Pure DP`, ρ with
 * `Zero-concentrated DP`.
 */
export function loss(flavor: string, mechanisms: readonly Mechanism[]): Rational {
  let sum: Rational = { num: 0n, den: 1n };
  for (const { sensitivity, scale, count } of mechanisms) {
    let num = sensitivity.num * scale.den;
    let den = sensitivity.den * scale.num;
    if (flavor === ZCDP) {
      num *= num;
      den *= 2n * den;
    }
    sum = reduced(sum.num * den + BigInt(count) * num * sum.den, sum.den * den);
  }
  return sum;
}

/** Returns a fraction in lowest terms, so that sums of many stay short. */
function reduced(num: bigint, den: bigint): Rational {
  let [a, b] = [num, den];
  while (b !== 0n) [a, b] = [b, a % b];
  return { num: num / a, den: den / a };
}

/** Reports whether a decimal is at least a rational. */
export function atLeast({ units }: Decimal, { num, den }: Rational): boolean {
  return units * den >= num * T;
}

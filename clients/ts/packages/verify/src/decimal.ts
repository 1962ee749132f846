/** Decimals and rationals (export-manifest.md, section 2). */

/** The number of digits after the point. */
const fraction = 30;

/** T of export-manifest.md, section 5. */
export const T = 10n ** BigInt(fraction);

/** A decimal number. */
export interface Decimal {
  /** As it was written. */
  text: string;
  /** In units of 1/T. */
  units: bigint;
}

/** A rational number. */
export interface Rational {
  num: bigint;
  den: bigint;
}

const decimal = /^(0|[1-9][0-9]{0,17})(?:\.([0-9]{1,30}))?$/;
const ratio = /^(0|[1-9][0-9]{0,17})\/([1-9][0-9]{0,17})$/;

/** Parses a decimal. Returns undefined if it is malformed. */
export function parseDecimal(text: string): Decimal | undefined {
  const [, whole, digits = ''] = decimal.exec(text) ?? [];
  return whole === undefined ? undefined : { text, units: BigInt(whole + digits.padEnd(fraction, '0')) };
}

/** Parses a rational. Returns undefined if it is malformed. */
export function parseRational(text: string): Rational | undefined {
  const [, num, den] = ratio.exec(text) ?? [];
  if (num !== undefined && den !== undefined) return { num: BigInt(num), den: BigInt(den) };
  const whole = parseDecimal(text);
  return whole === undefined ? undefined : { num: whole.units, den: T };
}

/** Returns the decimal of a number of units of 1/T. */
export function formatUnits(units: bigint): string {
  const digits = units.toString().padStart(fraction + 1, '0');
  const at = digits.length - fraction;
  return `${digits.slice(0, at)}.${digits.slice(at)}`.replace(/\.?0*$/, '');
}

/** Reports whether 0 < δ < 1. */
export function isDelta({ units }: Decimal): boolean {
  return units > 0n && units < T;
}

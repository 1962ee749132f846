/**
 * The length of seeded campaigns: a sample in make test, in full in make soak
 * (SEED=…).
 */

const soak = process.env['MUNIMENT_SOAK'];
const seed = Number(soak ?? '0');
if (!Number.isSafeInteger(seed) || seed < 0) throw new Error('MUNIMENT_SOAK must be a decimal seed');

/**
 * Prints how much of a campaign runs, and returns which of its cases do: one in
 * `every`, from a start set by the seed.
 */
export function sample(what: string, every: number): (i: number) => boolean {
  const step = soak === undefined ? every : 1;
  console.log(`1 in ${String(step)} ${what} of seed ${String(seed)}; in full: all`);
  return (i) => i % step === seed % step;
}

/** Prints how long a campaign is, and returns its seed and its length. */
export function campaign(what: string, taken: number, full: number): { seed: number; length: number } {
  const length = soak === undefined ? taken : full;
  console.log(`${String(length)} ${what} of seed ${String(seed)}; in full: ${String(full)}`);
  return { seed, length };
}

/**
 * Receipts with any byte changed: each fails to verify, or proves the same
 * statement (receipt.md, section 4).
 */

import { describe, expect, test } from 'vitest';
import { NotVerifiedError, verify } from '../src/index.js';
import { sample } from './campaign.js';
import { asVector, optionsOf, policiesOf, receiptCase, receiptOf } from './vectors.js';

const taken = sample('changed bytes', 16);

const flips = (mask: number) => (receipt: Uint8Array, at: number) => {
  const mutant = receipt.slice();
  mutant[at] = (mutant[at] ?? 0) ^ mask;
  return mutant;
};

const without = (receipt: Uint8Array, at: number) =>
  Uint8Array.from([...receipt.subarray(0, at), ...receipt.subarray(at + 1)]);

const doubled = (receipt: Uint8Array, at: number) =>
  Uint8Array.from([...receipt.subarray(0, at), ...receipt.subarray(at)].flatMap((b, i) => (i === at ? [b, b] : [b])));

const bits = Array.from({ length: 8 }, (_, i) => flips(1 << i));

describe.each([
  { name: 'full', mutations: [...bits, without, doubled] },
  { name: 'full, header only', mutations: [flips(0x01)] },
  { name: 'detached with its payload', mutations: [flips(0x01), flips(0x20)] },
  { name: 'shared', mutations: [flips(0x01), flips(0x20)] },
  { name: 'payload-erased, header only', mutations: [flips(0x02)] },
  { name: 'header-erased, header only', mutations: [flips(0x01), flips(0x20)] },
  { name: 'all expectations met', mutations: [flips(0x01)] },
  { name: 'witnessed, quorum asks for it', mutations: [flips(0x01), flips(0x20)] },
  { name: 'post-quantum, witnessed', mutations: [flips(0x01)] },
])('$name', ({ name, mutations }) => {
  const c = receiptCase(name);
  const receipt = receiptOf(c);
  const policies = policiesOf(c);
  const options = optionsOf(c);

  test.each(mutations.map((mutate, i) => [i + 1, mutate] as const))('change %d', (i, mutate) => {
    let [cases, same] = [0, 0];
    for (let at = 0; at < receipt.length; at++) {
      if (!taken(at + i)) continue;
      cases++;
      let statement;
      try {
        statement = verify(mutate(receipt, at), policies, options);
      } catch (error) {
        if (!(error instanceof NotVerifiedError)) throw new Error(`byte ${at}: not a verdict`, { cause: error });
        continue;
      }
      expect(asVector(statement), `byte ${at}`).toEqual(c.report);
      same++;
    }
    // Only white space, escapes and lines of unknown keys can change freely.
    expect(same).toBeLessThan(cases / 4);
  });
});

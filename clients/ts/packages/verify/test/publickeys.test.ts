/** Public keys: the vectors, by each of the functions that read keys. */

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { PublicKey } from '../src/export/index.js';
import { parseConfiguration } from '../src/index.js';
import { Trust } from '../src/sigstore/index.js';
import { decode } from './judge.js';

interface KeyVector {
  name: string;
  keyBase64: string;
  verdict: 'accept' | 'refuse';
  keyId?: string;
}

const vectors = JSON.parse(
  readFileSync(new URL('../../../../../docs/spec/vectors/keys.json', import.meta.url), 'utf8'),
) as KeyVector[];
const publicGood = Uint8Array.from(
  readFileSync(new URL('../../../../../verifiers/sigstore/public-good.json', import.meta.url)),
);

test.each(vectors)('$name', async ({ keyBase64, verdict, keyId }) => {
  const key = decode(keyBase64);
  const parsed = PublicKey.parse(key);
  const trust = Trust.create({ roots: [publicGood], keys: [key] });
  const configuration = parseConfiguration('{"trustedKeys":["key"]}', new Map([['key', key]]));
  if (verdict === 'accept') {
    expect((await parsed).id).toBe(keyId);
    await trust;
    expect((await configuration).parts.keys.map(({ id }) => id)).toEqual([keyId]);
    return;
  }
  await expect(parsed).rejects.toThrow();
  await expect(trust).rejects.toMatchObject({ code: 'key-malformed' });
  await expect(configuration).rejects.toMatchObject({ code: 'key-malformed' });
});

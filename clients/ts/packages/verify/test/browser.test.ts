/**
 * The library as one script, in a realm with only the language, TextEncoder and
 * TextDecoder.
 */

import { runInNewContext } from 'node:vm';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import { expect, test } from 'vitest';
import { receiptCase, receipts } from './vectors.js';

test('verifies without Node', async () => {
  const bundle = await build({
    configFile: false,
    logLevel: 'silent',
    build: {
      write: false,
      minify: false,
      lib: { entry: fileURLToPath(new URL('../src/index.ts', import.meta.url)), name: 'muniment', formats: ['iife'] },
    },
  });
  const [output] = Array.isArray(bundle) ? bundle : [];
  const script = output?.output[0].code ?? '';
  expect(script).not.toMatch(/require\(|from ["']node:|__vite-browser-external/);
  const c = receiptCase('post-quantum, witnessed');
  const realm = {
    TextEncoder,
    TextDecoder,
    receipt: Uint8Array.from(Buffer.from(c.receiptBase64, 'base64')),
    policy: receipts.policies['pq-witnessed'],
  };
  const signers = runInNewContext(
    `${script}; JSON.stringify(muniment.verify(new Uint8Array(receipt), [muniment.parsePolicy('p', policy)]).signers)`,
    realm,
  ) as string;
  expect(c.report).toMatchObject({ proven: { signers: JSON.parse(signers) as string[] } });
});

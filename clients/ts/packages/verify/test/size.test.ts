/**
 * The sizes of scripts for browsers, minified and compressed. The texts of the
 * licences of dependencies are in a file of their own.
 */

import { build } from 'esbuild';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';

interface Bundle {
  size: number;
  modules: string[];
}

/** Bundles a script that imports from the built package. */
async function bundle(contents: string): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir: fileURLToPath(new URL('../../client', import.meta.url)), loader: 'js' },
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    write: false,
    metafile: true,
    legalComments: 'external',
    outfile: 'verify.js',
    logLevel: 'error',
  });
  const [[, output] = []] = Object.entries(metafile.outputs).filter(([name]) => name.endsWith('.js'));
  const inputs = Object.entries(output?.inputs ?? {}).filter(([, { bytesInOutput }]) => bytesInOutput > 0);
  return {
    size: gzipSync(outputFiles.find(({ path }) => path.endsWith('.js'))?.contents ?? '').length,
    modules: inputs.map(([path]) => path),
  };
}

const kB = 1000;

test.each<[string, number, string]>([
  ['a proof', 3 * kB, "export { parseProof } from '@muniment/verify';"],
  ['receipts', 40 * kB, "export { verify, parsePolicy, reportOf } from '@muniment/verify';"],
  [
    'all without Sigstore',
    60 * kB,
    `export { verify, parsePolicy, parseStreamKey, reportOf } from '@muniment/verify';
     export * from '@muniment/verify/export';
     export * from '@muniment/verify/bundle';`,
  ],
  ['Sigstore', 60 * kB, "export * from '@muniment/verify/sigstore';"],
  ['all', 120 * kB, "export * from '@muniment/verify'; export * from '@muniment/verify/sigstore';"],
])('%s: at most %d bytes', async (name, limit, script) => {
  const { size, modules } = await bundle(script);
  console.log(`${name}: ${size} bytes compressed, limit ${limit}`);
  expect(size).toBeGreaterThan(500);
  expect(size).toBeLessThanOrEqual(limit);
  const isWithout = name !== 'Sigstore' && name !== 'all';
  if (isWithout) expect(modules.filter((path) => /peculiar|asn1js/.test(path))).toEqual([]);
});

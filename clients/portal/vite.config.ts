import react from '@vitejs/plugin-react';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

const packages = fileURLToPath(new URL('../ts/packages', import.meta.url));

/**
 * The nonce of a page. The server replaces it in index.html for each answer.
 * Vite adds it to scripts, styles, and a meta element that the loader of later
 * parts and react-aria read.
 */
const NONCE = '__CSP_NONCE__';

export default defineConfig({
  base: '/portal/',
  plugins: [react()],
  html: { cspNonce: NONCE },
  resolve: {
    alias: [
      { find: /^@muniment\/verify$/, replacement: `${packages}/verify/src/index.ts` },
      { find: /^@muniment\/verify\/(commitment|proof|report\/sections)$/, replacement: `${packages}/verify/src/$1.ts` },
      { find: /^@muniment\/verify\/(.*)$/, replacement: `${packages}/verify/src/$1/index.ts` },
    ],
    dedupe: ['valibot'],
  },
  build: {
    target: ['chrome123', 'firefox121', 'safari17.5'], // the first with light-dark()
    assetsInlineLimit: 0,
    manifest: 'parts.json', // for test/size.test.ts
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  worker: { format: 'es' },
});

import { defineConfig } from 'vitest/config';

/** `E2E=screenshots` makes pictures instead. */
const include = process.env['E2E'] === 'screenshots' ? ['e2e/*.shots.ts'] : ['e2e/*.test.ts'];

export default defineConfig({
  test: { include, testTimeout: 600_000, hookTimeout: 600_000, maxWorkers: 2 },
});

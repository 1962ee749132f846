import { defineConfig } from 'vitest/config';

export default defineConfig({
  // The tests verify thousands of signatures, and CI machines are loaded. They
  // assert verdicts, not times.
  test: { include: ['test/**/*.test.ts'], testTimeout: 600_000, hookTimeout: 600_000, slowTestThreshold: 60_000 },
});

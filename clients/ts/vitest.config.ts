import { defineConfig } from 'vitest/config';

export default defineConfig({
  // Thousands of signatures, on machines with other work to do: what is tested is the verdict, not the time.
  test: { include: ['test/**/*.test.ts'], testTimeout: 600_000, hookTimeout: 600_000, slowTestThreshold: 60_000 },
});

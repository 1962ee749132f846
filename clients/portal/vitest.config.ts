import { defineConfig, mergeConfig } from 'vitest/config';
import portal from './vite.config.js';

export default mergeConfig(
  portal,
  defineConfig({
    test: { include: ['src/**/*.test.{ts,tsx}', 'test/*.test.ts'], testTimeout: 600_000, hookTimeout: 600_000 },
  }),
);

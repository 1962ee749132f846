import { defineConfig } from 'vitest/config';

// .ci/conformance runs these cases, which are not part of the repository.
export default defineConfig({ test: { include: ['test/conformance.ts'], testTimeout: 600_000 } });

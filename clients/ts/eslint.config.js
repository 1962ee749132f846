import { strict } from './eslint.shared.js';

export default [
  { ignores: ['**/dist', '**/node_modules', '**/gen'] },
  ...strict(import.meta.dirname, [
    'eslint.config.js',
    'eslint.shared.js',
    'packages/adaptive-cache/scripts/bench.js',
    'packages/adaptive-cache/scripts/server.js',
    'packages/adaptive-cache/test/apolloserver.js',
    'packages/verify/scripts/publicgood.js',
  ]),
  {
    // The libraries run in browsers.
    files: ['packages/*/src/**/*.ts'],
    ignores: ['packages/verify/src/{cli,mutants}.ts', 'packages/verify/src/{command,node}/*.ts'],
    rules: {
      'no-restricted-imports': ['error', { patterns: ['node:*'] }],
      'no-restricted-globals': ['error', 'Buffer', 'process', 'global', 'require'],
    },
  },
  {
    // The verifier uses no network.
    files: ['packages/verify/src/**/*.ts'],
    rules: { 'no-restricted-globals': ['error', 'Buffer', 'process', 'global', 'require', 'fetch'] },
  },
  {
    files: ['packages/verify/src/{cli,mutants}.ts', 'packages/verify/src/{command,node}/*.ts'],
    rules: { 'no-restricted-globals': 'off' },
  },
];

import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['**/dist', '**/node_modules', '**/gen'] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        projectService: { allowDefaultProject: ['eslint.config.js', 'packages/verify/scripts/publicgood.js'] },
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: { '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }] },
  },
  { files: ['eslint.config.js', 'packages/*/scripts/*.js'], ...tseslint.configs.disableTypeChecked },
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
);

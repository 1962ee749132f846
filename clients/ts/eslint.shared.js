import tseslint from 'typescript-eslint';

/** The rules of all TypeScript. The loose files belong to no project. */
export const strict = (root, loose) => [
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: { allowDefaultProject: loose }, tsconfigRootDir: root } },
    rules: { '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }] },
  },
  { files: loose, ...tseslint.configs.disableTypeChecked },
];

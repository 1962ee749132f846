import hooks from 'eslint-plugin-react-hooks';
import { strict } from '../ts/eslint.shared.js';

export default [
  { ignores: ['dist', 'node_modules', 'src/gen'] },
  ...strict(import.meta.dirname, ['eslint.config.js']),
  hooks.configs.flat.recommended,
  {
    // The portal runs in browsers, and shows what strangers have written.
    files: ['src/**/*.{ts,tsx}'],
    ignores: ['src/**/*.test.{ts,tsx}'],
    rules: {
      'no-restricted-imports': ['error', { patterns: ['node:*'] }],
      'no-restricted-globals': ['error', 'Buffer', 'process', 'global', 'require'],
      'no-restricted-syntax': [
        'error',
        { selector: 'JSXAttribute[name.name="dangerouslySetInnerHTML"]', message: 'evidence is hostile: render text' },
        {
          selector: 'MemberExpression[property.name=/^(inner|outer)HTML$/]',
          message: 'evidence is hostile: render text',
        },
      ],
    },
  },
];

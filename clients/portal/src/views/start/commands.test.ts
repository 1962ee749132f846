import { expect, test } from 'vitest';
import { quoted, stepsFor } from './commands';

test.each([
  ['acme', 'acme'],
  ['https://ledger.example.com:7480', 'https://ledger.example.com:7480'],
  ["a'b $(id)", "'a'\\''b $(id)'"],
  ['', "''"],
])('quoted(%j)', (word, shell) => {
  expect(quoted(word)).toBe(shell);
});

test('commands are filled in', () => {
  const place = { server: 'https://l.example', tenant: 'acme', origin: 'l.example', logKey: 'l.example+00000000+AQ==' };
  const all = stepsFor(place)
    .map(({ commands }) => commands)
    .join('\n');
  expect(all).toContain('MUNIMENT_SERVER=https://l.example\n');
  expect(all).toContain("'%s\\n' 'log l.example+00000000+AQ==' 'quorum none' > policy");
  expect(all).toContain('--tenant acme');
});

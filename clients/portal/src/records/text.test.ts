import { expect, test } from 'vitest';
import { count, digestOf, listed, visible } from './text';

test.each([
  ['gateway 1.7.0 – ümläut 漢字 🚢', 'gateway 1.7.0 – ümläut 漢字 🚢'],
  ['two\nlines\tand a tab', 'two\nlines\tand a tab'],
  ['photo\u202egpj.exe', 'photo\\u{202e}gpj.exe'],
  ['a\u0000b\u001b[31m', 'a\\u{0}b\\u{1b}[31m'],
  ['zero\u200bwidth\ufeff', 'zero\\u{200b}width\\u{feff}'],
  ['line\u2028end', 'line\\u{2028}end'],
  ['no\u00a0break\u3164', 'no\\u{a0}break\\u{3164}'],
  ['\ud800', '\\u{d800}'],
  ['<img src=x onerror=alert(1)>', '<img src=x onerror=alert(1)>'],
])('shows %j as %j', (text, shown) => {
  expect(visible(text)).toBe(shown);
});

test('counts and lists', () => {
  expect([count(1, 'entry', 'entries'), count(2n, 'entry', 'entries'), count(0, 'artifact')]).toEqual([
    '1 entry',
    '2 entries',
    '0 artifacts',
  ]);
  expect([listed([]), listed(['a']), listed(['a', 'b']), listed(['a', 'b', 'c'], 'or')]).toEqual([
    '',
    'a',
    'a and b',
    'a, b or c',
  ]);
});

test('prefers SHA-256', () => {
  expect(digestOf({ sha512: 'b', sha256: 'a' })).toBe('sha256:a');
  expect(digestOf({ sha512: 'b', gitCommit: 'c' })).toBe('gitCommit:c');
  expect(digestOf({})).toBe('');
});

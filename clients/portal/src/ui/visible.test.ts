import { expect, test } from 'vitest';
import { visible } from './visible';

const shown = (text: string, lines = false) =>
  visible(text, lines)
    .map(({ text, isHidden }) => (isHidden ? `[${text}]` : text))
    .join('');

test.each([
  ['plain ÄÖ 漢字 😀', 'plain ÄÖ 漢字 😀'],
  ['user\u202egnp.exe', 'user[RLO]gnp.exe'],
  ['a\u2066b\u2069', 'a[LRI]b[PDI]'],
  ['zero\u200bwidth\u00ad', 'zero[ZWSP]width[SHY]'],
  ['\u0000\u001b[31m', '[U+0000][U+001B][31m'],
  ['tag \u{e0041}\u{e007f}', 'tag [U+E0041][U+E007F]'],
  ['\ue000 \ufffe \ud800', '[U+E000] [U+FFFE] [U+D800]'],
  ['line\nnext', 'line[LF]next'],
  ['\u3164filler\u2800', '[U+3164]filler\u2800'],
])('%j', (text, expected) => {
  expect(shown(text)).toBe(expected);
});

test('lines can stay', () => {
  expect(shown('a\n\tb\r', true)).toBe('a\n\tb[CR]');
});

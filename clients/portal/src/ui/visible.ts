/** Texts whose invisible characters can be seen. */

/** A piece of a text: as it is, or the name of an invisible character. */
export interface Piece {
  text: string;
  isHidden: boolean;
}

/**
 * Characters that are invisible, reorder the text around them, or have no
 * meaning: controls, formats (such as bidirectional overrides), surrogates,
 * private use, unassigned, separators other than the space, variation selectors
 * and fillers. Lines and tabs stay as they are where `lines` is set.
 */
const hidden =
  /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\u115f\u1160\u17b4\u17b5\u3164\uffa0\ufe00-\ufe0f\u{e0100}-\u{e01ef}]/u;

/** Tells whether a character of a text, a code point, is hidden from people. */
export const isHidden = (character: string, lines = false): boolean =>
  hidden.test(character) && !(lines && (character === '\n' || character === '\t'));

/** Splits a text into what is seen as it is and the names of what is not. */
export function visible(text: string, lines = false): Piece[] {
  const pieces: Piece[] = [];
  let plain = '';
  const flush = () => {
    if (plain !== '') pieces.push({ text: plain, isHidden: false });
    plain = '';
  };
  for (const character of text) {
    if (!isHidden(character, lines)) {
      plain += character;
      continue;
    }
    flush();
    pieces.push({ text: nameOf(character), isHidden: true });
  }
  flush();
  return pieces;
}

const names = new Map([
  ['\u202a', 'LRE'],
  ['\u202b', 'RLE'],
  ['\u202c', 'PDF'],
  ['\u202d', 'LRO'],
  ['\u202e', 'RLO'],
  ['\u2066', 'LRI'],
  ['\u2067', 'RLI'],
  ['\u2068', 'FSI'],
  ['\u2069', 'PDI'],
  ['\u200e', 'LRM'],
  ['\u200f', 'RLM'],
  ['\u200b', 'ZWSP'],
  ['\u200c', 'ZWNJ'],
  ['\u200d', 'ZWJ'],
  ['\ufeff', 'BOM'],
  ['\u00a0', 'NBSP'],
  ['\u00ad', 'SHY'],
  ['\n', 'LF'],
  ['\r', 'CR'],
  ['\t', 'TAB'],
]);

const nameOf = (character: string): string =>
  names.get(character) ?? `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`;

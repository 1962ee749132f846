/** The encodings of text files that are not plain UTF-8. */

/** The byte order marks. That of UTF-16 is a prefix of one of UTF-32. */
const marks: readonly (readonly [number[], string])[] = [
  [[0xef, 0xbb, 0xbf], 'UTF-8 with a byte order mark'],
  [[0xff, 0xfe, 0, 0], 'UTF-32'],
  [[0, 0, 0xfe, 0xff], 'UTF-32'],
  [[0xff, 0xfe], 'UTF-16'],
  [[0xfe, 0xff], 'UTF-16'],
];

/** The width of a character, and where its ASCII byte is. */
const forms = [
  [4, 0, 'UTF-32'],
  [4, 3, 'UTF-32'],
  [2, 0, 'UTF-16'],
  [2, 1, 'UTF-16'],
] as const;

/**
 * Returns the cause and remedy for a text that a reader refused, or undefined
 * if its encoding is not the cause.
 */
export function explainEncoding(refused: Uint8Array): string | undefined {
  const encoding = encodingOf(refused);
  return encoding === undefined ? undefined : `it is encoded in ${encoding}: save it as UTF-8 without BOM`;
}

function encodingOf(text: Uint8Array): string | undefined {
  for (const [mark, encoding] of marks) if (mark.every((byte, i) => text[i] === byte)) return encoding;
  for (const [width, at, encoding] of forms) {
    const unit = text.subarray(0, width);
    const padded =
      unit.length === width && unit.every((byte, i) => (i === at ? byte > 0x20 && byte < 0x7f : byte === 0));
    if (padded) return encoding;
  }
  return undefined;
}

import { expect, test } from 'vitest';
import { hexLines, isText, textOf } from './raw';

const bytes = (text: string) => new TextEncoder().encode(text);

test('pages of text lose no character, wherever they are cut', () => {
  const text = 'aé漢😀'.repeat(20);
  const all = bytes(text);
  for (let size = 4; size < 24; size++) {
    let joined = '';
    for (let at = 0; at < all.length; at += size) joined += textOf(all.subarray(at, at + size + 3), size, at === 0);
    expect(joined, `pages of ${size} bytes`).toBe(text);
  }
});

test('what is text', () => {
  expect(isText(bytes('{"a":1}\n\té'))).toBe(true);
  expect(isText(bytes('é').subarray(0, 1))).toBe(true); // it was cut
  expect(isText(Uint8Array.of(0x50, 0x4b, 3, 4))).toBe(false);
  expect(isText(Uint8Array.of(0xff, 0xfe, 0x41))).toBe(false);
});

test('hexadecimal digits', () => {
  expect(hexLines(bytes('0123456789abcdefXY\n'), 4096)).toEqual([
    '00001000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  0123456789abcdef',
    '00001010  58 59 0a                                          XY·',
  ]);
});

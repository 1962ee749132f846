/** Bytes as text and as hexadecimal digits. */

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** Reports whether a byte continues a character of UTF-8. */
const continues = (byte: number | undefined): boolean => byte !== undefined && (byte & 0xc0) === 0x80;

/**
 * Decodes a page of UTF-8. The characters that begin on the page are on it.
 *
 * @param bytes the page and up to three bytes after it
 */
export function textOf(bytes: Uint8Array, pageSize: number, isFirst: boolean): string {
  let from = 0;
  while (!isFirst && from < 3 && continues(bytes[from])) from++;
  let to = Math.min(pageSize, bytes.length);
  while (to < bytes.length && to < pageSize + 3 && continues(bytes[to])) to++;
  return decoder.decode(bytes.subarray(from, to));
}

/** Reports whether bytes look like text: UTF-8 without controls other than line breaks and tabs. */
export function isText(bytes: Uint8Array): boolean {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
    return !/[\x00-\x08\x0e-\x1f\x7f]/.test(text);
  } catch {
    return false;
  }
}

/** Returns lines of 16 bytes: their offset, their digits, and their characters of ASCII. */
export function hexLines(bytes: Uint8Array, offset: number): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const line = bytes.subarray(at, at + 16);
    const digits = Array.from(line, (byte) => byte.toString(16).padStart(2, '0'));
    const left = digits.slice(0, 8).join(' ').padEnd(23);
    const right = digits.slice(8).join(' ').padEnd(23);
    const characters = Array.from(line, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '·')).join(
      '',
    );
    lines.push(`${(offset + at).toString(16).padStart(8, '0')}  ${left}  ${right}  ${characters}`);
  }
  return lines;
}

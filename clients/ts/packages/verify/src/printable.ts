/** Escaping of untrusted text for terminals and JSON. */

/**
 * Characters that can garble or spoof terminal output: controls, format
 * characters, line separators, surrogates.
 */
const unsafe = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** Escapes unsafe characters, as JSON does (receipt.md, section 5). */
export function printable(text: string): string {
  return text.replace(unsafe, (c) =>
    Array.from({ length: c.length }, (_, i) => `\\u${c.charCodeAt(i).toString(16).padStart(4, '0')}`).join(''),
  );
}

/** Encodes a value as JSON on one line, with unsafe characters escaped. */
export function printableJson(value: unknown): string {
  return printable(JSON.stringify(value));
}

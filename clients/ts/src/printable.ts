/** Untrusted text for terminals and JSON. */

/** Control and format characters, line separators, lone surrogates: what moves the cursor or turns the writing around. */
const unsafe = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** The text for a terminal, with every character escaped that could disturb or deceive. */
export function printable(text: string): string {
  return text.replace(unsafe, (c) => `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`);
}

/** The JSON of a value, in one line and with the same characters escaped, so that it can be shown on a terminal. */
export function printableJson(value: unknown): string {
  return JSON.stringify(value).replace(unsafe, (c) =>
    Array.from({ length: c.length }, (_, i) => `\\u${c.charCodeAt(i).toString(16).padStart(4, '0')}`).join(''),
  );
}

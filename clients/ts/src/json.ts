/**
 * Strict JSON (entry.md, section 7): bytes in, a tree out, in which each text has one meaning only. It is not for JSON
 * in general: the only numbers it accepts are integers from 0 to 2⁵³ − 1.
 */

import { fromBase64, utf8Text } from './bytes.js';
import { CallerError, FormatError } from './errors.js';

/** A value. Objects are maps, so that no member's name (`__proto__`) has a meaning of its own. */
export type Json = null | boolean | number | string | Json[] | Map<string, Json>;

/** Levels of nesting; the outermost object is the first. */
const maxDepth = 16;

/** Values in a document that this reader takes; a receipt has fewer than 50. */
const maxValues = 1 << 19;

/**
 * Parses exactly one JSON object. Members are not yet checked: see {@link Members}.
 *
 * @throws FormatError
 * @throws CallerError if the document has more than 2¹⁹ values
 */
export function parseObject(bytes: Uint8Array): Map<string, Json> {
  let text;
  try {
    text = utf8Text(bytes);
  } catch {
    throw new FormatError('not valid UTF-8');
  }
  return new Parser(text).document();
}

class Parser {
  private at = 0;
  private values = 0;

  constructor(private readonly text: string) {}

  document(): Map<string, Json> {
    this.space();
    if (this.text[this.at] !== '{') throw this.wrong('a JSON object must begin here');
    const object = this.object(1);
    this.space();
    if (this.at !== this.text.length) throw this.wrong('nothing may follow the JSON object');
    return object;
  }

  private wrong(problem: string): FormatError {
    return new FormatError(`character ${this.at}: ${problem}`);
  }

  private space(): void {
    for (;;) {
      const unit = this.text.charCodeAt(this.at);
      if (unit !== 0x20 && unit !== 0x09 && unit !== 0x0a && unit !== 0x0d) return;
      this.at++;
    }
  }

  /** Whether the next character is the given one, which is then behind us. */
  private take(character: string): boolean {
    if (this.text[this.at] !== character) return false;
    this.at++;
    return true;
  }

  private value(depth: number): Json {
    if (++this.values > maxValues) throw new CallerError('unreadable', `a document has more than ${maxValues} values`);
    switch (this.text[this.at]) {
      case '{':
        return this.object(depth);
      case '[':
        return this.array(depth);
      case '"':
        return this.string();
      case 't':
        return this.word('true', true);
      case 'f':
        return this.word('false', false);
      case 'n':
        return this.word('null', null);
      default:
        return this.integer();
    }
  }

  private enter(depth: number): void {
    if (depth > maxDepth) throw this.wrong(`more than ${maxDepth} levels of nesting`);
    this.at++;
  }

  private object(depth: number): Map<string, Json> {
    this.enter(depth);
    const members = new Map<string, Json>();
    this.space();
    if (this.take('}')) return members;
    for (;;) {
      this.space();
      if (this.text[this.at] !== '"') throw this.wrong("a member's name in double quotes must stand here");
      const name = this.string();
      if (members.has(name)) throw this.wrong(`the member ${quote(name)} is there twice`);
      this.space();
      if (!this.take(':')) throw this.wrong('a colon must stand here');
      this.space();
      members.set(name, this.value(depth + 1));
      this.space();
      if (this.take('}')) return members;
      if (!this.take(',')) throw this.wrong('a comma or } must stand here');
    }
  }

  private array(depth: number): Json[] {
    this.enter(depth);
    const values: Json[] = [];
    this.space();
    if (this.take(']')) return values;
    for (;;) {
      this.space();
      values.push(this.value(depth + 1));
      this.space();
      if (this.take(']')) return values;
      if (!this.take(',')) throw this.wrong('a comma or ] must stand here');
    }
  }

  private word(word: string, value: Json): Json {
    if (!this.text.startsWith(word, this.at)) throw this.wrong('no JSON value');
    this.at += word.length;
    return value;
  }

  private integer(): number {
    const match = /[-+.0-9a-zA-Z]*/y;
    match.lastIndex = this.at;
    const literal = match.exec(this.text)?.[0] ?? '';
    const value = parseInteger(literal);
    if (value === undefined)
      throw this.wrong('no JSON value; numbers must be integers from 0 to 2^53-1, in digits alone');
    this.at += literal.length;
    return value;
  }

  private string(): string {
    let value = '';
    let from = ++this.at;
    for (;;) {
      const unit = this.text.charCodeAt(this.at);
      if (unit === 0x22) {
        value += this.text.slice(from, this.at++);
        return value;
      }
      if (Number.isNaN(unit)) throw this.wrong('the string has no end');
      if (unit < 0x20) throw this.wrong('an unescaped control character');
      if (unit === 0x5c) {
        value += this.text.slice(from, this.at) + this.escape();
        from = this.at;
      } else {
        this.at++;
      }
    }
  }

  private escape(): string {
    const simple = escapes.get(this.text[this.at + 1] ?? '');
    if (simple !== undefined) {
      this.at += 2;
      return simple;
    }
    const unit = this.unit();
    if (unit < 0xd800 || unit > 0xdfff) return String.fromCharCode(unit);
    if (unit > 0xdbff) throw this.wrong('an escaped low surrogate without the high one');
    const low = this.unit();
    if (low < 0xdc00 || low > 0xdfff) throw this.wrong('an escaped high surrogate without the low one');
    return String.fromCharCode(unit, low);
  }

  /** \uXXXX */
  private unit(): number {
    const literal = this.text.slice(this.at, this.at + 6);
    if (!/^\\u[0-9a-fA-F]{4}$/.test(literal)) throw this.wrong('an unknown escape, or half of a surrogate pair');
    this.at += 6;
    return parseInt(literal.slice(2), 16);
  }
}

const escapes = new Map([
  ['"', '"'],
  ['\\', '\\'],
  ['/', '/'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
]);

/** A text of an untrusted document for a message: in quotes, in printable ASCII, cut to some 60 characters. */
export function quote(text: string): string {
  const cut = text.length > 60 ? `${text.slice(0, 60)}…` : text;
  return JSON.stringify(cut).replace(
    /[^\x20-\x7e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** `0`, or a digit 1–9 followed by digits, up to 2⁵³ − 1; undefined for anything else. */
export function parseInteger(literal: string): number | undefined {
  if (!/^(0|[1-9][0-9]{0,15})$/.test(literal)) return undefined;
  const value = Number(literal);
  return Number.isSafeInteger(value) ? value : undefined;
}

/**
 * Reads the members of one object by name and type. What was not read when {@link Members.end} is called is a member
 * that the format does not define. Every method throws FormatError, which names the member by its path.
 */
export class Members {
  private readonly left: Map<string, Json>;

  private constructor(
    members: Map<string, Json>,
    private readonly path: string,
  ) {
    this.left = new Map(members);
  }

  static of(value: Json, path: string): Members {
    if (!(value instanceof Map)) throw new FormatError(`${path}: an object is needed`);
    return new Members(value, path);
  }

  private name(member: string): string {
    return this.path === '' ? member : `${this.path}.${member}`;
  }

  has(member: string): boolean {
    return this.left.has(member);
  }

  /** The member's value, whatever its type. */
  private take(member: string): Json {
    const value = this.left.get(member);
    if (value === undefined) throw new FormatError(`${this.name(member)}: missing`);
    this.left.delete(member);
    return value;
  }

  /** Reads the member with the method given if it is there. */
  optional<T>(member: string, read: (member: string) => T): T | undefined {
    return this.left.has(member) ? read(member) : undefined;
  }

  /** Any string, the empty one included. */
  text = (member: string): string => {
    const value = this.take(member);
    if (typeof value !== 'string') throw new FormatError(`${this.name(member)}: a string is needed`);
    return value;
  };

  /** A string that is not empty. */
  string = (member: string): string => {
    const value = this.text(member);
    if (value === '') throw new FormatError(`${this.name(member)}: the empty string is not allowed`);
    return value;
  };

  /** A string that matches. */
  pattern(member: string, pattern: RegExp, meaning: string): string {
    const value = this.text(member);
    if (!pattern.test(value)) throw new FormatError(`${this.name(member)}: not ${meaning}`);
    return value;
  }

  /** One of some strings. */
  choice<T extends string>(member: string, choices: readonly T[]): T {
    const value = this.text(member);
    const choice = choices.find((candidate) => candidate === value);
    if (choice === undefined)
      throw new FormatError(`${this.name(member)}: ${quote(value)} is none of ${choices.join(', ')}`);
    return choice;
  }

  integer = (member: string): number => {
    const value = this.take(member);
    if (typeof value !== 'number') throw new FormatError(`${this.name(member)}: an integer is needed`);
    return value;
  };

  base64 = (member: string): Uint8Array => {
    const bytes = fromBase64(this.text(member));
    if (bytes === undefined)
      throw new FormatError(`${this.name(member)}: not base64 (standard alphabet, padded, unused bits zero)`);
    return bytes;
  };

  /** Base64 of 32 bytes, decoded. */
  hash = (member: string): Uint8Array => {
    const bytes = this.base64(member);
    if (bytes.length !== 32) throw new FormatError(`${this.name(member)}: ${bytes.length} bytes, not 32`);
    return bytes;
  };

  object = (member: string): Members => Members.of(this.take(member), this.name(member));

  /** An array of at least one value, each read by the function given, with its path. */
  array<T>(member: string, read: (value: Json, path: string) => T): T[] {
    const value = this.take(member);
    if (!Array.isArray(value)) throw new FormatError(`${this.name(member)}: an array is needed`);
    if (value.length === 0) throw new FormatError(`${this.name(member)}: the empty array is not allowed`);
    return value.map((element, i) => read(element, `${this.name(member)}[${i}]`));
  }

  /** An object of at least one member, names and string values not empty. The result has no prototype. */
  strings = (member: string): Record<string, string> => {
    const value = this.take(member);
    if (!(value instanceof Map) || value.size === 0)
      throw new FormatError(`${this.name(member)}: an object with at least one member is needed`);
    const strings = Object.create(null) as Record<string, string>;
    for (const [name, text] of value) {
      if (name === '' || typeof text !== 'string' || text === '')
        throw new FormatError(`${this.name(member)}: each member must have a name and a string, neither of them empty`);
      strings[name] = text;
    }
    return strings;
  };

  /** Throws if a member was not read. */
  end(): void {
    for (const member of this.left.keys())
      throw new FormatError(`${this.path === '' ? 'document' : this.path}: unknown member ${quote(member)}`);
  }
}

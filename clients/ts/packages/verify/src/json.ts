/**
 * A parser for the strict JSON of entry.md, section 7. It is not for JSON in
 * general: the only numbers it accepts are integers from 0 to 2⁵³ − 1.
 */

import { fromBase64, utf8Text } from './bytes.js';
import { explainEncoding } from './charset.js';
import { FormatError } from './errors.js';

/**
 * A JSON value. Objects are maps, so that member names such as `__proto__` are
 * not special.
 */
export type Json = null | boolean | number | string | Json[] | Map<string, Json>;

/** The rules in which documents differ. */
interface Dialect {
  /** Limit on nesting. The outermost object is level 1. */
  maxDepth: number;
  /** Limit on the number of values in a document (rule 10). */
  maxValues: number;
  /** Parses a number. Returns undefined if it is not allowed. */
  number: (literal: string) => number | undefined;
}

/** A receipt has fewer than 50 values. */
const strict: Dialect = { maxDepth: 16, maxValues: 1 << 19, number: parseInteger };

const anyNumber = (literal: string): number | undefined =>
  /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$/.test(literal) ? Number(literal) : undefined;

/** JSON by RFC 8259, without duplicate members. */
const general: Dialect = { maxDepth: 100, maxValues: Infinity, number: anyNumber };

/**
 * Parses a document that consists of one JSON object. {@link Members} checks
 * its members.
 *
 * @throws FormatError if the document violates the rules
 */
export function parseObject(bytes: Uint8Array): Map<string, Json> {
  return parseDocument(bytes, strict);
}

/**
 * Like {@link parseObject}, with another limit on the number of values.
 *
 * @throws FormatError if the document violates the rules
 */
export function parseLargeObject(bytes: Uint8Array, maxValues: number): Map<string, Json> {
  return parseDocument(bytes, { ...strict, maxValues });
}

/** Like {@link parseObject}, but accepts any number: rule 7 does not apply. */
export function parseAnyNumbers(bytes: Uint8Array): Map<string, Json> {
  return parseDocument(bytes, { ...strict, number: anyNumber });
}

/**
 * Returns a document as an object. Its `toJSON` returns one whose members have
 * the order of the document, also those with names such as "1", which objects
 * put first. The document must not have a member `toJSON`.
 */
export function documentOf<T extends object>(document: Map<string, Json>): T & { toJSON: () => T } {
  const object = objectOf(document, (members) => Object.fromEntries(members));
  const toJSON = () =>
    objectOf(document, (members) => {
      const names = members.map(([name]) => name);
      return new Proxy(Object.fromEntries(members), { ownKeys: () => names });
    });
  return Object.defineProperty(object, 'toJSON', { value: toJSON }) as T & { toJSON: () => T };
}

function objectOf(document: Map<string, Json>, make: (members: [string, unknown][]) => object): object {
  const valueOf = (value: Json): unknown =>
    Array.isArray(value) ? value.map(valueOf) : value instanceof Map ? objectOf(value, make) : value;
  return make([...document].map(([name, value]) => [name, valueOf(value)]));
}

/**
 * Parses one JSON object with any numbers, and at most 100 levels of nesting.
 *
 * @throws FormatError if the document violates the rules
 */
export function parseGeneral(bytes: Uint8Array): Map<string, Json> {
  return parseDocument(bytes, general);
}

function parseDocument(bytes: Uint8Array, dialect: Dialect): Map<string, Json> {
  let text;
  try {
    text = utf8Text(bytes);
  } catch {
    throw new FormatError(explainEncoding(bytes) ?? 'invalid UTF-8');
  }
  try {
    return new Parser(text, dialect).document();
  } catch (error) {
    const encoding = error instanceof FormatError ? explainEncoding(bytes) : undefined;
    throw encoding === undefined ? error : new FormatError(encoding);
  }
}

class Parser {
  private at = 0;
  private values = 0;

  constructor(
    private readonly text: string,
    private readonly dialect: Dialect = strict,
  ) {}

  document(): Map<string, Json> {
    this.space();
    if (this.text[this.at] !== '{') throw this.wrong('expected a JSON object');
    const object = this.object(1);
    this.space();
    if (this.at !== this.text.length) throw this.wrong('unexpected data after the JSON object');
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

  /** Skips the character if it comes next, and reports whether it did. */
  private take(character: string): boolean {
    if (this.text[this.at] !== character) return false;
    this.at++;
    return true;
  }

  private value(depth: number): Json {
    if (++this.values > this.dialect.maxValues) throw this.wrong(`more than ${this.dialect.maxValues} values`);
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
    const { maxDepth } = this.dialect;
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
      if (this.text[this.at] !== '"') throw this.wrong('expected a member name');
      const name = this.string();
      if (members.has(name)) throw this.wrong(`duplicate member ${quote(name)}`);
      this.space();
      if (!this.take(':')) throw this.wrong('expected a colon');
      this.space();
      members.set(name, this.value(depth + 1));
      this.space();
      if (this.take('}')) return members;
      if (!this.take(',')) throw this.wrong('expected a comma or }');
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
      if (!this.take(',')) throw this.wrong('expected a comma or ]');
    }
  }

  private word(word: string, value: Json): Json {
    if (!this.text.startsWith(word, this.at)) throw this.wrong('expected a value');
    this.at += word.length;
    return value;
  }

  private integer(): number {
    const match = /[-+.0-9a-zA-Z]*/y;
    match.lastIndex = this.at;
    const literal = match.exec(this.text)?.[0] ?? '';
    const value = this.dialect.number(literal);
    if (value === undefined) throw this.wrong('expected a value; numbers must be integers from 0 to 2^53-1');
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
      if (Number.isNaN(unit)) throw this.wrong('unterminated string');
      if (unit < 0x20) throw this.wrong('control character in a string');
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
    if (unit > 0xdbff) throw this.wrong('unpaired low surrogate');
    const low = this.unit();
    if (low < 0xdc00 || low > 0xdfff) throw this.wrong('unpaired high surrogate');
    return String.fromCharCode(unit, low);
  }

  /** Parses an escape of the form \uXXXX. Returns the UTF-16 code unit. */
  private unit(): number {
    const literal = this.text.slice(this.at, this.at + 6);
    if (!/^\\u[0-9a-fA-F]{4}$/.test(literal)) throw this.wrong('unknown escape, or unpaired surrogate');
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

/**
 * Quotes untrusted text for a message: in printable ASCII, truncated to 60
 * characters.
 */
export function quote(text: string): string {
  const cut = text.length > 60 ? `${text.slice(0, 60)}…` : text;
  return JSON.stringify(cut).replace(
    /[^\x20-\x7e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/**
 * Parses a decimal from 0 to 2⁵³ − 1 without sign or leading zeros. Returns
 * undefined if it is malformed.
 */
export function parseInteger(literal: string): number | undefined {
  if (!/^(0|[1-9][0-9]{0,15})$/.test(literal)) return undefined;
  const value = Number(literal);
  return Number.isSafeInteger(value) ? value : undefined;
}

/**
 * Reads the members of an object by name and type. Members not read when {@link
 * Members.end} is called are unknown. Every method throws FormatError, with the
 * member's path in the message.
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
    if (!(value instanceof Map)) throw new FormatError(`${path}: must be an object`);
    return new Members(value, path);
  }

  private name(member: string): string {
    return this.path === '' ? member : `${this.path}.${member}`;
  }

  has(member: string): boolean {
    return this.left.has(member);
  }

  /** Reads a member of any type. */
  private take(member: string): Json {
    const value = this.left.get(member);
    if (value === undefined) throw new FormatError(`${this.name(member)}: missing`);
    this.left.delete(member);
    return value;
  }

  /**
   * Reads a member with the given method, or returns undefined if it is absent.
   */
  optional<T>(member: string, read: (member: string) => T): T | undefined {
    return this.left.has(member) ? read(member) : undefined;
  }

  /** Reads a string, which can be empty. */
  text = (member: string): string => {
    const value = this.take(member);
    if (typeof value !== 'string') throw new FormatError(`${this.name(member)}: must be a string`);
    return value;
  };

  /** Reads a non-empty string. */
  string = (member: string): string => {
    const value = this.text(member);
    if (value === '') throw new FormatError(`${this.name(member)}: must not be empty`);
    return value;
  };

  /**
   * Reads a string that matches the pattern. `meaning` describes it in the
   * error.
   */
  pattern(member: string, pattern: RegExp, meaning: string): string {
    const value = this.text(member);
    if (!pattern.test(value)) throw new FormatError(`${this.name(member)}: not ${meaning}`);
    return value;
  }

  /** Reads one of the given strings. */
  choice<T extends string>(member: string, choices: readonly T[]): T {
    const value = this.text(member);
    const choice = choices.find((candidate) => candidate === value);
    if (choice === undefined)
      throw new FormatError(`${this.name(member)}: must be one of ${choices.join(', ')}, not ${quote(value)}`);
    return choice;
  }

  integer = (member: string): number => {
    const value = this.take(member);
    if (typeof value !== 'number') throw new FormatError(`${this.name(member)}: must be an integer`);
    return value;
  };

  base64 = (member: string): Uint8Array => {
    const bytes = fromBase64(this.text(member));
    if (bytes === undefined)
      throw new FormatError(`${this.name(member)}: not base64 (standard alphabet, padded, unused bits zero)`);
    return bytes;
  };

  /** Reads the base64 of 32 bytes, and decodes it. */
  hash = (member: string): Uint8Array => {
    const bytes = this.base64(member);
    if (bytes.length !== 32) throw new FormatError(`${this.name(member)}: must be 32 bytes long, not ${bytes.length}`);
    return bytes;
  };

  object = (member: string): Members => Members.of(this.take(member), this.name(member));

  /** Reads an array, which can be empty. */
  list(member: string): Json[] {
    const value = this.take(member);
    if (!Array.isArray(value)) throw new FormatError(`${this.name(member)}: must be an array`);
    return value;
  }

  /**
   * Reads a non-empty array. The function reads each element, and receives its
   * path.
   */
  array<T>(member: string, read: (value: Json, path: string) => T): T[] {
    const value = this.list(member);
    if (value.length === 0) throw new FormatError(`${this.name(member)}: must not be empty`);
    return value.map((element, i) => read(element, `${this.name(member)}[${i}]`));
  }

  /**
   * Reads a non-empty object of non-empty names and strings. The result has no
   * prototype.
   */
  strings = (member: string): Record<string, string> => {
    const value = this.take(member);
    if (!(value instanceof Map) || value.size === 0)
      throw new FormatError(`${this.name(member)}: must be an object with at least one member`);
    const strings = Object.create(null) as Record<string, string>;
    for (const [name, text] of value) {
      if (name === '' || typeof text !== 'string' || text === '')
        throw new FormatError(`${this.name(member)}: member names and values must be non-empty strings`);
      strings[name] = text;
    }
    return strings;
  };

  /** Throws FormatError if there is an unknown member. */
  end(): void {
    for (const member of this.left.keys())
      throw new FormatError(`${this.path === '' ? 'document' : this.path}: unknown member ${quote(member)}`);
  }
}

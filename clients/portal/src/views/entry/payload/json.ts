/**
 * A reader of JSON that takes what it needs and skips the rest, so that memory
 * is bounded by what is kept and not by what a document contains.
 */

/** The document is not JSON. */
export class MalformedError extends Error {
  constructor(at: number, problem: string) {
    super(`byte ${at}: ${problem}`);
  }
}

/** The types of JSON values. */
export type JsonType = 'object' | 'array' | 'string' | 'number' | 'boolean' | 'null';

/** Levels of nested values. */
const maxDepth = 512;

const decoder = new TextDecoder();

/** Reads one document. A value of another type than the expected one is skipped. */
export class JsonReader {
  #at = 0;
  #depth = 0;
  /** Members that occur twice in an object that was read. Readers can disagree about them. */
  readonly repeated = new Set<string>();

  constructor(readonly bytes: Uint8Array) {
    if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) this.#at = 3;
  }

  /** Fails unless the document has ended. */
  end(): void {
    this.#space();
    if (this.#at < this.bytes.length) throw this.#wrong('data after the document');
  }

  /** Returns the type of the next value. */
  peek(): JsonType {
    this.#space();
    switch (this.bytes[this.#at]) {
      case 0x7b:
        return 'object';
      case 0x5b:
        return 'array';
      case 0x22:
        return 'string';
      case 0x74:
      case 0x66:
        return 'boolean';
      case 0x6e:
        return 'null';
      default:
        return 'number';
    }
  }

  /** Reads an object. The function is called with each name, and reads the value or leaves it. */
  object(each: (name: string) => void): boolean {
    if (this.peek() !== 'object') {
      this.skip();
      return false;
    }
    const seen = new Set<string>();
    this.#enter();
    for (let first = true; !this.#ends(0x7d, first); first = false) {
      this.#space();
      const name = this.#string();
      if (seen.has(name)) {
        if (this.repeated.size < 16) this.repeated.add(name);
      } else if (seen.size < 1024) seen.add(name);
      this.#space();
      if (this.bytes[this.#at] !== 0x3a) throw this.#wrong('expected a colon');
      this.#at++;
      this.#space();
      const before = this.#at;
      each(name);
      if (this.#at === before) this.skip();
    }
    this.#depth--;
    return true;
  }

  /** Reads the members that have a function, and skips the others. */
  members(readers: Readonly<Record<string, () => void>>): boolean {
    return this.object((name) => {
      if (Object.hasOwn(readers, name)) readers[name]?.();
    });
  }

  /** Reads an array. The function is called for each element, and reads it or leaves it. */
  array(each: (index: number) => void): boolean {
    if (this.peek() !== 'array') {
      this.skip();
      return false;
    }
    this.#enter();
    for (let i = 0; !this.#ends(0x5d, i === 0); i++) {
      this.#space();
      const before = this.#at;
      each(i);
      if (this.#at === before) this.skip();
    }
    this.#depth--;
    return true;
  }

  /** Reads a string. */
  text(): string | undefined {
    if (this.peek() === 'string') return this.#string();
    this.skip();
    return undefined;
  }

  /** Reads a string, number, boolean or null as text. Numbers keep their digits. */
  scalar(): string | undefined {
    const type = this.peek();
    if (type === 'string') return this.#string();
    if (type === 'object' || type === 'array') {
      this.skip();
      return undefined;
    }
    const from = this.#at;
    this.skip();
    return decoder.decode(this.bytes.subarray(from, this.#at));
  }

  /** Reads a number. */
  number(): number | undefined {
    if (this.peek() !== 'number') {
      this.skip();
      return undefined;
    }
    return Number(this.scalar());
  }

  /** Reads the base64 in a string. Undefined: it is none, or another value. */
  base64(): Uint8Array | undefined {
    const text = this.text();
    if (text === undefined) return undefined;
    try {
      const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
      return Uint8Array.from(binary, (character) => character.charCodeAt(0));
    } catch {
      return undefined;
    }
  }

  /** Returns the bytes of the next value, and skips it. */
  raw(): Uint8Array {
    this.#space();
    const from = this.#at;
    this.skip();
    return this.bytes.subarray(from, this.#at);
  }

  /** Skips the next value, however deep it is. */
  skip(): void {
    let open = 0;
    do {
      const type = this.peek();
      if (type === 'object' || type === 'array') {
        this.#at++;
        open++;
      } else if (type === 'string') {
        this.#at = this.#endOfString();
      } else {
        this.#literal();
      }
      open = this.#close(open);
    } while (open > 0);
  }

  /** Skips what stands between two values. Returns how many objects and arrays are still open. */
  #close(open: number): number {
    let left = open;
    while (left > 0) {
      this.#space();
      const byte = this.bytes[this.#at];
      if (byte === 0x7d || byte === 0x5d) left--;
      else if (byte !== 0x2c && byte !== 0x3a) break;
      this.#at++;
    }
    return left;
  }

  #literal(): void {
    const from = this.#at;
    while (isLiteral(this.bytes[this.#at])) this.#at++;
    const text = decoder.decode(this.bytes.subarray(from, Math.min(this.#at, from + 64)));
    if (!/^(?:true|false|null|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)$/.test(text)) throw this.#wrong('expected a value');
  }

  #enter(): void {
    if (++this.#depth > maxDepth) throw this.#wrong(`more than ${maxDepth} levels`);
    this.#at++;
  }

  /** Skips the comma before the next element, or the end of an object or array. */
  #ends(end: number, isFirst: boolean): boolean {
    this.#space();
    const byte = this.bytes[this.#at];
    if (byte === end) {
      this.#at++;
      return true;
    }
    if (isFirst) return false;
    if (byte !== 0x2c) throw this.#wrong('expected a comma');
    this.#at++;
    return false;
  }

  #space(): void {
    for (;;) {
      const byte = this.bytes[this.#at];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return;
      this.#at++;
    }
  }

  #string(): string {
    const from = this.#at;
    if (this.bytes[from] !== 0x22) throw this.#wrong('expected a string');
    const end = this.#endOfString();
    this.#at = end;
    const text = decoder.decode(this.bytes.subarray(from + 1, end - 1));
    if (!text.includes('\\')) return text;
    try {
      return String(JSON.parse(`"${text}"`)).replace(/\p{Surrogate}/gu, '\ufffd');
    } catch {
      throw new MalformedError(from, 'unknown escape in a string');
    }
  }

  /** Returns where the string that begins here has ended. */
  #endOfString(): number {
    const { bytes } = this;
    for (let at = this.#at + 1; at < bytes.length; at++) {
      const byte = bytes[at];
      if (byte === 0x22) return at + 1;
      if (byte === 0x5c) at++;
    }
    throw this.#wrong('the string does not end');
  }

  #wrong(problem: string): MalformedError {
    return new MalformedError(this.#at, this.#at >= this.bytes.length ? 'the document ends too early' : problem);
  }
}

/** Reports whether the byte can be part of a number or word: a letter, a digit, or one of "+-.". */
const isLiteral = (byte: number | undefined): boolean =>
  byte !== undefined &&
  ((byte >= 0x30 && byte <= 0x39) ||
    (byte >= 0x61 && byte <= 0x7a) ||
    (byte >= 0x41 && byte <= 0x5a) ||
    byte === 0x2b ||
    byte === 0x2d ||
    byte === 0x2e);

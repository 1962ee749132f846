/** Files that are read in parts, so that they need not fit in memory. */

/** A file that can be read at any place. */
export interface Source {
  /** In bytes. */
  readonly size: number;
  /**
   * Returns `length` bytes from `offset` on. The caller never reads beyond the
   * size.
   */
  read(offset: number, length: number): Promise<Uint8Array> | Uint8Array;
}

/** The content of a file: in memory, of a browser, or from elsewhere. */
export type Input = Uint8Array | Blob | Source;

/** Returns the source of an input. */
export function sourceOf(input: Input): Source {
  if (input instanceof Uint8Array)
    return { size: input.length, read: (offset, length) => input.subarray(offset, offset + length) };
  if (typeof Blob !== 'undefined' && input instanceof Blob)
    return {
      size: input.size,
      read: async (offset, length) => new Uint8Array(await input.slice(offset, offset + length).arrayBuffer()),
    };
  return input as Source;
}

/** Size of a piece, in bytes. */
export const PIECE = 256 << 10;

/** Reads a source, and keeps what it has read last. */
export class Reader {
  private start = 0;
  private held = new Uint8Array();

  /**
   * @param unreadable makes the error for a source that cannot be read
   * @param signal interrupts the reading
   */
  constructor(
    readonly source: Source,
    private readonly unreadable: (cause: unknown) => Error,
    private readonly signal?: AbortSignal,
  ) {}

  /** Returns bytes of the source, which stay valid until the next call. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    const from = offset - this.start;
    if (from >= 0 && from + length <= this.held.length) return this.held.subarray(from, from + length);
    const more = Math.max(length, Math.min(PIECE, this.source.size - offset));
    this.held = await this.fetch(offset, more);
    this.start = offset;
    return this.held.subarray(0, length);
  }

  /**
   * Yields bytes of the source in pieces. A piece is valid until the next one.
   */
  async *pieces(offset: number, length: number): AsyncIterable<Uint8Array> {
    for (let at = 0; at < length; at += PIECE) yield await this.read(offset + at, Math.min(PIECE, length - at));
  }

  private async fetch(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    this.signal?.throwIfAborted();
    let bytes;
    try {
      bytes = await this.source.read(offset, length);
    } catch (error) {
      throw this.unreadable(error);
    }
    if (bytes.length !== length)
      throw this.unreadable(new Error(`${bytes.length} bytes at offset ${offset}, expected ${length}`));
    return bytes as Uint8Array<ArrayBuffer>;
  }
}

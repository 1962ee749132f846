/** The inputs of a verification (verify.md, section 3). */

import type { ByteSource } from '../entry.js';
import { CallerError } from '../errors.js';
import type { Options } from '../expectations.js';
import type { Folder } from '../export/files.js';
import { PIECE, sourceOf, type Input } from '../source.js';

/**
 * A file to verify: that of a browser, or a content with the name by which the
 * report refers to it. `openFile` of `@muniment/verify/node` returns one.
 */
export type InputFile =
  | File
  | {
      /** The name in the report. */
      readonly name: string;
      /** The bytes, or a source of them. */
      readonly content: Input;
    };

/** What the caller expects of a receipt. See {@link Options}. */
export type ReceiptExpectations = Omit<Options, 'payload' | 'external' | 'headerOnly' | 'streamKey'>;

/** The optional inputs of the verification of a receipt. */
export interface ReceiptInputs {
  /** The payload of a receipt that does not contain it. */
  payload?: ByteSource | Blob;
  /** The evidence to which an entry by reference refers. */
  external?: ByteSource | Blob;
  /** Do not require the payload. */
  headerOnly?: boolean;
  /** Set at least `tenant`, `kind` and `subject`. */
  expect?: ReceiptExpectations;
}

/** The optional inputs of the verification of a Sigstore bundle. */
export interface SigstoreInputs {
  /**
   * What was signed: the content, or `sha256:` and 64 hexadecimal digits, which
   * are enough for envelopes.
   */
  artifact?: Input | string;
}

/** The optional inputs of the verification of an export. */
export interface ExportInputs {
  /** The files of the export. */
  files?: Folder;
  /** The receipt of the manifest's entry. */
  receipt?: Input;
  /** An evidence bundle of the tenant. */
  stream?: Input;
  /** What the caller expects of the manifest. Set at least `tenant`. */
  expect?: {
    /** The name of the tenant. */
    tenant?: string;
    /** The ID of the export. */
    export?: string;
  };
}

/** The optional inputs of the verification of a stream. */
export interface StreamInputs {
  /** What the caller expects of the stream. Set it. */
  expect?: {
    /** The name of the tenant. */
    tenant?: string;
  };
}

/** The optional inputs of the verification of an evidence bundle. */
export interface EvidenceInputs {
  /** What the caller expects of the bundle. Set at least `tenant`. */
  expect?: {
    /** The name of the tenant. */
    tenant?: string;
    /** `sha256:` and the SHA-256 of the bundle's manifest. */
    identity?: string;
  };
}

/** How a verification can be watched and interrupted. */
export interface Watched {
  /** Interrupts the verification, which then throws the signal's reason. */
  signal?: AbortSignal;
  /** Is called with the work done and the total, in bytes. */
  onProgress?: (done: number, total: number) => void;
}

/** Returns the content of a file to verify. */
export function contentOf(file: InputFile): Input {
  return 'content' in file ? file.content : file;
}

/**
 * Reads an input, up to limit + 1 bytes of it.
 *
 * @throws CallerError with the code `unreadable`
 */
export async function readAll(name: string, input: Input, limit: number): Promise<Uint8Array> {
  if (input instanceof Uint8Array) return input;
  try {
    const source = sourceOf(input);
    const bytes = new Uint8Array(Math.min(source.size, limit + 1));
    for (let at = 0; at < bytes.length; at += PIECE) {
      const piece = await source.read(at, Math.min(PIECE, bytes.length - at));
      if (piece.length !== Math.min(PIECE, bytes.length - at)) throw new Error('the file became shorter');
      bytes.set(piece, at);
    }
    return bytes;
  } catch (error) {
    throw unreadable(name, error);
  }
}

/** Returns the error of an input that cannot be read. */
export function unreadable(name: string, cause: unknown): CallerError {
  if (cause instanceof CallerError) return cause;
  return new CallerError('unreadable', `${name}: ${cause instanceof Error ? cause.message : 'read failed'}`, { cause });
}

/** Returns a byte source of an input of a receipt. */
export async function byteSourceOf(name: string, input: ByteSource | Blob): Promise<ByteSource> {
  if (!isBlob(input)) return input;
  try {
    return new Uint8Array(await input.arrayBuffer());
  } catch (error) {
    throw unreadable(name, error);
  }
}

function isBlob(input: ByteSource | Blob): input is Blob {
  return typeof Blob !== 'undefined' && input instanceof Blob;
}

/** Returns only how a verification is watched. */
export function watchOf({ signal, onProgress }: Watched): Watched {
  return { ...(signal && { signal }), ...(onProgress && { onProgress }) };
}

/** Fetches the payload of an entry, and has it hashed and read in a worker. */

import { createClient } from '@connectrpc/connect';
import { transport } from '../../../api/transport';
import { startWorker } from '../../../app/trustedTypes';
import { LedgerService } from '../../../gen/muniment/v1/ledger_pb';
import type { About } from './read';
import type { Request, Response, Result } from './work';
import workerUrl from './worker?worker&url';

/** Larger payloads are not loaded by the page. */
export const MAX_LOADED = 512 << 20;
/** Payloads up to this size are loaded without asking. */
export const MAX_UNASKED = 4 << 20;

/** Bytes that the worker may lag behind the network. */
const window = 16 << 20;
/** Pieces are combined into blobs, which the browser can move out of memory. */
const blobSize = 8 << 20;

/** A payload that has been loaded. */
export interface Loaded extends Result {
  /** The header commits to these bytes. */
  isGenuine: boolean;
  blob: Blob;
}

interface Wanted {
  tenant: string;
  index: bigint;
  salt: Uint8Array;
  /** What the verified header contains. */
  payload: { size: number; commitment: string };
  about: About;
}

/**
 * Loads a payload.
 *
 * @param onProgress is called with the number of bytes so far
 */
export async function load(
  { tenant, index, salt, payload, about }: Wanted,
  signal: AbortSignal,
  onProgress: (bytes: number) => void,
): Promise<Loaded> {
  const hashing = new Hashing(signal);
  const blobs: Blob[] = [];
  let pending: Uint8Array<ArrayBuffer>[] = [];
  let pendingSize = 0;
  const combine = () => {
    if (pending.length > 0) blobs.push(new Blob(pending));
    pending = [];
    pendingSize = 0;
  };
  try {
    hashing.send({ type: 'begin', salt, size: payload.size, commitment: payload.commitment, about });
    let size = 0;
    for await (const { chunk } of createClient(LedgerService, transport).getPayload({ tenant, index }, { signal })) {
      const bytes = new Uint8Array(chunk); // a copy: the original is sent to the worker
      pending.push(bytes);
      pendingSize += bytes.length;
      size += bytes.length;
      if (pendingSize >= blobSize) combine();
      if (size > payload.size) break; // more than the header commits to: the rest changes nothing
      await hashing.piece(chunk);
      onProgress(size);
    }
    combine();
    const result = size > payload.size ? undefined : await hashing.end();
    const isGenuine = result !== undefined && result.size === payload.size && result.commitment === payload.commitment;
    return { ...(result ?? { size, commitment: '', isTooLarge: false }), isGenuine, blob: new Blob(blobs) };
  } finally {
    hashing.stop();
  }
}

/** Loads the beginning of a payload, which cannot be checked without the rest. */
export async function loadBeginning(tenant: string, index: bigint, most: number, signal: AbortSignal): Promise<Blob> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  const stop = new AbortController();
  const payload = createClient(LedgerService, transport).getPayload(
    { tenant, index },
    { signal: AbortSignal.any([signal, stop.signal]) },
  );
  for await (const { chunk } of payload) {
    pieces.push(new Uint8Array(chunk.subarray(0, most - size)));
    size += pieces.at(-1)?.length ?? 0;
    if (size >= most) break;
  }
  stop.abort();
  return new Blob(pieces);
}

/** A worker that hashes one payload. */
class Hashing {
  readonly #worker = startWorker(workerUrl);
  #behind = 0;
  #caughtUp: (() => void) | undefined;
  readonly #result: Promise<Result>;

  constructor(signal: AbortSignal) {
    this.#result = new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => {
        reject(signal.reason as Error);
      });
      this.#worker.onerror = (event) => {
        reject(new Error(event.message || 'the worker failed, perhaps for lack of memory'));
      };
      this.#worker.onmessage = ({ data }: MessageEvent<Response>) => {
        if (data.type === 'done') resolve(data.result);
        else if (data.type === 'failed') reject(new Error(data.message));
        else {
          this.#behind -= data.bytes;
          if (this.#behind <= window) this.#caughtUp?.();
        }
      };
    });
    this.#result.catch(() => {
      this.#caughtUp?.(); // end() throws the error
    });
  }

  send(request: Request, transfer: Transferable[] = []): void {
    this.#worker.postMessage(request, transfer);
  }

  /** Sends a piece, and waits while the worker lags too far behind. */
  async piece(bytes: Uint8Array): Promise<void> {
    this.#behind += bytes.length;
    const own = bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice();
    this.send({ type: 'piece', bytes: own }, [own.buffer]);
    if (this.#behind > window)
      await Promise.race([
        this.#result.then(() => undefined),
        new Promise<void>((resolve) => {
          this.#caughtUp = resolve;
        }),
      ]);
  }

  async end(): Promise<Result> {
    this.send({ type: 'end' });
    return await this.#result;
  }

  stop(): void {
    this.#worker.terminate();
  }
}

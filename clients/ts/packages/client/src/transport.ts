/** Calls of a server by fetch, in browsers and Node. */

import { Code, ConnectError, type Interceptor, type Transport } from '@connectrpc/connect';
import type { UniversalClientRequest, UniversalClientResponse } from '@connectrpc/connect/protocol';
import { createTransport } from '@connectrpc/connect/protocol-connect';

/** Size limit of a message from the server, in bytes. */
const maxMessage = 128 << 20;
/** Size limit of the body of an error, in bytes. */
const maxError = 64 << 10;

/** The function that sends requests, such as the global fetch. */
export type Fetch = typeof globalThis.fetch;

/**
 * Returns a function that sends requests of one session: each answer is at
 * least as new as those before, whichever server of a log gives it. Servers
 * that share a log state the size that they serve, and are asked for no less.
 */
export function session(send: Fetch): Fetch {
  let size = 0n;
  return async (url, request) => {
    const headers = new Headers(request?.headers);
    if (size > 0n) headers.set('muniment-min-size', String(size));
    const response = await send(url, { ...request, headers });
    const stated = response.headers.get('muniment-size') ?? '';
    if (/^\d{1,20}$/.test(stated) && BigInt(stated) > size) size = BigInt(stated);
    return response;
  };
}

/**
 * Returns a transport to a server.
 *
 * @param upload streams the body of requests, which browsers do only with
 *   HTTP/2
 */
export function transportTo(server: string, send: Fetch, interceptors: Interceptor[], upload: boolean): Transport {
  return createTransport({
    baseUrl: server,
    useBinaryFormat: true,
    interceptors,
    acceptCompression: [],
    sendCompression: null,
    compressMinBytes: 1024,
    readMaxBytes: maxMessage,
    writeMaxBytes: 0xffffffff,
    httpClient: (request) => call(send, request, upload),
  });
}

async function call(
  send: Fetch,
  { url, method, header, signal, body }: UniversalClientRequest,
  upload: boolean,
): Promise<UniversalClientResponse> {
  const content = body === undefined ? null : upload ? streamOf(body) : await collect(body);
  let response;
  try {
    response = await send(url, {
      method,
      headers: header,
      body: content,
      redirect: 'error', // a redirect would take the token elsewhere
      ...(signal && { signal }),
      ...(upload && { duplex: 'half' }),
    });
  } catch (error) {
    throw networkError(error, signal);
  }
  const limit = response.ok ? Infinity : maxError;
  const headers = new Headers(response.headers);
  for (const name of ['content-encoding', 'content-length']) headers.delete(name); // fetch has decompressed the body
  return { status: response.status, header: headers, body: piecesOf(response, limit, signal), trailer: new Headers() };
}

/** A lost connection is worth a retry, unlike an interrupted call. */
function networkError(error: unknown, signal: AbortSignal | undefined): Error {
  if (signal?.aborted === true || error instanceof ConnectError) return error as Error;
  const detail = error instanceof Error && error.cause instanceof Error ? error.cause.message : 'connection failed';
  return new ConnectError(`connect to the server: ${detail}`, Code.Unavailable, undefined, undefined, error);
}

async function collect(body: AsyncIterable<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  for await (const piece of body) pieces.push(piece);
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

function streamOf(body: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const pieces = body[Symbol.asyncIterator]();
  return new ReadableStream({
    async pull(controller) {
      const next = await pieces.next();
      if (next.done === true) controller.close();
      else controller.enqueue(next.value);
    },
    async cancel(reason) {
      await pieces.return?.(reason);
    },
  });
}

async function* piecesOf(
  response: Response,
  limit: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  let left = limit;
  try {
    while (left > 0) {
      const next = await reader?.read();
      if (next?.value === undefined) return;
      yield next.value.subarray(0, left);
      left -= next.value.length;
    }
  } catch (error) {
    throw networkError(error, signal);
  } finally {
    await reader?.cancel().catch(() => undefined); // it can have failed before
  }
}

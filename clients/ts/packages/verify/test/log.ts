/** A log with one entry, to generate receipts that are not in the vectors. */

import { generateKeyPairSync, sign } from 'node:crypto';
import { base64, concat, fromHex, utf8 } from '../src/bytes.js';
import * as entry from '../src/entry.js';
import { keyId, parseKey } from '../src/signatures.js';
import { encodeKey } from './keys.js';

const origin = 'made.example';
const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const key = encodeKey(origin, 0x01, Uint8Array.from(publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)));

export const policyText = `log ${key}\nquorum none\n`;

const salt = new Uint8Array(32).fill(9);

/**
 * Returns the text of a header. `members` are added to the required ones, and
 * override them.
 */
export function headerText(payload: Uint8Array, members: Record<string, unknown> = {}): string {
  return JSON.stringify({
    origin,
    tenant: 'acme',
    kind: 'attestation',
    mediaType: 'text/plain',
    submitter: 'token:acme',
    verification: { result: 'unverified' },
    payload: { commitment: base64(entry.commitment(salt, payload)), size: payload.length },
    ...members,
  });
}

/** Returns a full receipt from the log, for any header and payload. */
export function receipt(header: string, payload: Uint8Array, time = 0): Uint8Array {
  const streamId = new Uint8Array(32).fill(3);
  const prev = new Uint8Array(32);
  const tag = new Uint8Array(32).fill(4);
  const link = entry.linkHash({ salt, streamId, seq: 0, prev });
  const hashOfEntry = entry.entryHash(entry.originHash(origin), link, time, entry.headerHash(salt, utf8(header)));
  const text = `${origin}\n1\n${base64(entry.leafHash(entry.leafData(tag, hashOfEntry)))}\n`;
  const id = fromHex(keyId(parseKey(key)).slice(-8)) ?? new Uint8Array();
  const signature = base64(concat(id, sign(null, utf8(text), privateKey)));
  return utf8(
    JSON.stringify({
      mediaType: 'application/vnd.muniment.receipt.v2+json',
      form: 'full',
      tag: base64(tag),
      time,
      link: { salt: base64(salt), streamId: base64(streamId), seq: 0, prev: base64(prev) },
      header: { salt: base64(salt), content: header },
      payload: { salt: base64(salt), content: base64(payload) },
      proof: `c2sp.org/tlog-proof@v1\nindex 0\n\n${text}\n— ${origin} ${signature}\n`,
    }),
  );
}

/**
 * Promises, checkpoints and proofs of logs (sigstore-verification.md,
 * section 6).
 */

import { base64, equal, fromBase64, hex, utf8 } from '../bytes.js';
import { leafHash } from '../entry.js';
import { FormatError } from '../errors.js';
import { parseInteger } from '../json.js';
import { includes, signatureLine, type SignatureLine } from '../proof.js';
import { digest, signedBy, type PublicKey } from './algorithms.js';
import type { InclusionProof, LogEntry } from './bundle.js';
import { refused } from './errors.js';
import { contains, type Log } from './trustedroot.js';

const maxSize = 1 << 20;

/** Performs step 4.3. */
export async function checkPromise(entry: LogEntry, promise: Uint8Array, log: Log): Promise<void> {
  if (!contains(log.valid, entry.integratedTime * 1000))
    throw refused('log-validity', "the log's key is not valid at the time of the entry");
  const text = JSON.stringify({
    body: base64(entry.body),
    integratedTime: entry.integratedTime,
    logID: hex(entry.log),
    logIndex: entry.index,
  });
  if (entry.isV2 || log.key.curve !== 'P-256' || !(await signedBy(log.key, 'SHA-256', utf8(text), promise)))
    throw refused('promise-signature', 'the inclusion promise was not signed by the log');
}

/** Performs step 4.4. */
export async function checkProof(entry: LogEntry, proof: InclusionProof, log: Log): Promise<void> {
  const checkpoint = await openCheckpoint(entry, proof.checkpoint ?? '', log);
  if (checkpoint.size !== proof.size || !equal(checkpoint.root, proof.root))
    throw refused('checkpoint-mismatch', 'the checkpoint is of another tree than the inclusion proof');
  if (entry.isV2 && entry.index !== proof.index)
    throw refused('checkpoint-mismatch', 'the entry and its inclusion proof have different indexes');
  if (!includes({ index: proof.index, hashes: proof.hashes, checkpoint }, leafHash(entry.body)))
    throw refused('inclusion', "the proof does not lead to the checkpoint's root");
}

interface TreeHead {
  origin: string;
  size: number;
  root: Uint8Array;
}

/** Returns a checkpoint that the log signed. */
async function openCheckpoint(entry: LogEntry, note: string, log: Log): Promise<TreeHead> {
  try {
    const { text, lines } = splitNote(note);
    const head = parseTreeHead(text);
    if (entry.isV2) {
      if (log.host === '' || head.origin !== log.host)
        throw new FormatError("the origin is not the host of the log's URL");
      await checkV2(head, text, lines, log.key);
    } else {
      await checkV1(head, text, lines, log.key);
    }
    return head;
  } catch (error) {
    if (error instanceof FormatError) throw refused('checkpoint-invalid', `checkpoint: ${error.message}`);
    throw error;
  }
}

function splitNote(note: string): { text: string; lines: SignatureLine[] } {
  const end = note.lastIndexOf('\n\n');
  if (utf8(note).length > maxSize || /[\x00-\x09\x0b-\x1f]/.test(note) || end < 0 || !note.endsWith('\n'))
    throw new FormatError('not a signed note');
  const lines = note.slice(end + 2, -1).split('\n');
  if (lines.length > 100) throw new FormatError('more than 100 signature lines');
  return { text: note.slice(0, end + 1), lines: lines.map(signatureLine) };
}

function parseTreeHead(text: string): TreeHead {
  const lines = text.split('\n');
  const [origin = '', size = '', encoded = '?'] = lines;
  const root = fromBase64(encoded);
  const parsed = parseInteger(size);
  if (lines.length < 4 || origin === '' || parsed === undefined || root?.length !== 32)
    throw new FormatError('the first three lines must be origin, tree size and root');
  return { origin, size: parsed, root };
}

async function checkV1(head: TreeHead, text: string, lines: SignatureLine[], key: PublicKey): Promise<void> {
  if (key.curve !== 'P-256' || !/^.* - [0-9]+$/.test(head.origin))
    throw new FormatError('not a checkpoint of a log of Rekor v1');
  const expected = await keyHash(head.origin, key);
  for (const line of lines)
    if (line.keyHash !== expected || !(await signedBy(key, 'SHA-256', utf8(text), line.signature)))
      throw new FormatError('not signed by the log');
}

async function checkV2(head: TreeHead, text: string, lines: SignatureLine[], key: PublicKey): Promise<void> {
  const expected = await keyHash(head.origin, key);
  const line = lines.find(({ keyName, keyHash }) => keyName === head.origin && keyHash === expected);
  if (line === undefined || !(await signedBy(key, key.hashes[0], utf8(text), line.signature)))
    throw new FormatError('not signed by the log');
}

/** Returns the key hash of a log's signature lines, in hexadecimal. */
async function keyHash(name: string, key: PublicKey): Promise<string> {
  let data = key.spki;
  // The public key is the last 32 bytes of the SubjectPublicKeyInfo.
  if (key.type === 'Ed25519') data = Uint8Array.of(...utf8(`${name}\n`), 0x01, ...key.spki.subarray(-32));
  if (key.type === 'RSA') data = Uint8Array.of(...utf8(`${name}\n`), 0xff, ...utf8('PKIX-RSA-PKCS#1v1.5'), ...key.spki);
  return hex((await digest('SHA-256', data)).subarray(0, 4));
}

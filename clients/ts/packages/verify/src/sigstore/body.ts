/** Bodies of log entries (sigstore-verification.md, section 6). */

import { base64, fromHex, latin1 } from '../bytes.js';
import { FormatError } from '../errors.js';
import { parseObject, type Json } from '../json.js';
import { readPem } from '../pem.js';
import type { PublicKey } from './algorithms.js';
import * as m from './members.js';

/** What a body is about. */
export interface Body {
  signature: Uint8Array;
  /** The DER of a certificate or key, undefined if it is neither. */
  verifier: Uint8Array | undefined;
  isKey: boolean;
  algorithm: string;
  digest: Uint8Array;
}

/** A kind of entry: the forms of signatures it can have, and how to read its `spec`. */
interface Kind {
  bare: boolean;
  envelope: boolean;
  read: (spec: m.Fields) => Body;
}

const kinds = new Map<string, Kind>([
  ['hashedrekord 0.0.1', { bare: true, envelope: false, read: readHashedRekord }],
  ['dsse 0.0.1', { bare: false, envelope: true, read: readDsse }],
  ['intoto 0.0.2', { bare: false, envelope: true, read: readIntoto }],
  ['hashedrekord 0.0.2', { bare: true, envelope: true, read: readHashedRekordV2 }],
]);

/** Returns the kind, undefined if it is not supported. */
export function kindOf(kind: string, version: string): Kind | undefined {
  return kinds.get(`${kind} ${version}`);
}

/**
 * Reads a body.
 *
 * @throws FormatError
 */
export function readBody(data: Uint8Array, kind: string, version: string): Body {
  const entry = m.fields(parseObject(data), 'entry');
  if (m.text(entry.get('kind'), 'kind') !== kind || m.text(entry.get('apiVersion'), 'apiVersion') !== version)
    throw new FormatError('the body is of another kind or version');
  const found = kindOf(kind, version);
  if (found === undefined) throw new FormatError('unsupported kind');
  return found.read(m.fields(entry.get('spec'), 'spec'));
}

function readVerifier(pem: Uint8Array): { verifier: Uint8Array | undefined; isKey: boolean } {
  try {
    const { label, der } = readPem(pem);
    return { verifier: der, isKey: label === 'PUBLIC KEY' };
  } catch {
    return { verifier: undefined, isKey: false };
  }
}

function readHash(value: Json | undefined, where: string): { algorithm: string; digest: Uint8Array } {
  const hash = m.fields(value, where);
  const digest = fromHex(m.text(hash.get('value'), `${where}.value`).replace(/[A-F]/g, (c) => c.toLowerCase()));
  if (digest === undefined) throw new FormatError(`${where}: not hexadecimal`);
  return { algorithm: m.text(hash.get('algorithm'), `${where}.algorithm`), digest };
}

function readHashedRekord(spec: m.Fields): Body {
  const signature = m.fields(spec.get('signature'), 'spec.signature');
  const key = m.fields(signature.get('publicKey'), 'spec.signature.publicKey').get('content');
  return {
    signature: m.binary(signature.get('content'), 'spec.signature.content'),
    ...readVerifier(m.binary(key, 'spec.signature.publicKey.content')),
    ...readHash(m.fields(spec.get('data'), 'spec.data').get('hash'), 'spec.data.hash'),
  };
}

function readDsse(spec: m.Fields): Body {
  const signature = m.only(spec.get('signatures'), 'spec.signatures');
  return {
    signature: m.binary(signature.get('signature'), 'spec.signatures.signature'),
    ...readVerifier(m.binary(signature.get('verifier'), 'spec.signatures.verifier')),
    ...readHash(spec.get('payloadHash'), 'spec.payloadHash'),
  };
}

function readIntoto(spec: m.Fields): Body {
  const content = m.fields(spec.get('content'), 'spec.content');
  const envelope = m.fields(content.get('envelope'), 'spec.content.envelope');
  const where = 'spec.content.envelope.signatures';
  const signature = m.only(envelope.get('signatures'), where);
  return {
    signature: m.binary(latin1(m.binary(signature.get('sig'), `${where}.sig`)), `${where}.sig`),
    ...readVerifier(m.binary(signature.get('publicKey'), `${where}.publicKey`)),
    ...readHash(content.get('payloadHash'), 'spec.content.payloadHash'),
  };
}

function readHashedRekordV2(spec: m.Fields): Body {
  const entry = m.fields(spec.get('hashedRekordV002'), 'spec.hashedRekordV002');
  const signature = m.fields(entry.get('signature'), 'signature');
  const verifier = m.fields(signature.get('verifier'), 'signature.verifier');
  const isKey = verifier.has('publicKey');
  const raw = m.fields(verifier.get(isKey ? 'publicKey' : 'x509Certificate'), 'signature.verifier');
  const data = m.fields(entry.get('data'), 'data');
  return {
    signature: m.binary(signature.get('content'), 'signature.content'),
    verifier: m.binary(raw.get('rawBytes'), 'rawBytes'),
    isKey,
    algorithm: m.text(data.get('algorithm'), 'data.algorithm'),
    digest: m.binary(data.get('digest'), 'data.digest'),
  };
}

/** Returns the only body that an entry of Rekor v2 can have. */
export function canonicalV2(body: Body, key: PublicKey): string {
  const member = body.isKey ? 'publicKey' : 'x509Certificate';
  const verifier = { keyDetails: key.details, [member]: { rawBytes: base64(body.verifier ?? new Uint8Array()) } };
  const data = { algorithm: `SHA2_${8 * body.digest.length}`, digest: base64(body.digest) };
  const signature = { content: base64(body.signature), verifier };
  return JSON.stringify({
    apiVersion: '0.0.2',
    kind: 'hashedrekord',
    spec: { hashedRekordV002: { data, signature } },
  });
}

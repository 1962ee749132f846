/**
 * The envelope of an export manifest (export-manifest.md, section 1, and
 * section 7, step 1).
 */

import { concat, fromBase64, utf8 } from '../bytes.js';
import { FormatError } from '../errors.js';
import { payloadType } from '../sigstore/statement.js';
import { parseAnyNumbers, quote, type Json } from '../json.js';
import { Failure } from './errors.js';

/** Size limit of the file of a manifest, in bytes. */
export const MAX_EXPORT_MANIFEST_BYTES = 1 << 20;

const maxSignatures = 64;

/** The signed part of a manifest's file. */
export interface Envelope {
  payloadType: string;
  payload: Uint8Array;
  signatures: Uint8Array[];
  /** What is signed: DSSE's pre-authentication encoding. */
  message: Uint8Array;
  /** Whether the file is a Sigstore bundle. */
  isBundle: boolean;
}

/** Performs step 1. */
export function parseEnvelope(file: Uint8Array): Envelope {
  let envelope;
  try {
    if (file.length > MAX_EXPORT_MANIFEST_BYTES) throw new FormatError(`exceeds ${MAX_EXPORT_MANIFEST_BYTES} bytes`);
    envelope = read(parseAnyNumbers(file));
  } catch (error) {
    if (error instanceof FormatError) throw new Failure('manifest-malformed', error.message);
    throw error;
  }
  if (envelope.payloadType !== payloadType)
    throw new Failure('payload-type', `payloadType: ${quote(envelope.payloadType)}, expected ${payloadType}`);
  return envelope;
}

function read(file: Map<string, Json>): Envelope {
  const isBundle = file.has('mediaType') || file.has('verificationMaterial');
  const envelope = isBundle ? object(file.get('dsseEnvelope'), 'dsseEnvelope') : file;
  const type = string(envelope.get('payloadType'), 'payloadType');
  const payload = binary(envelope.get('payload'), 'payload');
  const signatures = envelope.get('signatures');
  if (!Array.isArray(signatures) || signatures.length === 0 || signatures.length > maxSignatures)
    throw new FormatError(`signatures: must be an array of 1 to ${maxSignatures} objects`);
  const typeBytes = utf8(type);
  return {
    payloadType: type,
    payload,
    signatures: signatures.map((value, i) => {
      const signature = object(value, `signatures[${i}]`);
      if (signature.has('keyid')) string(signature.get('keyid'), `signatures[${i}].keyid`);
      return binary(signature.get('sig'), `signatures[${i}].sig`);
    }),
    message: concat(utf8(`DSSEv1 ${typeBytes.length} `), typeBytes, utf8(` ${payload.length} `), payload),
    isBundle,
  };
}

function object(value: Json | undefined, path: string): Map<string, Json> {
  if (!(value instanceof Map)) throw new FormatError(`${path}: must be an object`);
  return value;
}

function string(value: Json | undefined, path: string): string {
  if (typeof value !== 'string') throw new FormatError(`${path}: must be a string`);
  return value;
}

/** Returns the bytes of a base64 string that is not empty. */
function binary(value: Json | undefined, path: string): Uint8Array {
  const bytes = fromBase64(string(value, path));
  if (bytes === undefined || bytes.length === 0) throw new FormatError(`${path}: not base64 of at least one byte`);
  return bytes;
}

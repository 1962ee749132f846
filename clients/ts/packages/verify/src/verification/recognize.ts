/** Recognition of the kind of a file (verify.md, section 3). */

import { fromBase64 } from '../bytes.js';
import { FormatError } from '../errors.js';
import { parseAnyNumbers, type Json } from '../json.js';
import { BUNDLE_TYPE_PREFIX } from '../sigstore/bundle.js';
import type { VerificationKind } from '../report/sections.js';
import { sourceOf, type Input } from '../source.js';
import { CallFailure } from './failure.js';
import { readAll, unreadable } from './inputs.js';

const maxDocument = 16 << 20;
const archiveMark = { at: 257, text: 'ustar' };
const receiptPrefix = 'application/vnd.muniment.receipt.';
const exportPrefix = 'https://muniment.dev/predicate/export-manifest/';

/**
 * Recognizes the kind of a file from its content, which its sender has chosen.
 * A stream is never recognized.
 *
 * @throws CallerError with the code `unreadable`
 * @throws CallFailure with the code `kind-unknown`
 */
export async function recognize(name: string, input: Input): Promise<Exclude<VerificationKind, 'stream'>> {
  if (await isArchive(name, input)) return 'evidence-bundle';
  const bytes = await readAll(name, input, maxDocument);
  const document = bytes.length > maxDocument ? undefined : parse(bytes);
  const kind = document && kindOf(document);
  if (kind === undefined) throw new CallFailure('kind-unknown', 'cannot recognize the kind of the file: name it');
  return kind;
}

async function isArchive(name: string, input: Input): Promise<boolean> {
  const { at, text } = archiveMark;
  try {
    const source = sourceOf(input);
    if (source.size < at + text.length) return false;
    const mark = await source.read(at, text.length);
    return String.fromCharCode(...mark) === text;
  } catch (error) {
    throw unreadable(name, error);
  }
}

function parse(bytes: Uint8Array): Map<string, Json> | undefined {
  try {
    return parseAnyNumbers(bytes);
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}

function kindOf(document: Map<string, Json>): Exclude<VerificationKind, 'stream'> | undefined {
  const mediaType = document.get('mediaType');
  if (typeof mediaType === 'string' && mediaType.startsWith(receiptPrefix)) return 'receipt';
  const hasMaterial = document.has('verificationMaterial');
  if ((hasMaterial || mediaType !== undefined) && isManifest(document.get('dsseEnvelope'))) return 'export';
  if (hasMaterial || (typeof mediaType === 'string' && mediaType.startsWith(BUNDLE_TYPE_PREFIX)))
    return 'sigstore-bundle';
  return document.has('payloadType') ? 'export' : undefined;
}

/** Reports whether an envelope contains the statement of an export. */
function isManifest(envelope: Json | undefined): boolean {
  const payload = envelope instanceof Map ? envelope.get('payload') : undefined;
  const bytes = typeof payload === 'string' ? fromBase64(payload) : undefined;
  const predicateType = bytes && parse(bytes)?.get('predicateType');
  return typeof predicateType === 'string' && predicateType.startsWith(exportPrefix);
}

#!/usr/bin/env node
/**
 * Verdicts on a file of inputs: `node dist/mutants.js FILE` (receipt.md,
 * section 6).
 */

import { sha256 } from '@noble/hashes/sha2.js';
import { closeSync, openSync, readSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { hex, utf8 } from './bytes.js';
import { write } from './command/output.js';
import { CallerError, NotVerifiedError } from './errors.js';
import type { Options } from './expectations.js';
import { parsePolicy } from './policy.js';
import { reportOf, type Statement } from './statement.js';
import { parseStreamKey } from './streamkey.js';
import { verify } from './verify.js';

/** A line of the file. Receipts, policies, keys and payloads are in base64. */
export interface Mutant {
  id: number;
  receipt: string;
  policies: string[];
  streamKey?: string;
  payload?: string;
  external?: string;
  headerOnly?: true;
  expect?: Omit<Options, 'payload' | 'external' | 'headerOnly' | 'streamKey'>;
}

const provenMembers = [
  'origin',
  'index',
  'size',
  'root',
  'leafHash',
  'tag',
  'streamId',
  'seq',
  'prev',
  'headerHash',
  'headerSha256',
  'payloadSha256',
  'externalSha256',
  'tagChecked',
  'signers',
  'policy',
  'witnessed',
] as const;

/** Returns the fingerprint of a statement, in hexadecimal. */
export function fingerprint(statement: Statement): string {
  const { proven, claimed, content, warnings } = reportOf(statement);
  const members: [string, string | number | boolean | string[] | undefined][] = [
    ...provenMembers.map((name) => [name, proven[name]] as [string, string | number | boolean | string[] | undefined]),
    ['time', claimed.time],
    ['erased', claimed.erased],
    ['content', content],
    ['warnings', warnings],
  ];
  const lines = members.filter(([, value]) => value !== undefined).map(([name, value]) => `${name}=${String(value)}\n`);
  return hex(sha256(utf8(lines.join(''))));
}

/**
 * Returns the verdict on one input, followed by the fingerprint or the reason
 * code.
 */
export function judge(mutant: Mutant): string {
  const decode = (text: string) => Uint8Array.from(Buffer.from(text, 'base64'));
  try {
    const policies = mutant.policies.map((text, i) => parsePolicy(String(i), decode(text)));
    const options: Options = { ...mutant.expect };
    if (policies.length > 0 && mutant.streamKey !== undefined)
      options.streamKey = parseStreamKey(decode(mutant.streamKey));
    if (mutant.payload !== undefined) options.payload = decode(mutant.payload);
    if (mutant.external !== undefined) options.external = decode(mutant.external);
    if (mutant.headerOnly !== undefined) options.headerOnly = mutant.headerOnly;
    return `verified ${fingerprint(verify(decode(mutant.receipt), policies, options))}`;
  } catch (error) {
    if (error instanceof NotVerifiedError) return `refused ${error.code}`;
    if (error instanceof CallerError) return `not-checked ${error.code}`;
    throw error;
  }
}

/** Yields the lines of a file, which need not fit in memory. */
function* linesOf(path: string): Iterable<string> {
  const file = openSync(path, 'r');
  const piece = Buffer.alloc(1 << 20);
  let rest = Buffer.alloc(0);
  for (let read = readSync(file, piece); read > 0; read = readSync(file, piece)) {
    rest = Buffer.concat([rest, piece.subarray(0, read)]);
    for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
      yield rest.toString('utf8', 0, end);
      rest = rest.subarray(end + 1);
    }
  }
  closeSync(file);
  if (rest.length > 0) yield rest.toString('utf8');
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  for (const line of linesOf(process.argv[2] ?? '')) {
    const mutant = JSON.parse(line) as Mutant;
    write(1, `${mutant.id} ${judge(mutant)}\n`);
  }

/** Loads the test vectors of the specification. */

import { readFileSync } from 'node:fs';
import { fromHex } from '../src/bytes.js';
import { parsePolicy, parseStreamKey, reportOf, type Options, type Policy, type Statement } from '../src/index.js';

/** Returns the text of a file of the specification. */
export function specText(file: string): string {
  return readFileSync(new URL(`../../../../../docs/spec/${file}`, import.meta.url), 'utf8');
}

function load(file: string): unknown {
  return JSON.parse(specText(`vectors/${file}`));
}

export interface EntryCase {
  name: string;
  origin: string;
  originHash: string;
  streamKey: string;
  linkSalt: string;
  headerSalt: string;
  payloadSalt: string;
  prev: string;
  seq: string;
  time: string;
  headerUtf8: string;
  payload: string;
  streamID: string;
  tag: string;
  link: string;
  headerHash: string;
  commitment: string;
  entryHash: string;
  leafData: string;
  leafHash: string;
}

export const entryCases = load('entry.json') as EntryCase[];

export interface StrictCase {
  name: string;
  target: 'header' | 'receipt';
  inputBase64: string;
  verdict: 'accept' | 'refuse';
  reason?: string;
}

export const strictCases = load('strict-json.json') as StrictCase[];

export interface ReceiptCase {
  name: string;
  receiptBase64: string;
  policies: string[];
  payload?: string;
  external?: string;
  headerOnly?: boolean;
  expect?: Omit<Options, 'payload' | 'external' | 'headerOnly' | 'streamKey'> & { streamKey?: string };
  verdict: 'verified' | 'refused' | 'not-checked';
  reason?: string;
  report?: Record<string, unknown>;
}

interface ReceiptFile {
  policies: Record<string, string>;
  streamKeys: Record<string, string>;
  payloads: Record<string, string>;
  cases: ReceiptCase[];
}

export const receipts = load('receipts.json') as ReceiptFile;

/** Cases where the specification is easily misread. */
export const adversarial = load('adversarial.json') as ReceiptFile;

/**
 * An input too long to store: `fill`, repeated `count` times between prefix and
 * suffix.
 */
export interface FilledCase {
  name: string;
  prefixBase64: string;
  fill: string;
  count: number;
  suffixBase64: string;
}

/** Returns the input of a case. */
export function filled({ prefixBase64, fill, count, suffixBase64 }: FilledCase): Uint8Array {
  const [prefix, suffix] = [Buffer.from(prefixBase64, 'base64'), Buffer.from(suffixBase64, 'base64')];
  return Uint8Array.from(Buffer.concat([prefix, Buffer.from(fill.repeat(count)), suffix]));
}

export interface LimitCase extends FilledCase {
  target: 'policy' | 'receipt';
  verdict: 'accept' | 'refuse' | 'verified' | 'refused';
  reason?: string;
}

export const limits = load('limits.json') as { policy: string; cases: LimitCase[] };

/** Decodes hexadecimal, which must be well formed. */
export function bytes(text: string | undefined): Uint8Array {
  const read = fromHex(text ?? '?');
  if (read === undefined) throw new Error(`not hexadecimal: ${text ?? '(missing)'}`);
  return read;
}

/** Returns the case of receipts.json with this name. */
export function receiptCase(name: string): ReceiptCase {
  const found = receipts.cases.find((c) => c.name === name);
  if (found === undefined) throw new Error(`receipts.json has no case ${JSON.stringify(name)}`);
  return found;
}

export function policiesOf(c: ReceiptCase, file = receipts): Policy[] {
  return c.policies.map((name) => parsePolicy(name, file.policies[name] ?? ''));
}

export function optionsOf(c: ReceiptCase, file = receipts): Options {
  const { streamKey, ...expectations } = c.expect ?? {};
  const options: Options = { ...expectations };
  const payload = (name: string) => Uint8Array.from(Buffer.from(file.payloads[name] ?? '?', 'base64'));
  if (streamKey !== undefined) options.streamKey = parseStreamKey(file.streamKeys[streamKey] ?? '');
  if (c.payload !== undefined) options.payload = payload(c.payload);
  if (c.external !== undefined) options.external = payload(c.external);
  if (c.headerOnly !== undefined) options.headerOnly = c.headerOnly;
  return options;
}

/** Returns the bytes of a case's receipt. */
export function receiptOf(c: ReceiptCase): Uint8Array {
  return Uint8Array.from(Buffer.from(c.receiptBase64, 'base64'));
}

/** Returns the report on a statement, as parsed from its JSON. */
export function asVector(statement: Statement): unknown {
  return JSON.parse(JSON.stringify(reportOf(statement)));
}

export interface PolicyCase {
  name: string;
  textBase64: string;
  verdict: 'accept' | 'refuse';
  origin?: string;
  witnessed?: boolean;
  keys?: string[];
  secret?: string;
}

export const policyCases = load('policies.json') as PolicyCase[];

export interface StreamKeyCase {
  name: string;
  textBase64: string;
  verdict: 'accept' | 'refuse';
  streamId?: string;
}

export const streamKeyCases = load('stream-keys.json') as StreamKeyCase[];

export interface DigestCase {
  name: string;
  expected: string;
  digest: Record<string, string>;
  verdict: 'equal' | 'different' | 'malformed';
}

export const digestCases = load('digests.json') as DigestCase[];

/** Returns the table of codes and steps in the specification. */
export function specifiedSteps(): Record<string, number> {
  const text = readFileSync(new URL('../../../../../docs/spec/receipt.md', import.meta.url), 'utf8');
  const table = text.split('| step | codes |')[1]?.split('\n\n')[0] ?? '';
  const steps: Record<string, number> = {};
  for (const [, step, codes] of table.matchAll(/^\| (\d+) \| (.*) \|$/gm))
    for (const [, code] of (codes ?? '').matchAll(/`([^`]+)`/g)) steps[code ?? ''] = Number(step);
  return steps;
}

export interface BundleCase {
  name: string;
  bundle: string;
  edits?: { at: number; remove: number; insert: string | null }[];
  policies: string[];
  streamKey?: string;
  expect?: { identity?: string; tenant?: string };
  verdict: string;
  reason?: string;
  report?: Record<string, unknown>;
}

/** The files bundles.json and bundle-reports.json. */
export interface BundleFile {
  policies: Record<string, string>;
  streamKeys: Record<string, string>;
  bundles: Record<string, string>;
  cases: BundleCase[];
}

/** Returns the bytes of the case's bundle. */
export function bytesOf(file: BundleFile, { bundle, edits = [] }: BundleCase): Uint8Array {
  const original = Buffer.from(file.bundles[bundle] ?? '?', 'base64');
  const parts: Uint8Array[] = [];
  let from = 0;
  for (const { at, remove, insert } of edits) {
    parts.push(original.subarray(from, at), Buffer.from(insert ?? '', 'base64'));
    from = at + remove;
  }
  return Uint8Array.from(Buffer.concat([...parts, original.subarray(from)]));
}

/** The test vectors of the specification. */

import { readFileSync } from 'node:fs';
import { fromHex } from '../src/bytes.js';
import { parsePolicy, type Options, type Policy, type Statement } from '../src/index.js';

function load(file: string): unknown {
  return JSON.parse(readFileSync(new URL(`../../../docs/spec/vectors/${file}`, import.meta.url), 'utf8'));
}

export interface EntryCase {
  name: string;
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
}

export const strictCases = load('strict-json.json') as StrictCase[];

export interface ReceiptCase {
  name: string;
  receiptBase64: string;
  policies: string[];
  payload?: string;
  headerOnly?: boolean;
  expect?: { tenant?: string; kind?: string; subject?: string; stream?: string; streamKey?: string };
  verdict: 'accept' | 'refuse';
  reason?: string;
  statement?: Record<string, unknown>;
}

export const receipts = load('receipts.json') as {
  policies: Record<string, string>;
  streamKeys: Record<string, string>;
  payloads: Record<string, string>;
  cases: ReceiptCase[];
};

/** The bytes of hexadecimal that must be right. */
export function bytes(text: string | undefined): Uint8Array {
  const read = fromHex(text ?? '?');
  if (read === undefined) throw new Error(`not hexadecimal: ${text ?? '(missing)'}`);
  return read;
}

/** The case of receipts.json with this name. */
export function receiptCase(name: string): ReceiptCase {
  const found = receipts.cases.find((c) => c.name === name);
  if (found === undefined) throw new Error(`receipts.json has no case ${JSON.stringify(name)}`);
  return found;
}

export function policiesOf(c: ReceiptCase): Policy[] {
  return c.policies.map((name) => parsePolicy(name, receipts.policies[name] ?? ''));
}

export function optionsOf(c: ReceiptCase): Options {
  const { streamKey, ...expectations } = c.expect ?? {};
  const options: Options = { ...expectations };
  if (streamKey !== undefined) options.streamKey = bytes(receipts.streamKeys[streamKey]);
  if (c.payload !== undefined)
    options.payload = Uint8Array.from(Buffer.from(receipts.payloads[c.payload] ?? '?', 'base64'));
  if (c.headerOnly !== undefined) options.headerOnly = c.headerOnly;
  return options;
}

/** The bytes of a case's receipt. */
export function receiptOf(c: ReceiptCase): Uint8Array {
  return Uint8Array.from(Buffer.from(c.receiptBase64, 'base64'));
}

/** A statement in the form of receipts.json. */
export function asVector(statement: Statement): Record<string, unknown> {
  const own = ['header', 'headerBytes', 'policy', 'witnessed', 'tagChecked', 'externalChecked'];
  return Object.fromEntries(Object.entries(statement).filter(([member]) => !own.includes(member)));
}

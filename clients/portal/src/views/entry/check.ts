/** Verification of the receipt of an entry, with the SDK. */

import { MunimentError, parseReceipt, verify, type Policy, type Statement } from '@muniment/verify';
import { parseProof, type Proof } from '@muniment/verify/proof';
import type { Entry } from '../../gen/muniment/v1/ledger_pb';

/** What is known about a receipt. */
export type Checked = { verdict: 'verified'; statement: Statement; proof: Proof; payloadSalt?: Uint8Array } | Refused;

export interface Refused {
  verdict: 'refused';
  /** The code of docs/spec/receipt.md, or one of those below. */
  code: string;
  /** 0: before the steps of the specification. */
  step: number;
  message: string;
  /** The proof, if the receipt could be read so far. */
  proof?: Proof;
}

/** What the page expects of the receipt that it has asked for. */
export interface Expected {
  index: bigint;
  tenant: string;
  /** The stream of the tenant, if it is known. */
  stream?: string | undefined;
}

/** Verifies a receipt without its payload. */
export function check(receipt: Uint8Array, policies: readonly Policy[], expected: Expected): Checked {
  let proof: Proof | undefined;
  let payloadSalt: Uint8Array | undefined;
  try {
    const parsed = parseReceipt(receipt);
    proof = parseProof(parsed.proof);
    payloadSalt = parsed.payload?.salt;
    const isErased = parsed.form === 'header-erased';
    const statement = verify(receipt, policies, {
      headerOnly: true,
      ...(!isErased && { tenant: expected.tenant }),
      ...(expected.stream !== undefined && { stream: expected.stream }),
    });
    if (BigInt(statement.index) !== expected.index)
      return {
        verdict: 'refused',
        code: 'another-entry',
        step: 0,
        message: `the server returned the receipt of entry ${statement.index}, not of entry ${expected.index}`,
        proof,
      };
    return { verdict: 'verified', statement, proof, ...(payloadSalt && { payloadSalt }) };
  } catch (error) {
    if (!(error instanceof MunimentError)) throw error;
    return { verdict: 'refused', code: error.code, step: error.step, message: error.message, ...(proof && { proof }) };
  }
}

/**
 * Compares the description of an entry by the server with its verified receipt.
 * Returns the members that differ.
 */
export function differences(entry: Entry, statement: Statement): string[] {
  const { header } = statement;
  const differing: [string, boolean][] = [
    ['index', entry.index !== BigInt(statement.index)],
    ['sequence number', statement.seq !== undefined && entry.seq !== BigInt(statement.seq)],
    ['leaf hash', hexOf(entry.leafHash) !== statement.leafHash],
    ['time', timeOf(entry) !== statement.time],
    ['header', !equalBytes(entry.header, statement.headerBytes ?? new Uint8Array())],
    ['kind', entry.kind !== (header?.kind ?? '')],
    ['media type', entry.mediaType !== (header?.mediaType ?? '')],
    ['predicate type', entry.predicateType !== (header?.predicateType ?? '')],
    ['submitter', entry.submitter !== (header?.submitter ?? '')],
    ['verification', entry.verification !== (header?.verification.result ?? '')],
    ['payload size', header !== undefined && entry.payloadSize !== BigInt(header.payload.size)],
  ];
  return differing.filter(([, differs]) => differs).map(([name]) => name);
}

const timeOf = ({ time }: Entry): number | undefined =>
  time === undefined ? undefined : Number(time.seconds) * 1000 + Math.trunc(time.nanos / 1e6);

const hexOf = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

const equalBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);

/** What the command prints about one receipt. */

import { base64, fromHex } from '../bytes.js';
import type { Artifact, Header } from '../header.js';
import type { Statement } from '../verify.js';

/** The verdict about one file. Without a statement there is an error. */
export interface Outcome {
  /** The file. */
  receipt: string;
  /** False: there is no verdict, because something could not be read. */
  checked: boolean;
  statement?: Statement;
  error?: string;
}

/** One line, with the members that `muniment verify --json` prints. */
export function json(outcome: Outcome): string {
  const { receipt, checked, statement } = outcome;
  if (statement === undefined)
    return JSON.stringify({ receipt, verified: false, checked, error: outcome.error, witnessed: false });
  return JSON.stringify({
    receipt,
    verified: true,
    checked,
    proven: {
      origin: statement.origin,
      index: statement.index,
      size: statement.size,
      root: root(statement),
      leafHash: statement.leafHash,
      signers: statement.signers,
      streamId: statement.streamId,
      seq: statement.seq,
      tagChecked: statement.tagChecked,
      payloadSha256: statement.payloadSha256,
      externalChecked: statement.externalChecked || undefined,
    },
    claimed: {
      time: time(statement.time),
      header: statement.header,
    },
    witnessed: statement.witnessed,
    policy: statement.policy,
  });
}

/** Lines for people. */
export function human(outcome: Outcome): string {
  const { statement } = outcome;
  if (statement === undefined) {
    const verdict = outcome.checked ? '✗ NOT VERIFIED' : '? NOT CHECKED ';
    return `${verdict}  ${printable(outcome.receipt)}\n  ${printable(outcome.error ?? '')}`;
  }
  const lines = [
    `✓ VERIFIED  ${printable(outcome.receipt)}`,
    ...group('proven', proven(statement)),
    ...group('claimed', claimed(statement)),
    ...group('witness', [
      statement.witnessed
        ? `witnessed: the cosignatures meet the quorum of the policy ${printable(statement.policy)}`
        : 'not witnessed: the policy asks for none, so the log could show others another history',
    ]),
  ];
  return lines.join('\n');
}

function group(title: string, lines: string[]): string[] {
  return lines.map((line, i) => `  ${(i === 0 ? title : '').padEnd(10)}${line}`);
}

function proven(s: Statement): string[] {
  const lines = [
    `entry ${s.index} of the log ${printable(s.origin)} is in its tree of ${s.size} entries`,
    `root ${root(s)}`,
    `signed by ${printable(s.signers.join(', '))}`,
  ];
  if (s.streamId !== undefined)
    lines.push(
      `it is entry ${s.seq ?? 0} of the stream ${s.streamId}` +
        (s.tagChecked ? ', under its right tag' : ' (give --stream-key to check its tag)'),
    );
  if (s.header === undefined) lines.push(`the header is erased; its hash is ${s.headerHash}`);
  else if (s.payloadSha256 === undefined) lines.push('the header is what was recorded; the payload was not checked');
  else
    lines.push(`header and payload are what was recorded: ${s.header.payload.size} bytes, sha256:${s.payloadSha256}`);
  if (s.externalChecked) lines.push('the evidence kept elsewhere is what was referred to');
  return lines;
}

function claimed(s: Statement): string[] {
  const { header } = s;
  const lines = [`by the log: recorded ${time(s.time)}`];
  if (header === undefined) return lines;
  lines.push(`for tenant ${header.tenant}, from ${printable(header.submitter)}`);
  const predicate = header.predicateType === undefined ? '' : `, predicate ${printable(header.predicateType)}`;
  lines.push(`as ${header.kind}, ${printable(header.mediaType)}${predicate}`);
  for (const subject of header.subjects ?? []) lines.push(`about ${artifact(subject)}`);
  for (const signer of header.signers ?? []) {
    const who = [signer.identity, signer.keyId].filter((name) => name !== undefined).join(', key ');
    const issuer = signer.issuer === undefined ? '' : ` of ${printable(signer.issuer)}`;
    lines.push(`signed, it says, by ${printable(who)}${issuer}`);
  }
  lines.push(verification(header.verification));
  return lines;
}

function artifact(subject: Artifact): string {
  const digests = Object.entries(subject.digest)
    .map(([algorithm, value]) => `${algorithm}:${value}`)
    .join(' ');
  return printable(subject.name === undefined ? digests : `${digests} ${subject.name}`);
}

function verification({ result, format, reason }: Header['verification']): string {
  const what = {
    verified: 'the log verified the signatures',
    unverified: 'the log did not verify a signature',
    failed: 'the log found the signatures wrong',
  }[result];
  const detail = [format, reason].filter((text) => text !== undefined).join(': ');
  return detail === '' ? what : `${what} (${printable(detail)})`;
}

function root(statement: Statement): string {
  return base64(fromHex(statement.root) ?? new Uint8Array());
}

/** A time in milliseconds since 1970, in RFC 3339 as far as dates go. */
function time(milliseconds: number): string {
  const date = new Date(milliseconds);
  return Number.isNaN(date.getTime()) ? `${milliseconds} ms after 1970` : date.toISOString();
}

/** A text of others, without what would move the cursor, begin a line, or turn the writing around. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`);
}

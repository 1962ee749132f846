/** The report on a receipt, as JSON and as text. */

import type { MunimentError } from '../errors.js';
import type { Artifact, Header, Signer } from '../header.js';
import { documentOf, parseObject } from '../json.js';
import { printable, printableJson } from '../printable.js';
import { isContentChecked, reportOf, type Statement } from '../statement.js';

/** The result for a receipt: a statement, or an error. */
export type Outcome = { receipt: string } & ({ statement: Statement } | { error: MunimentError; refused: boolean });

/** Returns the report as one line of JSON (receipt.md, section 5). */
export function json(outcome: Outcome): string {
  const { receipt } = outcome;
  if ('statement' in outcome) return printableJson({ receipt, verdict: 'verified', ...reportOf(outcome.statement) });
  const { code, step, message } = outcome.error;
  return printableJson({
    receipt,
    verdict: outcome.refused ? 'refused' : 'not-checked',
    reason: { code, step, message },
  });
}

/** Returns the human-readable report. */
export function human(outcome: Outcome): string {
  if (!('statement' in outcome)) {
    const verdict = outcome.refused ? '✗ REFUSED' : '? NOT CHECKED';
    return `${verdict}  ${printable(outcome.receipt)}\n  ${outcome.error.code}: ${printable(outcome.error.message)}`;
  }
  const { statement } = outcome;
  const lines = [
    `✓ VERIFIED  ${outcome.receipt}`,
    ...part('proven', proven(statement)),
    ...part('claimed', claimed(statement)),
    ...part('content', [content(statement)]),
    ...part('witness', [witness(statement)]),
  ];
  return lines.map(printable).join('\n');
}

function part(title: string, lines: string[]): string[] {
  return lines.map((line, i) => `  ${(i === 0 ? title : '').padEnd(10)}${line}`);
}

function proven(s: Statement): string[] {
  const lines = [
    `entry ${s.index} of the log ${s.origin} is in its tree of ${count(s.size, 'entry', 'entries')}`,
    `root ${s.root}`,
    `signed by ${s.signers.join(', ')}`,
  ];
  if (s.streamId !== undefined) {
    const tag = s.tagChecked ? 'with the right tag' : 'tag not checked: use --stream-key';
    lines.push(`entry ${s.seq ?? 0} of the stream ${s.streamId} (${tag})`);
  }
  if (s.header === undefined) lines.push(`header hash ${s.headerHash}`);
  else if (s.payloadSha256 === undefined) lines.push('the header is as recorded; the payload was not checked');
  else {
    const size = count(s.header.payload.size, 'byte', 'bytes');
    lines.push(`header and payload are as recorded: ${size}, sha256:${s.payloadSha256}`);
  }
  if (s.externalSha256 !== undefined) lines.push(`the external evidence is as recorded: sha256:${s.externalSha256}`);
  return lines;
}

function claimed(s: Statement): string[] {
  const header = s.headerBytes && documentOf<Header>(parseObject(s.headerBytes)).toJSON();
  const lines = [`recorded ${time(s.time)}`];
  if (s.erased !== undefined) lines.push(`${s.erased.join(' and ')} erased by the log`);
  if (header === undefined) return lines;
  lines.push(`tenant ${header.tenant}, submitted by ${header.submitter}`);
  const predicate = header.predicateType === undefined ? '' : `, predicate ${header.predicateType}`;
  lines.push(`${header.kind}, ${header.mediaType}${predicate}`);
  for (const subject of header.subjects ?? []) lines.push(`about ${artifact(subject)}`);
  for (const control of header.controls ?? []) lines.push(`control ${control}`);
  for (const one of header.signers ?? []) lines.push(signer(one));
  lines.push(verification(header.verification));
  if (header.admission !== undefined) lines.push(admission(header.admission));
  return lines;
}

function artifact({ name, digest }: Artifact): string {
  const digests = Object.entries(digest).map(([algorithm, value]) => `${algorithm}:${value}`);
  return [...digests, ...(name === undefined ? [] : [name])].join(' ');
}

function signer({ identity, keyId, issuer }: Signer): string {
  const names = [
    identity,
    keyId === undefined ? undefined : `key ${keyId}`,
    issuer === undefined ? undefined : `issuer ${issuer}`,
  ];
  return `signed by ${names.filter((name) => name !== undefined).join(', ')}`;
}

function verification({ result, format, reason }: Header['verification']): string {
  const what = {
    verified: 'the log verified the signatures',
    unverified: 'the log did not verify the signatures',
    failed: 'the log found the signatures invalid',
  }[result];
  const detail = [format, reason].filter((text) => text !== undefined).join(': ');
  return detail === '' ? what : `${what} (${detail})`;
}

function admission({ result, rule, reason }: NonNullable<Header['admission']>): string {
  const what = result === 'admitted' ? 'admitted' : 'recorded, not admitted';
  return `${what}${rule === undefined ? '' : ` by the rule ${rule}`}${reason === undefined ? '' : `: ${reason}`}`;
}

function content(s: Statement): string {
  if (isContentChecked(s)) return 'checked';
  return s.header?.external === undefined
    ? 'content not checked'
    : 'content not checked: the evidence is kept elsewhere (use --external)';
}

function witness(s: Statement): string {
  return s.witnessed
    ? `cosigned by the witnesses that the policy ${s.policy} requires`
    : `not witnessed: the policy ${s.policy} requires no witness`;
}

function count(n: number, one: string, many: string): string {
  return `${n} ${n === 1 ? one : many}`;
}

/**
 * Formats Unix milliseconds in RFC 3339. Times beyond the year 9999 stay a
 * number.
 */
function time(milliseconds: number): string {
  const date = new Date(milliseconds);
  const inCalendar = !Number.isNaN(date.getTime()) && date.getUTCFullYear() <= 9999;
  return inCalendar ? date.toISOString() : `${milliseconds} ms after 1970`;
}

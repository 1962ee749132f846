import { describe, expect, test } from 'vitest';
import { hex, utf8 } from '../src/bytes.js';
import * as entry from '../src/entry.js';
import {
  CallerError,
  keyId,
  NotVerifiedError,
  parseHeader,
  parsePolicy,
  parseReceipt,
  parseStreamKey,
  STEPS,
  verify,
  type MunimentError,
  type PolicyError,
} from '../src/index.js';
import { isAmong, parseDigest } from '../src/digest.js';
import {
  adversarial,
  asVector,
  bytes,
  digestCases,
  entryCases,
  filled,
  limits,
  optionsOf,
  policiesOf,
  policyCases,
  receiptOf,
  receipts,
  specifiedSteps,
  streamKeyCases,
  strictCases,
} from './vectors.js';

test('the vector files are not empty', () => {
  expect([entryCases.length > 4, strictCases.length > 100, receipts.cases.length > 80]).toEqual([true, true, true]);
});

describe('entry.json', () => {
  test.each(entryCases)('$name', (c) => {
    const streamKey = bytes(c.streamKey);
    const seq = BigInt(c.seq);
    const streamId = entry.streamId(streamKey);
    const tag = entry.tag(streamKey, seq);
    const link = entry.linkHash({ salt: bytes(c.linkSalt), streamId, seq, prev: bytes(c.prev) });
    const headerHash = entry.headerHash(bytes(c.headerSalt), utf8(c.headerUtf8));
    const originHash = entry.originHash(c.origin);
    const entryHash = entry.entryHash(originHash, link, BigInt(c.time), headerHash);
    const leafData = entry.leafData(tag, entryHash);
    expect({
      originHash: hex(originHash),
      streamID: hex(streamId),
      tag: hex(tag),
      link: hex(link),
      headerHash: hex(headerHash),
      commitment: hex(entry.commitment(bytes(c.payloadSalt), bytes(c.payload))),
      entryHash: hex(entryHash),
      leafData: hex(leafData),
      leafHash: hex(entry.leafHash(leafData)),
    }).toEqual({
      originHash: c.originHash,
      streamID: c.streamID,
      tag: c.tag,
      link: c.link,
      headerHash: c.headerHash,
      commitment: c.commitment,
      entryHash: c.entryHash,
      leafData: c.leafData,
      leafHash: c.leafHash,
    });
  });
});

describe('strict-json.json', () => {
  test.each(strictCases)('$target: $name', (c) => {
    const input = Uint8Array.from(Buffer.from(c.inputBase64, 'base64'));
    const parse = () => (c.target === 'header' ? parseHeader(input) : parseReceipt(input));
    if (c.verdict === 'accept') expect(parse).not.toThrow();
    else expect(thrown(parse)).toMatchObject({ name: 'FormatError', code: c.reason ?? 'header-malformed' });
  });
});

describe.each([
  { file: 'receipts.json', vectors: receipts },
  { file: 'adversarial.json', vectors: adversarial },
])('$file', ({ vectors }) => {
  test.each(vectors.cases)('$name', (c) => {
    const run = () => verify(receiptOf(c), policiesOf(c, vectors), optionsOf(c, vectors));
    if (c.verdict === 'verified') {
      expect(asVector(run())).toEqual(c.report);
      return;
    }
    const error = thrown(run);
    expect(error).toBeInstanceOf(c.verdict === 'refused' ? NotVerifiedError : CallerError);
    expect((error as MunimentError).code).toBe(c.reason);
  });
});

describe('policies.json', () => {
  test.each(policyCases)('$name', (c) => {
    const parse = () => parsePolicy('p', Uint8Array.from(Buffer.from(c.textBase64, 'base64')));
    if (c.verdict === 'accept') {
      const policy = parse();
      const keys = policy.keys().map(keyId);
      expect([policy.origin, policy.asksForWitness]).toEqual([c.origin, c.witnessed]);
      expect(keys.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))).toEqual(c.keys);
      return;
    }
    const error = thrown(parse) as PolicyError;
    expect(error).toMatchObject({ name: 'PolicyError', code: 'policy-malformed' });
    if (c.secret !== undefined) expect(error.message).not.toContain(c.secret);
  });
});

describe('stream-keys.json', () => {
  test.each(streamKeyCases)('$name', (c) => {
    const parse = () => parseStreamKey(Uint8Array.from(Buffer.from(c.textBase64, 'base64')));
    if (c.verdict === 'accept') expect(hex(entry.streamId(parse()))).toBe(c.streamId);
    else expect(thrown(parse)).toMatchObject({ code: 'stream-key-malformed' });
  });
});

describe('digests.json', () => {
  test.each(digestCases)('$name', (c) => {
    const expected = parseDigest(c.expected);
    const verdict = expected === undefined ? 'malformed' : isAmong(expected, c.digest) ? 'equal' : 'different';
    expect(verdict).toBe(c.verdict);
  });
});

describe('limits.json', () => {
  const policies = [parsePolicy('log', limits.policy)];
  test.each(limits.cases)('$name', (c) => {
    const input = filled(c);
    const run = () => (c.target === 'policy' ? parsePolicy('p', input) : verify(input, policies));
    if (c.reason === undefined) expect(run).not.toThrow();
    else expect(thrown(run)).toMatchObject({ code: c.reason });
  });
});

test('codes and steps match the specification', () => {
  expect(STEPS).toEqual(specifiedSteps());
});

/** Returns what a function throws. */
function thrown(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

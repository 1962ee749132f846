import { describe, expect, test } from 'vitest';
import { hex, utf8 } from '../src/bytes.js';
import * as entry from '../src/entry.js';
import { FormatError, NotVerifiedError, parseHeader, parseReceipt, verify } from '../src/index.js';
import { asVector, bytes, entryCases, optionsOf, policiesOf, receiptOf, receipts, strictCases } from './vectors.js';

test('there are vectors', () => {
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
    const entryHash = entry.entryHash(link, BigInt(c.time), headerHash);
    const leafData = entry.leafData(tag, entryHash);
    expect({
      streamID: hex(streamId),
      tag: hex(tag),
      link: hex(link),
      headerHash: hex(headerHash),
      commitment: hex(entry.commitment(bytes(c.payloadSalt), bytes(c.payload))),
      entryHash: hex(entryHash),
      leafData: hex(leafData),
      leafHash: hex(entry.leafHash(leafData)),
    }).toEqual({
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
    else expect(parse).toThrow(FormatError);
  });
});

describe('receipts.json', () => {
  test.each(receipts.cases)('$name', (c) => {
    const run = () => verify(receiptOf(c), policiesOf(c), optionsOf(c));
    if (c.verdict === 'accept') {
      expect(asVector(run())).toEqual(c.statement);
      return;
    }
    expect(run).toThrow(NotVerifiedError);
    try {
      run();
    } catch (error) {
      // The specification leaves the order to the verifier; this one goes by its steps.
      expect(String((error as NotVerifiedError).step)).toBe(c.reason);
    }
  });
});

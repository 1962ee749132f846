import { ed25519 } from '@noble/curves/ed25519.js';
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { base64, concat, hex, u64, utf8 } from '../src/bytes.js';
import { NotVerifiedError, OptionError, parsePolicy, verify, type Options } from '../src/index.js';
import { includes } from '../src/proof.js';
import { parseKey, verifies } from '../src/signatures.js';
import { encodeKey } from './keys.js';
import { asVector, optionsOf, policiesOf, receiptCase, receiptOf, receipts } from './vectors.js';

const full = receiptCase('full');
const detached = receiptCase('detached with its payload');

describe('options', () => {
  test.each<[string, unknown]>([
    ['tennant', 'globex'],
    ['tenant', undefined],
    ['tenant', null],
    ['kind', 3],
    ['headerOnly', 'yes'],
    ['payload', 'text'],
    ['payload', undefined],
    ['streamKey', 'ab'.repeat(32)],
    ['streamKey', new Uint8Array(31)],
    ['constructor', 'x'],
  ])('%s = %j is refused', (name, value) => {
    const options = { [name]: value } as Options;
    expect(() => verify(receiptOf(full), policiesOf(full), options)).toThrow(OptionError);
  });

  test('anything but a policy is refused', () => {
    const policies = [receipts.policies['log']] as unknown as ReturnType<typeof policiesOf>;
    expect(() => verify(receiptOf(full), policies)).toThrow(OptionError);
  });

  test.each(['tenant', 'kind', 'subject', 'predicateType', 'control', 'signer', 'issuer', 'stream'])(
    'an empty %s is refused',
    (name) => {
      const options = { [name]: '' } as Options;
      expect(() => verify(receiptOf(full), policiesOf(full), options)).toThrow(OptionError);
    },
  );

  test.each(['__proto__:x', 'constructor:x'])('subject %s fails', (subject) => {
    expect(() => verify(receiptOf(full), policiesOf(full), { subject })).toThrow(NotVerifiedError);
  });

  test('a missing policy ranks before a malformed stream key, which ranks before an expectation', () => {
    const options = { streamKey: new Uint8Array(31), tenant: '' };
    expect(() => verify(receiptOf(full), [], options)).toThrow(expect.objectContaining({ code: 'policy-missing' }));
    expect(() => verify(receiptOf(full), policiesOf(full), options)).toThrow(
      expect.objectContaining({ code: 'stream-key-malformed' }),
    );
  });
});

describe('a payload in pieces', () => {
  const payload = optionsOf(detached).payload as Uint8Array;
  const inPieces = function* (bytes: Uint8Array, size: number) {
    const piece = new Uint8Array(size);
    for (let at = 0; at < bytes.length; at += size) {
      const part = bytes.subarray(at, at + size);
      piece.set(part);
      yield piece.subarray(0, part.length); // the same buffer each time
    }
  };

  test.each([1, 7, 64, 100])('of %i bytes', (size) => {
    for (const c of [detached, full]) {
      const statement = verify(receiptOf(c), policiesOf(c), { payload: inPieces(payload, size) });
      expect(asVector(statement)).toEqual(c.report);
    }
  });

  test.each([
    ['longer', concat(payload, Uint8Array.of(0))],
    ['shorter', payload.subarray(0, payload.length - 1)],
    ['empty', new Uint8Array()],
    ['another', payload.map((byte, i) => (i === 40 ? byte ^ 1 : byte))],
  ])('that is %s', (_, other) => {
    for (const c of [detached, full])
      expect(() => verify(receiptOf(c), policiesOf(c), { payload: inPieces(other, 7) })).toThrow(NotVerifiedError);
  });
});

test('the statement contains the header', () => {
  const statement = verify(receiptOf(full), policiesOf(full));
  expect(statement.header?.tenant).toBe('globex');
  expect(JSON.parse(new TextDecoder().decode(statement.headerBytes))).toEqual(
    JSON.parse(JSON.stringify(statement.header)),
  );
});

describe('Ed25519', () => {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const raw = Uint8Array.from(publicKey.export({ format: 'der', type: 'spki' }).subarray(-32));
  const text = `log.example\n5\n${base64(new Uint8Array(32))}\n`;
  const checkpoint = { text, origin: 'log.example', size: 5, root: new Uint8Array(32), signatures: [] };
  const key = parseKey(encodeKey('log.example', 0x01, raw));
  const signature = Uint8Array.from(sign(null, utf8(text), privateKey));

  test('agrees with Node on a good signature, and on it with any byte changed', () => {
    expect(verifies(key, signature, checkpoint)).toBe(true);
    for (let at = 0; at < signature.length; at++) {
      const other = signature.map((byte, i) => (i === at ? byte ^ 1 : byte));
      expect(verifies(key, other, checkpoint), `byte ${at}`).toBe(false);
    }
  });

  test('S of the group order or more is refused', () => {
    const order = 2n ** 252n + 27742317777372353535851937790883648493n;
    const s = BigInt(`0x${hex(signature.slice(32).reverse())}`) + order;
    const large = Uint8Array.from(Buffer.from(s.toString(16).padStart(64, '0'), 'hex').reverse());
    expect(verifies(key, concat(signature.slice(0, 32), large), checkpoint)).toBe(false);
  });

  test('a signature that verifies only with the cofactor is refused', () => {
    // With A and R of order 8 and S = 0, [8]([S]B − R − [k]A) is always zero.
    // Without the factor 8 it rarely is.
    const a = Uint8Array.from(Buffer.from('c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a', 'hex'));
    const small = parseKey(encodeKey('log.example', 0x01, a));
    const cofactored = Array.from({ length: 32 }, (_, i) =>
      ed25519.verify(concat(a, new Uint8Array(32)), utf8(`${text}${i}`), a, { zip215: true }),
    );
    expect(cofactored).not.toContain(false);
    const verdicts = Array.from({ length: 32 }, (_, i) =>
      verifies(small, concat(a, new Uint8Array(32)), { ...checkpoint, text: `${text}${i}` }),
    );
    expect(verdicts.filter((good) => good).length).toBeLessThan(16);
  });

  test('the time of a cosignature is signed, and at most 2^63-1', () => {
    const witness = parseKey(encodeKey('w.example', 0x04, raw));
    const line = (time: bigint) =>
      concat(u64(time), Uint8Array.from(sign(null, utf8(`cosignature/v1\ntime ${time}\n${text}`), privateKey)));
    expect(verifies(witness, line(0n), checkpoint)).toBe(true);
    expect(verifies(witness, line(2n ** 63n - 1n), checkpoint)).toBe(true);
    expect(verifies(witness, line(2n ** 63n), checkpoint)).toBe(false);
    const moved = line(1n);
    moved[7] = 2;
    expect(verifies(witness, moved, checkpoint)).toBe(false);
    expect(verifies(witness, line(1n).subarray(0, 71), checkpoint)).toBe(false);
    expect(verifies(witness, new Uint8Array(3), checkpoint)).toBe(false);
  });
});

test('an inclusion proof beyond 32 bits', () => {
  // The last of 2^52 + 1 entries has one sibling: the root of the first 2^52
  // entries.
  const c = receiptCase('entry 1 at size 2');
  const sibling = Uint8Array.from(Buffer.from(hashOf(c), 'hex'));
  const leaf = new Uint8Array(32).fill(7);
  const root = Uint8Array.from(Buffer.from(parentOf(sibling, leaf), 'hex'));
  const proof = (index: number, size: number) => ({
    index,
    hashes: [sibling],
    checkpoint: { text: '', origin: '', size, root, signatures: [] },
  });
  expect(includes(proof(2 ** 52, 2 ** 52 + 1), leaf)).toBe(true);
  expect(includes(proof(2 ** 52, 2 ** 52 + 2), leaf)).toBe(false);
  expect(includes(proof(2 ** 52 - 1, 2 ** 52 + 1), leaf)).toBe(false);
  expect(includes(proof(1, 2), leaf)).toBe(true);
  expect(includes(proof(2, 2), leaf)).toBe(false);
});

function hashOf(c: ReturnType<typeof receiptCase>): string {
  return (c.report as { proven: { leafHash: string } }).proven.leafHash;
}

function parentOf(left: Uint8Array, right: Uint8Array): string {
  return createHash('sha256').update(Uint8Array.of(1)).update(left).update(right).digest('hex');
}

test('several policies: the first that accepts is named', () => {
  const policies = ['other-key', 'optional', 'log'].map((name) => parsePolicy(name, receipts.policies[name] ?? ''));
  const statement = verify(receiptOf(full), policies);
  expect([statement.policy, statement.witnessed]).toEqual(['optional', false]);
});

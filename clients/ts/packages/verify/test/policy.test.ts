import { describe, expect, test } from 'vitest';
import { base64, utf8 } from '../src/bytes.js';
import { keyId, MAX_POLICY_BYTES, parsePolicy, PolicyError } from '../src/index.js';
import { parseKey } from '../src/signatures.js';
import { receipts } from './vectors.js';
import { vkey } from './keys.js';

const log = vkey('log.example', 0x01, 1);
const [w1, w2, w3] = [2, 3, 4].map((fill) => vkey(`witness${fill}.example`, 0x04, fill)) as [string, string, string];
const pqLog = vkey('log.example', 0x06, 1);
const pqWitness = vkey('witness2.example', 0x06, 2);

describe('accepted', () => {
  test.each(Object.entries(receipts.policies))('%s of the vectors', (name, text) => {
    expect(parsePolicy(name, text).origin).toMatch(/example/);
  });

  test.each<[string, string, string[]]>([
    [
      'order, comments, white space',
      ` \tquorum  none \n\n # c\n\tlog\t${log}  https://x y-is-no-item`.replace(' y-is-no-item', ''),
      [log],
    ],
    ['no line break at the end', `log ${log}\nquorum none`, [log]],
    ['witness beside quorum none', `log ${log}\nwitness a ${w1}\nquorum none\n`, [log]],
    ['one witness', `log ${log}\nwitness a ${w1}\nwitness b ${w2}\nquorum a\n`, [log, w1]],
    [
      'group of groups',
      `witness a ${w1}\nwitness b ${w2}\nwitness c ${w3}\ngroup g any a b\ngroup h all g c\nlog ${log}\nquorum h\n`,
      [log, w3, w2, w1],
    ],
    ['a number', `log ${log}\nwitness a ${w1}\nwitness b ${w2}\ngroup g 2 a b\nquorum g\n`, [log, w2, w1]],
    ['post-quantum', `log ${pqLog}\nwitness a ${pqWitness}\nquorum a\n`, [pqLog, pqWitness]],
    ['names that are special in JavaScript', `log ${log}\nwitness __proto__ ${w1}\nquorum __proto__\n`, [log, w1]],
  ])('%s', (_, text, keys) => {
    const policy = parsePolicy('p', text);
    expect(policy.keys().map(keyId).sort()).toEqual(keys.map((key) => keyId(parseKey(key))).sort());
    expect(policy.asksForWitness).toBe(!text.includes('quorum  none') && !text.includes('quorum none'));
  });

  test('invalid UTF-8 in a comment', () => {
    const text = Uint8Array.from([0x23, 0xff, 0x0a, ...utf8(`log ${log}\nquorum none\n`)]);
    expect(parsePolicy('p', text).origin).toBe('log.example');
  });

  test('a chain of thousands of groups', () => {
    const groups = Array.from({ length: 20_000 }, (_, i) => `group g${i + 1} any ${i === 0 ? 'a' : `g${i}`}\n`).join(
      '',
    );
    expect(parsePolicy('p', `log ${log}\nwitness a ${w1}\n${groups}quorum g20000\n`).keys()).toHaveLength(2);
  });
});

describe('refused', () => {
  test.each<[string, string, RegExp, number | undefined]>([
    ['empty', '', /no log line/, undefined],
    ['no log', 'quorum none\n', /no log line/, undefined],
    ['no quorum', `log ${log}\n`, /no quorum line/, undefined],
    ['two logs', `log ${log}\nlog ${vkey('other.example', 0x01, 9)}\nquorum none\n`, /second log/, 2],
    ['two quorums', `log ${log}\nquorum none\nquorum none\n`, /second quorum/, 3],
    ['quorum not defined', `log ${log}\nquorum a\n`, /not defined on an earlier line/, 2],
    ['quorum before the witness', `log ${log}\nquorum a\nwitness a ${w1}\n`, /not defined on an earlier line/, 2],
    ['member not defined', `log ${log}\ngroup g any a\nquorum g\n`, /not defined on an earlier line/, 2],
    ['group of itself', `log ${log}\ngroup g any g\nquorum g\n`, /not defined on an earlier line/, 2],
    ['member twice', `log ${log}\nwitness a ${w1}\ngroup g any a a\nquorum g\n`, /already in a group/, 3],
    [
      'member of two groups',
      `log ${log}\nwitness a ${w1}\ngroup g any a\ngroup h any a\nquorum h\n`,
      /already in a group/,
      4,
    ],
    [
      'threshold 0',
      `log ${log}\nwitness a ${w1}\ngroup g 0 a\nquorum g\n`,
      /threshold must be any, all or a number from 1 to 1/,
      3,
    ],
    [
      'threshold too large',
      `log ${log}\nwitness a ${w1}\ngroup g 2 a\nquorum g\n`,
      /threshold must be any, all or a number from 1 to 1/,
      3,
    ],
    [
      'threshold with a sign',
      `log ${log}\nwitness a ${w1}\ngroup g +1 a\nquorum g\n`,
      /threshold must be any, all or a number from 1 to 1/,
      3,
    ],
    ['group without members', `log ${log}\ngroup g any\nquorum none\n`, /wrong number of items/, 2],
    ['name twice', `log ${log}\nwitness a ${w1}\nwitness a ${w2}\nquorum none\n`, /defined on an earlier line/, 3],
    ['name none', `log ${log}\nwitness none ${w1}\nquorum none\n`, /name none is reserved/, 2],
    [
      'witness key twice',
      `log ${log}\nwitness a ${w1}\nwitness b ${vkey('b.example', 0x04, 2)}\nquorum none\n`,
      /same public key/,
      3,
    ],
    ['families mixed', `log ${log}\nwitness a ${pqWitness}\nquorum none\n`, /cannot be mixed/, 2],
    ['families mixed the other way', `log ${pqLog}\nwitness a ${w1}\nquorum none\n`, /cannot be mixed/, 2],
    ['one key for log and witness', `log ${pqLog}\nwitness a ${pqLog}\nquorum a\n`, /same public key/, 2],
    ["a witness's key for the log", `log ${w1}\nquorum none\n`, /key of a witness/, 1],
    [
      "a log's key for a witness",
      `log ${log}\nwitness a ${vkey('w.example', 0x01, 9)}\nquorum none\n`,
      /key of a log/,
      2,
    ],
    ['unknown keyword', `log ${log}\nquorum none\nwitnes a ${w1}\n`, /unknown keyword/, 3],
    ['keyword in upper case', `LOG ${log}\nquorum none\n`, /unknown keyword/, 1],
    ['carriage return', `log ${log}\r\nquorum none\n`, /control character/, 1],
    ['delete', `# \x7f\nlog ${log}\nquorum none\n`, /control character/, 1],
    ['byte order mark', `\ufefflog ${log}\nquorum none\n`, /encoded in UTF-8 with a byte order mark/, undefined],
    [
      'hash of another key',
      `log ${log.replace(/\+[0-9a-f]{8}/, '+00000000')}\nquorum none\n`,
      /key hash does not match/,
      1,
    ],
    [
      'hash in upper case',
      `log ${log.replace(/\+[0-9a-f]{8}/, (h) => h.toUpperCase())}\nquorum none\n`,
      /lowercase/,
      1,
    ],
    ['key too short', `log ${vkey('log.example', 0x01, 1, 31)}\nquorum none\n`, /not 31/, 1],
    ['unknown algorithm', `log ${vkey('log.example', 0x02, 1)}\nquorum none\n`, /algorithm/, 1],
    ['name with a no-break space', `log ${vkey('log\u00a0example', 0x01, 1)}\nquorum none\n`, /must have the form/, 1],
    ['name of 256 bytes, post-quantum', `log ${vkey('n'.repeat(256), 0x06, 1)}\nquorum none\n`, /255 bytes/, 1],
    ['base64 not padded', `log ${log.replace(/=+$/, '')}x\nquorum none\n`, /must have the form|key hash/, 1],
    ['too large', `#${'x'.repeat(MAX_POLICY_BYTES)}`, /exceeds/, undefined],
  ])('%s', (_, text, message, line) => {
    const error = (() => {
      try {
        parsePolicy('p', text);
      } catch (e) {
        return e;
      }
      return undefined;
    })();
    expect(error).toBeInstanceOf(PolicyError);
    expect((error as PolicyError).message).toMatch(message);
    expect((error as PolicyError).line).toBe(line);
    expect((error as PolicyError).policy).toBe('p');
  });

  test('base64 agrees with Node', () => {
    for (let length = 0; length < 70; length++) {
      const bytes = Uint8Array.from({ length }, (_, i) => (i * 37 + length) & 0xff);
      expect(base64(bytes)).toBe(Buffer.from(bytes).toString('base64'));
    }
  });
});

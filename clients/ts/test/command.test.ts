/** The command, as it is built: its verdicts, exit codes and words. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { verify } from '../src/index.js';
import { policiesOf, receiptCase, receiptOf, receipts } from './vectors.js';

const program = fileURLToPath(new URL('../dist/cli.js', import.meta.url));
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'muniment-verify-'));
  const write = (name: string, content: Uint8Array | string) => {
    writeFileSync(join(folder, name), content);
  };
  for (const [name, text] of Object.entries(receipts.policies)) write(`${name}.policy`, text);
  for (const [name, key] of Object.entries(receipts.streamKeys)) write(`${name}.key`, `${key}\n`);
  write('p4', Buffer.from(receipts.payloads['p4'] ?? '', 'base64'));
  write('p5', Buffer.from(receipts.payloads['p5'] ?? '', 'base64'));
  const save = (file: string, name: string) => {
    write(file, receiptOf(receiptCase(name)));
  };
  save('full.json', 'full');
  save('detached.json', 'detached with its payload');
  save('forged.json', 'header changed');
  save('erased.json', 'header-erased, header only');
  save('witnessed.json', 'witnessed, quorum asks for it');
  save('pq.json', 'post-quantum, witnessed');
  write('broken.json', '{"form":"full","form":"full"}');
  write('broken.policy', 'log x\n');
  write('short.key', 'abcd\n');
});

afterAll(() => {
  rmSync(folder, { recursive: true });
});

function run(args: string, env: NodeJS.ProcessEnv = {}) {
  const words = args === '' ? [] : args.split(' ').map((word) => (word === "''" ? '' : word));
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...words], {
    cwd: folder,
    env: { PATH: process.env['PATH'], ...env },
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

describe('verdicts', () => {
  test.each<[string, string, number, RegExp]>([
    [
      'verified',
      'full.json --policy log.policy',
      0,
      /✓ VERIFIED {2}full\.json\n {2}proven {4}entry 4 of the log ledger\.example\/demo/,
    ],
    ['flags first', '--policy=log.policy --kind=attestation full.json', 0, /✓ VERIFIED/],
    ['expectations', 'full.json --policy log.policy --tenant globex --stream-key globex.key', 0, /under its right tag/],
    [
      'payload from elsewhere',
      'detached.json --policy log.policy --payload p4',
      0,
      /header and payload are what was recorded: 46 bytes/,
    ],
    [
      'another payload',
      'detached.json --policy log.policy --payload p5',
      1,
      /payload: it is not the one that the header commits to/,
    ],
    ['no payload', 'detached.json --policy log.policy', 1, /payload: it is not in the receipt/],
    ['header only', 'detached.json --policy log.policy --header-only', 0, /the payload was not checked/],
    ['erased', 'erased.json --policy log.policy --header-only', 0, /the header is erased/],
    ['another tenant', 'full.json --policy log.policy --tenant acme', 1, /tenant: the entry is of globex/],
    ['forged', 'forged.json --policy log.policy', 1, /✗ NOT VERIFIED {2}forged\.json\n {2}inclusion proof/],
    ['not a receipt', 'broken.json --policy log.policy', 1, /"form" is there twice/],
    ['not witnessed', 'full.json --policy log.policy', 0, /not witnessed: the policy asks for none/],
    ['witnessed', 'witnessed.json --policy witnessed.policy', 0, /witnessed: the cosignatures meet the quorum/],
    ['witness missing', 'full.json --policy witnessed.policy', 1, /do not meet the quorum w1/],
    ['post-quantum', 'pq.json --policy pq-witnessed.policy', 0, /witnessed: the cosignatures meet/],
    ['one of two policies', 'full.json --policy other-key.policy,log.policy', 0, /✓ VERIFIED/],
    ['policies given one by one', 'full.json --policy other-key.policy --policy log.policy', 0, /✓ VERIFIED/],
    ['wrong policy', 'full.json --policy other-key.policy', 1, /has not signed/],
    ['no such receipt', 'none.json --policy log.policy', 2, /\? NOT CHECKED {3}none\.json\n {2}receipt: ENOENT/],
    ['no such payload', 'detached.json --policy log.policy --payload none', 2, /--payload: ENOENT/],
    ['one of several is forged', 'full.json forged.json --policy log.policy', 1, /✓ VERIFIED(.|\n)*✗ NOT VERIFIED/],
    ['one of several is missing', 'none.json full.json --policy log.policy', 2, /NOT CHECKED(.|\n)*✓ VERIFIED/],
    ['one is missing, one forged', 'none.json forged.json full.json --policy log.policy', 1, /✓ VERIFIED/],
    [
      'external, of an entry without',
      'full.json --policy log.policy --external p4',
      1,
      /external: the entry refers to no evidence/,
    ],
  ])('%s', (_, args, status, output) => {
    const result = run(args);
    expect(result.stderr).toBe('');
    expect(result.stdout).toMatch(output);
    expect(result.status).toBe(status);
  });

  test('policy and stream key from the environment', () => {
    const result = run('full.json', { MUNIMENT_POLICY: 'log.policy', MUNIMENT_STREAM_KEY: 'globex.key' });
    expect(result.stdout).toMatch(/under its right tag/);
    expect(run('full.json', { MUNIMENT_POLICY: 'log.policy', MUNIMENT_STREAM_KEY: 'acme.key' }).status).toBe(1);
  });
});

describe('wrong calls end with 2, and print nothing on standard output', () => {
  test.each<[string, string, RegExp]>([
    ['no receipt', '--policy log.policy', /no receipt is named\nRun 'muniment-verify --help'/],
    ['no policy', 'full.json', /--policy is missing/],
    ['unknown flag', 'full.json --policy log.policy --tennant x', /'--tennant'/],
    ['flag without value', 'full.json --policy', /--policy/],
    ['empty tenant', "full.json --policy log.policy --tenant ''", /--tenant: empty/],
    ['stream in upper case', `full.json --policy log.policy --stream ${'AB'.repeat(32)}`, /--stream: not 64/],
    ['payload of two', 'full.json detached.json --policy log.policy --payload p4', /one receipt at a time/],
    ['no such policy', 'full.json --policy none', /--policy: ENOENT/],
    ['broken policy', 'full.json --policy broken.policy', /policy broken\.policy: line 1: the key is not/],
    ['no such key', 'full.json --policy log.policy --stream-key none', /--stream-key: ENOENT/],
    ['short key', 'full.json --policy log.policy --stream-key short.key', /does not hold 64/],
  ])('%s', (_, args, message) => {
    const result = run(args);
    expect(result.stderr).toMatch(message);
    expect(result.stderr).not.toMatch(/\bat .*\.js:/);
    expect(result.stdout).toBe('');
    expect(result.status).toBe(2);
  });

  test('a stream key is never printed', () => {
    const key = receipts.streamKeys['acme'] ?? '';
    const result = run('full.json --policy log.policy --stream-key acme.key');
    expect(result.stdout + result.stderr).not.toContain(key);
  });
});

test('--json prints one object for each receipt', () => {
  const result = run('full.json forged.json none.json --policy log.policy --json');
  const lines = result.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const statement = verify(receiptOf(receiptCase('full')), policiesOf(receiptCase('full')));
  expect(lines).toMatchObject([
    {
      receipt: 'full.json',
      verified: true,
      checked: true,
      proven: {
        origin: 'ledger.example/demo',
        index: 4,
        size: 11,
        root: Buffer.from(statement.root, 'hex').toString('base64'),
        leafHash: statement.leafHash,
        signers: statement.signers,
        streamId: statement.streamId,
        seq: 1,
        tagChecked: false,
        payloadSha256: statement.payloadSha256,
      },
      claimed: { time: '2025-10-09T08:53:24.000Z', header: { tenant: 'globex' } },
      witnessed: false,
      policy: 'log.policy',
    },
    {
      receipt: 'forged.json',
      verified: false,
      checked: true,
      error: expect.stringMatching(/^inclusion proof/) as string,
    },
    { receipt: 'none.json', verified: false, checked: false, error: expect.stringMatching(/ENOENT/) as string },
  ]);
  expect(result.status).toBe(1);
});

test('--help names every flag, examples and exit codes', () => {
  const result = run('--help');
  expect(result.status).toBe(0);
  for (const word of [
    '--policy',
    '--payload',
    '--external',
    '--header-only',
    '--tenant',
    '--stream',
    '--stream-key',
    '--kind',
    '--subject',
    '--json',
    'Examples:',
    'Exit code: 0',
  ])
    expect(result.stdout).toContain(word);
});

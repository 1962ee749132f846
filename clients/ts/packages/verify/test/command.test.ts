/** The built command: its verdicts, exit codes and messages. */

import { spawnSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VERSION } from '../src/index.js';
import { receiptCase, receiptOf, receipts } from './vectors.js';

const program = fileURLToPath(new URL('../dist/cli.js', import.meta.url));
let folder: string;

const secret = 'AeFvuXhmNkFGa0p0cmV0c2VjcmV0c2VjcmV0c2VjcmV0';
const privateKey = `PRIVATE+KEY+log.example+00000000+${secret}\n`;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'muniment-verify-'));
  const write = (name: string, content: Uint8Array | string) => {
    writeFileSync(join(folder, name), content);
  };
  for (const [name, text] of Object.entries(receipts.policies)) write(`${name}.policy`, text);
  for (const [name, key] of Object.entries(receipts.streamKeys)) write(`${name}.key`, key);
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
  write('log,2026.policy', receipts.policies['log'] ?? '');
  write('broken.policy', 'log x\n');
  write('short.key', 'abcd\n');
  write('private.key', privateKey);
  save('reference.json', 'by reference');
  const name = ({ name }: { name: string }) => name === 'by reference, with the evidence';
  write('evidence', Buffer.from(receipts.payloads[receipts.cases.find(name)?.external ?? ''] ?? '', 'base64'));
  save('verified.json', 'all expectations of a verified entry met');
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
    ['expectations', 'full.json --policy log.policy --tenant globex --stream-key globex.key', 0, /with the right tag/],
    [
      'payload given',
      'detached.json --policy log.policy --payload p4',
      0,
      /header and payload are as recorded: 46 bytes/,
    ],
    [
      'another payload',
      'detached.json --policy log.policy --payload p5',
      1,
      /payload-mismatch: the payload is not the recorded one/,
    ],
    ['no payload', 'detached.json --policy log.policy', 1, /payload-missing: /],
    ['header only', 'detached.json --policy log.policy --header-only', 0, /the payload was not checked/],
    [
      'erased',
      'erased.json --policy log.policy --header-only',
      0,
      /claimed {3}recorded .*\n {12}header and payload erased by the log/,
    ],
    [
      'another tenant',
      'full.json --policy log.policy --tenant acme',
      1,
      /tenant-mismatch: the entry belongs to the tenant globex/,
    ],
    ['forged', 'forged.json --policy log.policy', 1, /✗ REFUSED {2}forged\.json\n {2}inclusion: /],
    ['not a receipt', 'broken.json --policy log.policy', 1, /receipt-malformed: .*duplicate member "form"/],
    ['not witnessed', 'full.json --policy log.policy', 0, /not witnessed: the policy log.policy requires no witness/],
    [
      'witnessed',
      'witnessed.json --policy witnessed.policy',
      0,
      /cosigned by the witnesses that the policy witnessed.policy requires/,
    ],
    ['witness missing', 'full.json --policy witnessed.policy', 1, /checkpoint-quorum: /],
    ['post-quantum', 'pq.json --policy pq-witnessed.policy', 0, /cosigned by the witnesses/],
    ['one of two policies', 'full.json --policy other-key.policy --policy log.policy', 0, /✓ VERIFIED/],
    ['a comma in the name of a policy', 'full.json --policy log,2026.policy', 0, /✓ VERIFIED/],
    ['wrong policy', 'full.json --policy other-key.policy', 1, /checkpoint-unsigned: /],
    [
      'no such receipt',
      'none.json --policy log.policy',
      2,
      /\? NOT CHECKED {2}none\.json\n {2}unreadable: none\.json: no such file/,
    ],
    ['no such payload', 'detached.json --policy log.policy --payload none', 2, /unreadable: none: no such file/],
    ['no such payload, malformed receipt', 'broken.json --policy log.policy --payload none', 2, /unreadable: none: /],
    ['a folder as payload', 'broken.json --policy log.policy --payload .', 2, /unreadable: \.: is a directory/],
    ['no such evidence, malformed receipt', 'broken.json --policy log.policy --external none', 2, /unreadable: none: /],
    ['one of several is forged', 'full.json forged.json --policy log.policy', 1, /✓ VERIFIED(.|\n)*✗ REFUSED/],
    ['one of several is missing', 'none.json full.json --policy log.policy', 2, /NOT CHECKED(.|\n)*✓ VERIFIED/],
    ['one is missing, one forged', 'none.json forged.json full.json --policy log.policy', 1, /✓ VERIFIED/],
    ['external, of an entry without', 'full.json --policy log.policy --external p4', 1, /external-unexpected: /],
    ['by reference', 'reference.json --policy log.policy', 0, /content not checked: .* \(use --external\)/],
    [
      'by reference, with the evidence',
      'reference.json --policy log.policy --external evidence',
      0,
      /content {3}checked/,
    ],
    ['all gates', 'verified.json --policy log.policy --require-verified --admitted', 0, /✓ VERIFIED/],
    ['another signer', 'verified.json --policy log.policy --signer other', 1, /signer-mismatch: /],
    ['not verified', 'full.json --policy log.policy --issuer other', 1, /signature-unverified: /],
    ['another control', 'full.json --policy log.policy --control other', 1, /control-mismatch: /],
    ['another predicate', 'full.json --policy log.policy --predicate-type other', 1, /predicate-type-mismatch: /],
    ['stream in upper case', `full.json --policy log.policy --stream ${'AB'.repeat(32)}`, 1, /stream-mismatch: /],
    ['a private key for a receipt', 'private.key --policy log.policy', 1, /receipt-malformed: /],
  ])('%s', (_, args, status, output) => {
    const result = run(args);
    expect(result.stderr).toBe('');
    expect(result.stdout).toMatch(output);
    expect(result.status).toBe(status);
  });

  test('policy and stream key from the environment', () => {
    const result = run('full.json', { MUNIMENT_POLICY: 'log.policy', MUNIMENT_STREAM_KEY: 'globex.key' });
    expect(result.stdout).toMatch(/with the right tag/);
    expect(run('full.json', { MUNIMENT_POLICY: 'log.policy', MUNIMENT_STREAM_KEY: 'acme.key' }).status).toBe(1);
  });
});

describe('wrong calls exit with 2 and print nothing to standard output', () => {
  test.each<[string, string, RegExp]>([
    ['no receipt', '--policy log.policy', /no receipt specified\nRun 'muniment-verify --help'/],
    ['no policy', 'full.json', /no policy specified: use --policy/],
    ['unknown flag', 'full.json --policy log.policy --tennant x', /'--tennant'/],
    ['flag without value', 'full.json --policy', /--policy/],
    ['empty tenant', "full.json --policy log.policy --tenant ''", /option tenant: empty/],
    ['short stream', 'full.json --policy log.policy --stream abcd', /option stream: /],
    ['malformed subject', 'full.json --policy log.policy --subject sha256:ab', /option subject: /],
    ['payload of two', 'full.json detached.json --policy log.policy --payload p4', /one receipt at a time/],
    ['no such policy', 'full.json --policy none', /none: no such file/],
    ['broken policy', 'full.json --policy broken.policy', /policy broken\.policy: line 1: a key must have the form/],
    ['no such key', 'full.json --policy log.policy --stream-key none', /none: no such file/],
    ['--as without --config', 'full.json --policy log.policy --as receipt', /--as: needs --config/],
    ['short key', 'full.json --policy log.policy --stream-key short.key', /64 lowercase hexadecimal digits/],
  ])('%s', (_, args, message) => {
    const result = run(args);
    expect(result.stderr).toMatch(message);
    expect(result.stderr).not.toMatch(/\bat .*\.js:/);
    expect(result.stdout).toBe('');
    expect(result.status).toBe(2);
  });

  test.each([
    'full.json --policy private.key',
    'full.json --policy log.policy --stream-key private.key',
    'private.key --policy log.policy',
    'private.key --policy log.policy --json',
  ])('a private key is never printed: %s', (args) => {
    const { status, stdout, stderr } = run(args);
    expect(status).not.toBe(0);
    expect(stdout + stderr).not.toContain(secret);
  });

  test('a private key given as a policy is recognized', () => {
    expect(run('full.json --policy private.key').stderr).toMatch(/this is a private key/);
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
  const report = receiptCase('full').report as { proven: object };
  expect(lines).toEqual([
    {
      receipt: 'full.json',
      verdict: 'verified',
      ...report,
      proven: { ...report.proven, policy: 'log.policy' },
    },
    {
      receipt: 'forged.json',
      verdict: 'refused',
      reason: { code: 'inclusion', step: 8, message: expect.any(String) as string },
    },
    {
      receipt: 'none.json',
      verdict: 'not-checked',
      reason: { code: 'unreadable', step: 0, message: expect.stringMatching(/no such file/) as string },
    },
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
    '--predicate-type',
    '--control',
    '--require-verified',
    '--signer',
    '--issuer',
    '--admitted',
    '--version',
    '--json',
    '--config',
    '--as',
    '--artifact',
    '--files',
    '--receipt',
    '--stream-bundle',
    '--export',
    '--identity',
    '--html',
    '--report',
    'Examples:',
    'Exit code: 0',
  ])
    expect(result.stdout).toContain(word);
});

test('--version', () => {
  expect(run('--version')).toEqual({ status: 0, stdout: `muniment-verify ${VERSION}\n`, stderr: '' });
});

test('output that cannot be written is an error', () => {
  const full = existsSync('/dev/full') ? openSync('/dev/full', 'w') : undefined;
  if (full === undefined) return;
  for (const args of [['--help'], ['full.json', '--policy', 'log.policy']]) {
    const { status, stderr } = spawnSync(process.execPath, [program, ...args], {
      cwd: folder,
      encoding: 'utf8',
      stdio: ['ignore', full, 'pipe'],
    });
    expect(stderr).toBe('muniment-verify: standard output: no space left on device\n');
    expect(status).toBe(2);
  }
  closeSync(full);
});

test('a closed pipe is quiet', () => {
  const receipts = 'full.json '.repeat(50);
  const script = `"${process.execPath}" "${program}" ${receipts} --policy log.policy | head -1 >/dev/null; echo \${PIPESTATUS[0]}`;
  const { stdout, stderr } = spawnSync('bash', ['-c', script], { cwd: folder, encoding: 'utf8' });
  expect(stderr).toBe('');
  expect(['0\n', '141\n']).toContain(stdout); // 0 if the pipe took all output before its reader closed it
});

test.runIf(process.platform === 'linux')('file names that are not UTF-8', () => {
  const copy = (from: string, to: Buffer) => {
    copyFileSync(join(folder, from), Buffer.concat([Buffer.from(`${folder}/`), to]));
  };
  // These names differ in their bytes, and are equal once decoded.
  copy('full.json', Buffer.from([0xff, 0xe2, 0x82, 0xe9]));
  copy('forged.json', Buffer.from([0xfe, 0xe2, 0x82, 0xe9]));
  copy('log.policy', Buffer.from([0xc0]));
  const script = `"${process.execPath}" "${program}" --policy=$'\\xc0' $'\\xff\\xe2\\x82\\xe9' $'\\xfe\\xe2\\x82\\xe9' --json`;
  const { stdout, stderr, status } = spawnSync('bash', ['-c', script], { cwd: folder, encoding: 'utf8' });
  expect(stderr).toBe('');
  expect(status).toBe(1);
  const lines = stdout.trim().split('\n');
  expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
    { receipt: '\ufffd\ufffd\ufffd\ufffd', verdict: 'verified', proven: { policy: '\ufffd' } },
    { receipt: '\ufffd\ufffd\ufffd\ufffd', verdict: 'refused' },
  ]);
});

test.each(['atestation', 'A'])('the unknown kind %s is a usage error', (kind) => {
  const { status, stderr } = run(`full.json --policy log.policy --kind ${kind}`);
  expect(stderr).toContain(`--kind: unknown kind "${kind}": use one of attestation, `);
  expect(status).toBe(2);
});

describe('an error names the encoding', () => {
  const utf16 = (text: string) => Buffer.from(text, 'utf16le');
  const padded = (text: string, before: number, after: number) =>
    Buffer.concat(Array.from(text, (c) => Buffer.concat([Buffer.alloc(before), Buffer.from(c), Buffer.alloc(after)])));
  test.each<[string, (text: string) => Buffer]>([
    ['UTF-8 with a byte order mark', (text) => Buffer.from(`\ufeff${text}`)],
    ['UTF-16', (text) => utf16(`\ufeff${text}`)],
    ['UTF-16', utf16],
    ['UTF-16', (text) => utf16(`\ufeff${text}`).swap16()],
    ['UTF-16', (text) => padded(text, 1, 0)],
    ['UTF-32', (text) => Buffer.concat([Buffer.from([0xff, 0xfe, 0, 0]), padded(text, 0, 3)])],
    ['UTF-32', (text) => padded(text, 3, 0)],
  ])('%s', (encoding, encode) => {
    const explained = `it is encoded in ${encoding}: save it as UTF-8 without BOM`;
    const text = (name: string) => readFileSync(join(folder, name), 'latin1');
    writeFileSync(join(folder, 'other.json'), encode(text('full.json')));
    writeFileSync(join(folder, 'other.policy'), encode(text('log.policy')));
    writeFileSync(join(folder, 'other.key'), encode(text('globex.key')).subarray(0, 65));
    const receipt = run('other.json --policy log.policy');
    expect(receipt.stdout).toContain(explained);
    expect(receipt.status).toBe(1);
    for (const args of ['full.json --policy other.policy', 'full.json --policy log.policy --stream-key other.key']) {
      const { status, stderr } = run(args);
      expect(stderr).toContain(explained);
      expect(status).toBe(2);
    }
  });
});

describe('--config', () => {
  beforeAll(() => {
    writeFileSync(join(folder, 'muniment.json'), '{"trustPolicy":["log.policy"]}');
    writeFileSync(join(folder, 'unknown.json'), '{"trustedkeys":[]}');
    const bundles = JSON.parse(
      readFileSync(new URL('../../../../../docs/spec/vectors/bundles.json', import.meta.url), 'utf8'),
    ) as { bundles: Record<string, string>; policies: Record<string, string>; streamKeys: Record<string, string> };
    const [bundle] = Object.values(bundles.bundles);
    writeFileSync(join(folder, 'e.tar'), Buffer.from(bundle ?? '', 'base64'));
  });

  test('text, and the codes of refused files', () => {
    const { stdout, status } = run('full.json forged.json none.json --config muniment.json');
    expect(stdout).toMatch(/^✓ VERIFIED {2}receipt {2}full\.json\nProven\n {2}origin +ledger/);
    expect(stdout).toContain('✗ NOT VERIFIED  receipt  forged.json\n  step 8: ');
    expect(stdout).toContain('? ERROR  none.json\n  step 0: none.json: no such file or directory (unreadable)\n');
    expect(status).toBe(1);
  });

  test('JSON, one object for each file', () => {
    const { stdout, status } = run('full.json none.json --config muniment.json --as receipt --json');
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { proven: object });
    const { proven, claimed, warnings } = receiptCase('full').report as {
      proven: object;
      claimed: object;
      warnings: [];
    };
    const all = { proven: { ...proven, policy: 'log.policy' }, claimed, warnings };
    expect(lines).toEqual([
      { file: 'full.json', kind: 'receipt', verdict: 'verified', ...all },
      {
        file: 'none.json',
        kind: 'receipt',
        verdict: 'error',
        code: 'unreadable',
        step: 0,
        message: expect.stringMatching(/no such file/) as string,
      },
    ]);
    expect(status).toBe(2);
  });

  test('a page and evidence', () => {
    const { status } = run('full.json --config muniment.json --html r.html --report r.json');
    expect(status).toBe(0);
    expect(readFileSync(join(folder, 'r.html'), 'utf8')).toMatch(/^<!doctype html>/);
    expect(JSON.parse(readFileSync(join(folder, 'r.json'), 'utf8'))).toMatchObject({
      verdict: 'verified',
      reasonCode: 'verified',
      verifier: 'muniment-typescript',
      index: expect.stringMatching(/^\d+$/) as string,
      subjects: [{ name: 'full.json', digest: { sha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string } }],
      verifiedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/) as string,
    });
    expect(run('full.json --config muniment.json --html none/r.html').status).toBe(2);
  });

  test('the environment does not add policies', () => {
    const { status } = run('full.json --config muniment.json', {
      MUNIMENT_POLICY: 'none',
      MUNIMENT_STREAM_KEY: 'none',
    });
    expect(status).toBe(0);
  });

  test('an evidence bundle from a pipe', () => {
    const script = `cat e.tar | "${process.execPath}" "${program}" --config muniment.json /dev/stdin`;
    const { stdout, status } = spawnSync('bash', ['-c', script], { cwd: folder, encoding: 'utf8' });
    expect(stdout).toMatch(/^✗ NOT VERIFIED {2}evidence-bundle {2}\/dev\/stdin\n {2}step 4: /);
    expect(status).toBe(1);
  });

  test.each<[string, string, RegExp]>([
    ['no file', '--config muniment.json', /no file specified/],
    ['unknown member', 'full.json --config unknown.json', /unknown member "trustedkeys" \(configuration-unknown\)/],
    ['no configuration', 'full.json --config none', /none: no such file or directory \(configuration-unreadable\)/],
    [
      'unknown kind',
      'full.json --config muniment.json --as recipt',
      /--as: unknown kind "recipt": use one of receipt, /,
    ],
    ['a policy as well', 'full.json --config muniment.json --policy log.policy', /--policy: the configuration/],
    ['a page of two', 'full.json full.json --config muniment.json --html r', /--html is for one file at a time/],
  ])('%s', (_, args, message) => {
    const result = run(args);
    expect(result.stderr).toMatch(message);
    expect(result.stdout).toBe('');
    expect(result.status).toBe(2);
  });

  test('inputs of other kinds', () => {
    const { stdout, status } = run('full.json --config muniment.json --artifact full.json');
    expect(stdout).toMatch(/takes none \(input-unexpected\)/);
    expect(status).toBe(2);
  });
});

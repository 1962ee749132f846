import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { NotVerifiedError, parsePolicy, verify } from '../src/index.js';
import { commandsOf } from './pages.js';
import { receiptCase, receiptOf, receipts } from './vectors.js';

const folder = fileURLToPath(new URL('..', import.meta.url));
const readme = readFileSync(join(folder, 'README.md'), 'utf8');
const subject = 'sha256:b05486c7957763e5781e7271d3d4eff1ec8ccb2ae7e246b0c50d4dc4051e74a3';

const examples = [...readme.matchAll(/```ts\n(.*?)```/gs)].map(([, text]) => text ?? '');

/** Runs the library example of the README and returns what it prints. */
function run(receiptBytes: Uint8Array): string {
  const example = examples.find((text) => text.includes('parsePolicy(')) ?? '';
  const body = example.replace(/^import .*$/m, '').replace('sha256:2cf24dba…', subject);
  const printed: unknown[] = [];
  const names = ['NotVerifiedError', 'parsePolicy', 'verify', 'policyText', 'receiptBytes', 'console'];
  // eslint-disable-next-line @typescript-eslint/no-implied-eval -- the README of this package
  const call = new Function(...names, body) as (...values: unknown[]) => void;
  const console = { log: (...values: unknown[]) => printed.push(values[0]) };
  call(NotVerifiedError, parsePolicy, verify, receipts.policies['log'], receiptBytes, console);
  return printed.join('\n');
}

test('the library example of the README', () => {
  const verified = receiptOf(receiptCase('all expectations of a verified entry met'));
  expect(run(verified)).toBe('entry 6 of ledger.example/demo');
  expect(run(receiptOf(receiptCase('full')))).toMatch(/^tenant-mismatch: /);
});

const workspaces = join(folder, '../..');

test('the example with a configuration', () => {
  const dir = mkdtempSync(join(tmpdir(), 'muniment-readme-'));
  symlinkSync(join(workspaces, 'node_modules'), join(dir, 'node_modules'));
  const example = examples.find((text) => text.includes('loadConfiguration(')) ?? '';
  writeFileSync(join(dir, 'example.mjs'), example.replace('sha256:2cf24dba…', subject));
  writeFileSync(join(dir, 'muniment.json'), /```json\n(.*?)```/s.exec(readme)?.[1] ?? '');
  writeFileSync(join(dir, 'policy'), receipts.policies['log'] ?? '');
  const run = (receipt: string) => {
    writeFileSync(join(dir, 'app.receipt.json'), receiptOf(receiptCase(receipt)));
    const { stdout, stderr } = spawnSync(process.execPath, ['example.mjs'], { cwd: dir, encoding: 'utf8' });
    expect(stderr).toBe('');
    return stdout.trim();
  };
  expect(run('all expectations of a verified entry met')).toBe('entry 6 of ledger.example/demo');
  expect(run('full')).toMatch(/^tenant-mismatch: /);
});

const commands = (page: string) => commandsOf(page).map(({ text }) => text);

/** The commands are those of the console blocks. */
test('the commands of the README', { timeout: 60_000 }, () => {
  const dir = mkdtempSync(join(tmpdir(), 'muniment-readme-'));
  symlinkSync(join(folder, 'dist'), join(dir, 'dist'));
  writeFileSync(join(dir, 'policy'), receipts.policies['log'] ?? '');
  writeFileSync(join(dir, 'app.receipt.json'), receiptOf(receiptCase('all expectations of a verified entry met')));
  let ran = 0;
  for (const command of commands(readme)) {
    if (['cd clients/ts', 'npm ci', 'npm run build'].includes(command)) {
      continue; // done before this test could run
    }
    const words = command.replaceAll('\\\n', ' ').replaceAll('sha256:2cf24dba…', subject).split(/\s+/);
    const pack = command === 'npm pack --workspace packages/verify';
    expect(pack || words.slice(0, 2).join(' ') === 'node dist/cli.js', `no test runs ${command}`).toBe(true);
    const args = [...words.slice(1), ...(pack ? ['--pack-destination', dir] : [])];
    const got = spawnSync(words[0] ?? '', args, { cwd: pack ? workspaces : dir, encoding: 'utf8' });
    expect(got.status, `${command}\n${got.stdout}${got.stderr}`).toBe(0);
    ran++;
  }
  expect(ran).toBeGreaterThan(0);
  expect(readdirSync(dir).some((name) => readme.includes(`\`${name}\``) && name.endsWith('.tgz'))).toBe(true);
});

test('the commands of the page about all packages', () => {
  const page = commands(readFileSync(join(workspaces, 'README.md'), 'utf8'));
  const makefile = readFileSync(join(workspaces, '../../Makefile'), 'utf8').replaceAll(' --silent', '');
  expect(page.length).toBeGreaterThan(3);
  for (const command of page) expect(makefile, `no target runs ${command}`).toContain(command);
});

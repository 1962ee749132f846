/**
 * docs/quickstart-typescript.md as written: its console blocks and its files,
 * in an empty home, with only the packed packages. All but the installation
 * runs without a network.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { commandsOf, filesOf, isShown } from './pages.js';

const repository = fileURLToPath(new URL('../../../../../', import.meta.url));
const workspaces = join(repository, 'clients/ts');
const page = readFileSync(join(repository, 'docs/quickstart-typescript.md'), 'utf8');
const isInstallation = (command: string) => command.startsWith('npm install ');

const root = mkdtempSync(join(tmpdir(), 'muniment-quickstart-'));
const [bin, home, folder] = ['bin', 'home', 'work'].map((name) => join(root, name)) as [string, string, string];

afterAll(() => {
  rmSync(root, { recursive: true });
});

/** Returns what a program prints. */
function output(program: string, args: readonly string[], cwd: string): string {
  return execFileSync(program, args, { cwd, encoding: 'utf8' }).trim();
}

/** Runs a script in the reader's folder. Returns its output, and that of errors. */
function run(script: string, variables: Record<string, string>, isOffline: boolean): string {
  const isRoot = process.getuid?.() === 0;
  const offline = ['unshare', ...(isRoot ? [] : ['--map-root-user']), '--net'];
  const command = [...(isOffline ? offline : []), 'bash', '-c', script];
  const path = `${bin}:${process.env['PATH'] ?? ''}`;
  const env = { ...process.env, ...variables, HOME: home, PATH: path, LC_ALL: 'C.UTF-8' };
  const { stdout, stderr } = spawnSync(command[0] ?? '', command.slice(1), { cwd: folder, env, encoding: 'utf8' });
  return stdout + stderr;
}

/** Returns the commands as a script that prints a mark after each. */
const marked = (commands: readonly string[]) =>
  commands.map((command) => `{ ${command}\n} 2>&1; printf '\\n==%d==\\n' $?\n`).join('');

test('docs/quickstart-typescript.md', () => {
  for (const name of [bin, home, folder]) mkdirSync(name);
  output('go', ['build', '-trimpath', '-o', join(bin, 'muniment'), './cmd/muniment'], repository);
  for (const name of ['verify', 'client']) {
    output('npm', ['pack', '--silent', '--workspace', `packages/${name}`, '--pack-destination', folder], workspaces);
  }
  const files = filesOf(page);
  expect([...files.keys()].sort()).toEqual(['muniment.json', 'record.mts', 'verify.mts']);
  for (const [name, text] of files) writeFileSync(join(folder, name), text);

  const commands = commandsOf(page);
  const installations = commands.filter(({ text }) => isInstallation(text));
  const others = commands.filter(({ text }) => !isInstallation(text));
  expect(commands.slice(0, installations.length)).toEqual(installations);
  // What npm ci has downloaded is not downloaded again.
  const cache = output('npm', ['config', 'get', 'cache'], workspaces);
  const installed = run(
    marked(installations.map(({ text }) => text)),
    { npm_config_cache: cache, npm_config_prefer_offline: 'true' },
    false,
  );
  const printed = run(
    `. "$ROOT/cmd/muniment/testdata/docs/sdk.sh"\n${marked(others.map(({ text }) => text))}`,
    {
      ROOT: repository,
      SIGSTORE_GO: output('go', ['list', '-m', '-f', '{{.Dir}}', 'github.com/sigstore/sigstore-go'], repository),
    },
    true,
  );
  const [setup = '', rest = ''] = printed.split(/^ready\n/m);
  const results = [...`${installed}${rest}`.matchAll(/([^]*?)\n==(\d+)==\n/g)];
  expect(results.length, `${installed}${setup}${rest}`).toBe(commands.length);
  for (const [i, { text, output }] of commands.entries()) {
    const [, shown = '', code] = results[i] ?? [];
    expect(code, `${text}\n${shown}`).toBe(text.includes('--payload policy') ? '1' : '0');
    expect(isShown(output, shown), `${text}\n${shown}`).toBe(true);
  }
});

test('what a page shows is compared', () => {
  const shown = ['a … (x)', '…', 'c'];
  expect(isShown(shown, 'a b (x)\n1\n2\nc\n')).toBe(true);
  expect(isShown(shown, 'a b (y)\nc\n')).toBe(false);
  expect(isShown(['c'], 'b\nc\n')).toBe(false);
  expect(commandsOf('```console\n$ a \\\n  b\nc\n$ d\n```\n')).toEqual([
    { text: 'a \\\n  b', output: ['c'] },
    { text: 'd', output: [] },
  ]);
});

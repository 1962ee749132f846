/**
 * docs/cache.md as written: its console blocks and its TypeScript, in an empty
 * folder with only the packed package, and with a real Redis.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { commandsOf, filesOf, isShown } from '../../verify/test/pages.js';
import { Redis } from './redisrig.js';

const repository = fileURLToPath(new URL('../../../../../', import.meta.url));
const workspaces = join(repository, 'clients/ts');
const page = readFileSync(join(repository, 'docs/cache.md'), 'utf8');
const folder = mkdtempSync(join(tmpdir(), 'muniment-cache-'));
const redis = new Redis();

afterAll(async () => {
  rmSync(folder, { recursive: true });
  await redis.close();
});

test('docs/cache.md', async () => {
  const port = await redis.listen();
  execFileSync('npm', ['pack', '--silent', '--workspace', 'packages/adaptive-cache', '--pack-destination', folder], {
    cwd: workspaces,
  });
  const files = filesOf(page);
  expect([...files.keys()].sort()).toEqual(['bus.mts', 'shop.mts']);
  for (const [name, text] of files) writeFileSync(join(folder, name), text);
  // The configuration of this repository's npm is not the reader's. What npm ci
  // has downloaded is not downloaded again.
  const own = Object.entries(process.env).filter(([name]) => !name.toLowerCase().startsWith('npm_'));
  const npm = { npm_config_prefer_offline: 'true' };
  const env = { ...Object.fromEntries(own), ...npm, REDIS_URL: `redis://127.0.0.1:${port}` };
  for (const { text, output } of commandsOf(page)) {
    const { status, stdout, stderr } = spawnSync('bash', ['-c', text], { cwd: folder, env, encoding: 'utf8' });
    expect(status, `${text}\n${stdout}${stderr}`).toBe(0);
    expect(isShown(output, stdout), `${text}\n${stdout}`).toBe(true);
  }
});

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { VERSION } from '../src/index.js';

const root = new URL('../../../', import.meta.url);
const text = (file: string) => readFileSync(new URL(file, root), 'utf8');
const load = (file: string) => JSON.parse(text(file)) as unknown;

interface Package {
  version: string;
  license: string;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
  scripts: Record<string, string>;
}

/** The portal uses the tools and sources of this workspace, and has packages of its own. */
const portal = '../portal/';
const { workspaces } = load('package.json') as { workspaces: string[] };

test.each(['', ...workspaces.map((path) => `${path}/`), portal])('dependencies of %j are pinned', (path) => {
  const { dependencies, devDependencies } = load(`${path}package.json`) as Package;
  for (const version of Object.values({ ...dependencies, ...devDependencies }))
    expect(version).toMatch(/^(npm:typescript@)?\d+\.\d+\.\d+$/);
});

test.each(['', portal])('the lock file of %j has no registry, and a digest for each package', (root) => {
  const { packages } = load(`${root}package-lock.json`) as {
    packages: Record<string, { resolved?: string; integrity?: string; link?: boolean }>;
  };
  for (const [path, locked] of Object.entries(packages)) {
    if (locked.link === true) expect(workspaces, path).toContain(locked.resolved);
    else expect(locked.resolved, path).toBeUndefined();
    if (path.startsWith('node_modules/') && locked.link !== true) expect(locked.integrity, path).toMatch(/^sha512-/);
  }
});

test('the portal has the versions of this workspace', () => {
  const versions = (paths: string[]) =>
    Object.assign(
      {},
      ...paths.flatMap((path) => {
        const { dependencies, devDependencies } = load(`${path}package.json`) as Package;
        return [dependencies ?? {}, devDependencies ?? {}];
      }),
    ) as Record<string, string>;
  const own = versions(['', ...workspaces.map((path) => `${path}/`)]);
  // The transport of the portal is another one.
  for (const [name, version] of Object.entries(versions([portal])))
    if (name in own && name !== '@connectrpc/connect') expect([name, version]).toEqual([name, own[name]]);
});

describe.each(workspaces.filter((path) => path.startsWith('packages/')))('%s', (path) => {
  test('the license matches the repository', () => {
    expect(load(`${path}/package.json`)).toMatchObject({ license: 'Apache-2.0' });
    expect(load('package-lock.json')).toMatchObject({ packages: { [path]: { license: 'Apache-2.0' } } });
    expect(text(`${path}/LICENSE`)).toBe(text('../../LICENSE'));
  });

  test('the version is that of the verifier', () => {
    expect(load(`${path}/package.json`)).toMatchObject({ version: VERSION });
  });

  test('installing it runs no script', () => {
    const { scripts } = load(`${path}/package.json`) as Package;
    expect(Object.keys(scripts).sort()).toEqual(['build', 'reference', 'test', 'types']);
  });
});

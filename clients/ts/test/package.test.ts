import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { VERSION } from '../src/index.js';

const load = (file: string) => JSON.parse(readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')) as unknown;

interface Package {
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
}

test('dependencies are pinned', () => {
  const { dependencies, devDependencies } = load('package.json') as Package;
  for (const version of Object.values({ ...dependencies, ...devDependencies }))
    expect(version).toMatch(/^\d+\.\d+\.\d+$/);
});

test('the lock file has no registry, and a digest for each package', () => {
  const { packages } = load('package-lock.json') as {
    packages: Record<string, { resolved?: string; integrity?: string }>;
  };
  for (const [path, locked] of Object.entries(packages)) {
    expect(locked.resolved, path).toBeUndefined();
    if (path !== '') expect(locked.integrity, path).toMatch(/^sha512-/);
  }
});

test('the license matches the repository', () => {
  const text = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8');
  expect(load('package.json')).toMatchObject({ license: 'Apache-2.0' });
  expect(load('package-lock.json')).toMatchObject({ packages: { '': { license: 'Apache-2.0' } } });
  expect(text('../LICENSE')).toBe(text('../../../LICENSE'));
});

test('the version matches package.json', () => {
  expect(load('package.json')).toMatchObject({ version: VERSION });
});

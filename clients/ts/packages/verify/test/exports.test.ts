/** The vectors of exports, and manifests with changes. */

import { createHash } from 'node:crypto';
import { appendFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseDecimal } from '../src/decimal.js';
import { holds, logOfInverse } from '../src/export/epsilon.js';
import { Failure } from '../src/export/errors.js';
import {
  EXPORT_STEPS,
  ExportError,
  folderOf,
  MAX_EXPORT_RECEIPT_BYTES,
  parseRequirements,
  PublicKey,
  verifyExport,
  type ExportOptions,
  type Input,
} from '../src/export/index.js';
import { isKnown, loadTables, placeOfRegion, spdx, tableSize } from '../src/export/lookup.js';
import { checkKnown, isAllowed, parseExpression } from '../src/export/licenses.js';
import { CallerError, parsePolicy, parseStreamKey } from '../src/index.js';
import { openFile, openFolder } from '../src/node/index.js';
import { sample } from './campaign.js';
import type { ExportVectors } from './page/files.js';
import { specText } from './vectors.js';

type ExportCase = ExportVectors['cases'][number];

const vectors = JSON.parse(specText('vectors/exports.json')) as ExportVectors;

await loadTables();

const good = vectors.cases.find(({ name }) => name === 'good with everything');
if (good === undefined) throw new Error('exports.json has no complete case');

const decode = (text: string | undefined) => Uint8Array.from(Buffer.from(text ?? '?', 'base64'));

/** Returns the inputs of a case. */
async function optionsOf(c: ExportCase): Promise<ExportOptions> {
  const { licenses, residency, epsilon } = c;
  const required = Object.entries({ licenses, residency, epsilon }).filter(([, value]) => value !== undefined);
  return {
    keys: await Promise.all(c.keys.map((name) => PublicKey.parse(vectors.keys[name] ?? ''))),
    policies: (c.policies ?? []).map((name) => parsePolicy(name, vectors.policies[name] ?? '')),
    ...(c.streamKey !== undefined && { streamKey: parseStreamKey(vectors.streamKeys[c.streamKey] ?? '') }),
    ...c.expect,
    ...(required.length > 0 && { requirements: await parseRequirements(Object.fromEntries(required)) }),
    ...(c.files !== undefined && {
      files: folderOf(
        new Map(Object.entries(vectors.files[c.files] ?? {}).map(([name, text]) => [name, decode(text)])),
      ),
    }),
    ...(c.receipt !== undefined && { receipt: decode(vectors.receipts[c.receipt]) }),
    ...(c.stream !== undefined && { stream: decode(vectors.streams[c.stream]) }),
  };
}

async function judge(manifest: Input, options: () => Promise<ExportOptions>) {
  try {
    return { verdict: 'verified', report: await verifyExport(manifest, await options()) };
  } catch (error) {
    if (error instanceof ExportError) return { verdict: error.verdict, reason: error.code };
    if (error instanceof CallerError) return { verdict: 'not-checked', reason: error.code };
    throw error;
  }
}

describe('exports.json', () => {
  test.each(vectors.cases)('$name', async (c) => {
    const { verdict, reason, report } = c;
    const got = await judge(decode(c.manifest), () => optionsOf(c));
    expect(got).toEqual({ verdict, ...(reason !== undefined && { reason }), ...(report !== undefined && { report }) });
    expect(JSON.stringify(got)).toBe(
      JSON.stringify({ verdict, ...(report === undefined ? { reason } : { report }) }), // the order of the members
    );
  });
});

test('export-epsilon.json', () => {
  const { logarithms, holds: cases } = JSON.parse(specText('vectors/export-epsilon.json')) as {
    logarithms: { delta: string; ell: string }[];
    holds: { epsilon: string; delta: string; rho: string; holds: boolean }[];
  };
  const number = (text: string) => {
    const parsed = parseDecimal(text);
    if (parsed === undefined) throw new Error(`malformed: ${text}`);
    return parsed;
  };
  expect(logarithms.length).toBeGreaterThan(10);
  expect(cases.length).toBeGreaterThan(10);
  for (const { delta, ell } of logarithms) expect(logOfInverse(number(delta).units).toString(), delta).toBe(ell);
  for (const c of cases)
    expect(holds(number(c.epsilon), number(c.delta), number(c.rho)), JSON.stringify(c)).toBe(c.holds);
});

test('export-licenses.json', () => {
  const cases = JSON.parse(specText('vectors/export-licenses.json')) as {
    expression: string;
    allow: string[];
    verdict: string;
  }[];
  expect(cases.length).toBeGreaterThan(10);
  for (const { expression, allow, verdict } of cases) {
    const decide = () => {
      try {
        const parsed = parseExpression(expression);
        checkKnown(parsed);
        return isAllowed(parsed, new Set(allow)) ? 'allowed' : 'license-not-allowed';
      } catch (error) {
        if (error instanceof Failure) return error.code;
        throw error;
      }
    };
    expect(decide(), expression).toBe(verdict);
  }
});

test('the tables are those of the specification', () => {
  const table = (name: string) => JSON.parse(specText(`tables/${name}.json`)) as Record<string, unknown>;
  const spdxTable = table('spdx') as Record<'licenses' | 'deprecated' | 'exceptions', string[]>;
  expect(spdx().licenses).toEqual(new Set([...spdxTable.licenses, ...spdxTable.deprecated]));
  expect(spdx().exceptions).toEqual(new Set(spdxTable.exceptions));
  expect(spdx().version).toBe(table('spdx')['version']);
  const { countries } = table('iso3166') as { countries: Record<string, string> };
  for (const [country, ends] of Object.entries(countries)) {
    expect(isKnown({ country }), country).toBe(true);
    for (const end of ends.split(' ').filter((text) => text !== ''))
      expect(isKnown({ country, state: `${country}-${end}` }), `${country}-${end}`).toBe(true);
  }
  const states = Object.values(countries).flatMap((ends) => ends.split(' ').filter((text) => text !== ''));
  expect(tableSize()).toEqual({ countries: Object.keys(countries).length, states: states.length });
  const { regions } = table('cloud-regions') as { regions: Record<string, string> };
  for (const [region, place] of Object.entries(regions)) expect(placeOfRegion(region)).toBe(place);
});

test('export-sizes.json', async () => {
  const cases = JSON.parse(specText('vectors/export-sizes.json')) as {
    name: string;
    prefixBase64: string;
    fill: string;
    count: number;
    suffixBase64: string;
    target?: 'manifest' | 'receipt';
    reason?: string;
  }[];
  expect(cases.length).toBeGreaterThan(0);
  const { keys = [], policies = [] } = await optionsOf(good);
  for (const c of cases) {
    const [prefix, fill, suffix] = [decode(c.prefixBase64), Buffer.from(c.fill), decode(c.suffixBase64)];
    const end = prefix.length + fill.length * c.count;
    const input = {
      size: end + suffix.length,
      read: (offset: number, length: number) =>
        Uint8Array.from({ length }, (_, i) => {
          const at = offset + i;
          if (at < prefix.length) return prefix[at] ?? 0;
          return (at < end ? fill[(at - prefix.length) % fill.length] : suffix[at - end]) ?? 0;
        }),
    };
    // A reader stops one byte after the limit.
    const got = await (c.target !== 'receipt'
      ? judge(input, () => Promise.resolve({ keys }))
      : judge(decode(good.manifest), () => {
          const receipt = input.read(0, Math.min(input.size, MAX_EXPORT_RECEIPT_BYTES + 1));
          return Promise.resolve({ keys, policies, receipt });
        }));
    expect(got, c.name).toMatchObject(
      c.reason === undefined
        ? { verdict: 'verified' }
        : { verdict: c.reason === 'unreadable' ? 'not-checked' : 'refused', reason: c.reason },
    );
  }
});

test('codes and steps match the specification', () => {
  const text = specText('export-manifest.md').split('## 7. Verification')[1]?.split('### The report')[0] ?? '';
  const [inputs = '', steps = ''] = text.split('### Steps');
  const parts = [inputs, ...steps.split(/^\d+\. \*\*/m).slice(1)];
  expect(parts).toHaveLength(EXPORT_STEPS.length);
  for (const [i, codes] of EXPORT_STEPS.entries())
    for (const code of codes) expect(parts[i], `step ${String(i)}: ${code}`).toContain(`\`${code}\``);
});

describe('callers', () => {
  test('options that are undefined, empty or unknown are errors', async () => {
    const options = await optionsOf(good);
    for (const [changes, code] of [
      [{ keys: undefined }, 'trust-missing'],
      [{ keys: ['key'] }, 'trust-missing'],
      [{ tenant: undefined }, 'expectation-malformed'],
      [{ tennant: 'acme' }, 'expectation-malformed'],
      [{ requirements: {} }, 'requirement-malformed'],
      [{ policies: ['policy'] }, 'policy-malformed'],
      [{ streamKey: new Uint8Array(31) }, 'stream-key-malformed'],
    ] as const) {
      const call = verifyExport(decode(good.manifest), { ...options, ...changes } as ExportOptions);
      await expect(call, JSON.stringify(changes)).rejects.toMatchObject({ code, step: 0, verdict: 'not-checked' });
    }
  });

  test('private keys are not quoted', async () => {
    const text = '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n';
    await expect(PublicKey.parse(text)).rejects.toThrow(/^this is a private key, not a public key$/);
    await expect(PublicKey.parse('secret')).rejects.not.toThrow(/secret/);
  });

  test('requirements', async () => {
    for (const text of ['', '[]', '{"licences":[]}', '{"licenses":null}', '{"licenses":[null]}', '{"__proto__":{}}'])
      await expect(parseRequirements(text), text).rejects.toThrow(ExportError);
    await expect(parseRequirements('{"licenses":["MIT"],"licenses":["MIT"]}')).rejects.toThrow(ExportError);
    expect((await parseRequirements({ licenses: [] })).licenses?.size).toBe(0);
  });
});

// Files are hashed in pieces, so that an export need not fit in memory.
test('large files are streamed', async () => {
  const piece = new Uint8Array(1 << 20).fill(7);
  const count = 64;
  const hash = createHash('sha256');
  for (let i = 0; i < count; i++) hash.update(piece);
  const { checkFiles } = await import('../src/export/files.js');
  const file = { name: 'large', size: count * piece.length, sha256: hash.digest('hex') };
  const folder = (pieces: number) => ({
    isFile: () => true,
    paths: () => ['large'],
    open: function* () {
      for (let i = 0; i < pieces; i++) yield piece;
    },
  });
  const files = [{ ...file, mediaType: 'text/plain', license: ['MIT'], fieldSets: [] }];
  let done = 0;
  await checkFiles(files, folder(count), { onProgress: (bytes) => (done = bytes) });
  expect(done).toBe(file.size);
  for (const pieces of [count - 1, count + 1])
    await expect(checkFiles(files, folder(pieces), {})).rejects.toMatchObject({ code: 'file-size' });
  const signal = AbortSignal.abort(new Error('stopped'));
  await expect(checkFiles(files, folder(count), { signal })).rejects.toThrow('stopped');
});

// A manifest with a changed byte fails, or proves the same: outside of the
// envelope, a bundle verified with a key can change.
test('changed bytes', async () => {
  const manifest = decode(good.manifest);
  const { keys = [] } = await optionsOf(good);
  const taken = sample('changed bytes of a manifest', 7);
  const expected = { proven: { signers: [{ keyId: keys[0]?.id }], tenant: 'acme' } };
  for (let at = 0; at < manifest.length; at++) {
    if (!taken(at)) continue;
    const changed = manifest.slice();
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
    const got = await judge(changed, () => Promise.resolve({ keys }));
    if (got.verdict === 'verified') expect(got.report, `byte ${String(at)}`).toMatchObject(expected);
    else expect(got.verdict, `byte ${String(at)}`).toBe('refused');
  }
});

describe('files of Node', () => {
  const content = (name: string) => decode(vectors.files['good']?.[name]);
  const names = Object.keys(vectors.files['good'] ?? {});
  let root = '';
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'export-'));
    for (const name of names) {
      mkdirSync(dirname(join(root, name)), { recursive: true });
      writeFileSync(join(root, name), content(name));
    }
  });
  afterEach(() => {
    rmSync(root, { recursive: true });
  });

  const judgeFolder = async () => {
    const { keys = [] } = await optionsOf(good);
    return await judge(decode(good.manifest), () => Promise.resolve({ keys, files: openFolder(root) }));
  };
  const [name = ''] = names;
  const changes: Record<string, [() => void, string | undefined]> = {
    none: [() => undefined, undefined],
    'a missing file': [
      () => {
        rmSync(join(root, name));
      },
      'file-missing',
    ],
    'a link to the file': [
      () => {
        renameSync(join(root, name), join(root, `${name}.moved`));
        symlinkSync(basename(`${name}.moved`), join(root, name));
      },
      'file-missing',
    ],
    'a folder in place of the file': [
      () => {
        rmSync(join(root, name));
        mkdirSync(join(root, name));
      },
      'file-missing',
    ],
    'another file': [
      () => {
        writeFileSync(join(root, 'assets', 'other'), '');
      },
      'file-extra',
    ],
    'a dangling link': [
      () => {
        symlinkSync('nowhere', join(root, 'link'));
      },
      'file-extra',
    ],
    'a longer file': [
      () => {
        appendFileSync(join(root, name), 'x');
      },
      'file-size',
    ],
    'no folder': [
      () => {
        rmSync(root, { recursive: true });
      },
      'file-missing',
    ],
  };
  test.each(Object.entries(changes))('%s', async (_, [change, code]) => {
    change();
    const got = await judgeFolder();
    expect(got).toMatchObject(code === undefined ? { verdict: 'verified' } : { verdict: 'refused', reason: code });
    mkdirSync(root, { recursive: true });
  });

  test('a manifest and a stream from files', async () => {
    const [manifest, stream] = [join(root, 'manifest'), join(root, 'stream')];
    writeFileSync(manifest, decode(good.manifest));
    writeFileSync(stream, decode(vectors.streams[good.stream ?? '']));
    const sources = [openFile(manifest), openFile(stream)] as const;
    const report = await verifyExport(sources[0], { ...(await optionsOf(good)), stream: sources[1] });
    expect(report).toEqual(good.report);
    expect(() => openFile(root).size).toThrow('is a directory');
  });
});

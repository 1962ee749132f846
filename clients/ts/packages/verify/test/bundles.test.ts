/** The vectors of evidence bundles, and bundles with changed bytes. */

import { describe, expect, test } from 'vitest';
import { EVIDENCE_STEPS, EvidenceError, verifyEvidence, verifyStream } from '../src/bundle/index.js';
import { CallerError, parsePolicy, parseStreamKey, type Policy } from '../src/index.js';
import { sample } from './campaign.js';
import { bytesOf, specText, type BundleCase, type BundleFile } from './vectors.js';

function load(file: string): BundleFile {
  return JSON.parse(specText(`vectors/${file}`)) as BundleFile;
}

const policiesOf = (file: BundleFile, names: string[]): Policy[] =>
  names.map((name) => parsePolicy(name, file.policies[name] ?? ''));

/** Returns the verdict on a case, its reason, and the report. */
async function judge(file: BundleFile, c: BundleCase) {
  try {
    const policies = policiesOf(file, c.policies);
    const streamKey =
      c.streamKey === undefined ? {} : { streamKey: parseStreamKey(file.streamKeys[c.streamKey] ?? '') };
    const { proven, warnings } = await verifyEvidence(bytesOf(file, c), policies, { ...c.expect, ...streamKey });
    const { identity, origin, tenant, size, entries, included, omitted, erased, complete } = proven;
    return {
      verdict: 'verified',
      report: {
        identity,
        origin,
        tenant,
        size,
        entries,
        included,
        omitted,
        erased,
        complete,
        warnings: warnings.filter((w) => w !== 'erased'),
      },
    };
  } catch (error) {
    if (error instanceof EvidenceError) return { verdict: error.verdict, reason: error.code };
    if (error instanceof CallerError) return { verdict: 'not-checked', reason: error.code };
    throw error;
  }
}

describe.each(['bundles.json', 'bundle-reports.json'])('%s', (name) => {
  const file = load(name);
  // Step 11 compares reports, which this verifier does not compute.
  test.each(file.cases.filter(({ reason }) => reason !== 'report-mismatch'))('$name', async (c) => {
    const { verdict, reason, report } = c;
    // Its vectors are for verifiers that perform step 11.
    if (report !== undefined && name === 'bundle-reports.json')
      report['warnings'] = [
        ...(report['warnings'] as string[]).filter((w) => !/^(coverage|reports)-/.test(w)),
        'reports-not-compared',
      ];
    expect(await judge(file, c)).toEqual({
      verdict,
      ...(reason !== undefined && { reason }),
      ...(report && { report }),
    });
  });
});

test('the last step is not performed', async () => {
  const file = load('bundle-reports.json');
  const cases = file.cases.filter(({ reason }) => reason === 'report-mismatch');
  expect(cases.length).toBeGreaterThan(0);
  for (const c of cases) expect(await judge(file, c)).toMatchObject({ verdict: 'verified' });
});

test('codes and steps match the specification', () => {
  const text = specText('bundle.md').split('## 5. Verification')[1]?.split('### What is proven')[0] ?? '';
  const found = new Set([...text.matchAll(/`([a-z]+(?:-[a-z]+)+|unreadable)`/g)].map(([, code]) => code));
  for (const code of Object.keys(EVIDENCE_STEPS))
    if (!code.startsWith('checkpoint-')) expect(found, code).toContain(code);
});

const file = load('bundles.json');
const good = file.cases.find(({ verdict, streamKey }) => verdict === 'verified' && streamKey !== undefined);
if (good === undefined) throw new Error('bundles.json has no complete bundle');

test('a stream', async () => {
  const streamKey = parseStreamKey(file.streamKeys[good.streamKey ?? ''] ?? '');
  const policies = policiesOf(file, good.policies);
  const { proven, claimed } = await verifyStream(bytesOf(file, good), policies, streamKey);
  const { identity, origin, tenant, size, entries, complete } = good.report ?? {};
  const expected = { identity, origin, tenant, size, entries, complete };
  expect(proven).toMatchObject(expected);
  const counted = claimed.kinds.reduce((sum, { entries }) => sum + entries, 0);
  expect(counted).toBeGreaterThan(0);
  expect(claimed.first).toBeLessThanOrEqual(claimed.newest ?? 0);
});

test('a blob and a source are read in parts', async () => {
  const bytes = bytesOf(file, good);
  const policies = policiesOf(file, good.policies);
  let largest = 0;
  const source = {
    size: bytes.length,
    read: (offset: number, length: number) => {
      largest = Math.max(largest, length);
      return Promise.resolve(bytes.slice(offset, offset + length));
    },
  };
  const expected = await verifyEvidence(bytes, policies);
  expect(await verifyEvidence(source, policies)).toEqual(expected);
  expect(await verifyEvidence(new Blob([bytes as Uint8Array<ArrayBuffer>]), policies)).toEqual(expected);
  expect(largest).toBeLessThanOrEqual(256 << 10);
});

test('a source that fails, and a signal', async () => {
  const policies = policiesOf(file, good.policies);
  const failing = { size: 2048, read: () => Promise.reject(new Error('no disk')) };
  await expect(verifyEvidence(failing, policies)).rejects.toMatchObject({ code: 'unreadable', step: 0 });
  const short = { size: 2048, read: () => new Uint8Array(1) };
  await expect(verifyEvidence(short, policies)).rejects.toMatchObject({ code: 'unreadable', step: 0 });
  const signal = AbortSignal.abort(new Error('stopped'));
  await expect(verifyEvidence(bytesOf(file, good), policies, { signal })).rejects.toThrow('stopped');
});

// Every byte of an archive is fixed by its members, and the manifest protects
// their content. So each changed byte is refused.
test('changed bytes', async () => {
  const bytes = bytesOf(file, good);
  const policies = policiesOf(file, good.policies);
  const streamKey = parseStreamKey(file.streamKeys[good.streamKey ?? ''] ?? '');
  const taken = sample('changed bytes of a bundle', 1021);
  for (let at = 0; at < bytes.length; at++) {
    if (!taken(at)) continue;
    const changed = bytes.slice();
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
    const error = await verifyEvidence(changed, policies, {
      streamKey,
      identity: String(good.report?.['identity']),
    }).then(
      () => new Error(`byte ${String(at)}: verified`),
      (thrown: unknown) => thrown,
    );
    expect(error, `byte ${String(at)}`).toBeInstanceOf(EvidenceError);
  }
});

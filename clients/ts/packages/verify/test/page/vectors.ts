/** Runs the vectors in a page, with the browser's WebCrypto. */

import {
  folderOf,
  MunimentError,
  parseConfiguration,
  parsePolicy,
  parseStreamKey,
  verify,
  verifyExport,
  type Options,
} from '../../src/index.js';
import { SigstoreError, Trust } from '../../src/sigstore/index.js';
import { comparable, configured, decode, judge, reading, utf8, type VerifyVectors } from '../judge.js';
import type { ExportVectors, ReceiptVectors, SigstoreVectors } from './files.js';

/** The number of cases by file, and those that came out wrong. */
export interface Outcome {
  ran: Record<string, number>;
  wrong: string[];
}

async function load<T>(name: string): Promise<T> {
  return (await (await fetch(`/vectors/${name}`)).json()) as T;
}

function receipt(file: ReceiptVectors, c: ReceiptVectors['cases'][number]): string {
  const { streamKey, ...expectations } = c.expect ?? {};
  const options: Options = { ...expectations, headerOnly: c.headerOnly ?? false };
  try {
    const policies = c.policies.map((name) => parsePolicy(name, file.policies[name] ?? ''));
    if (streamKey !== undefined) options.streamKey = parseStreamKey(file.streamKeys[streamKey] ?? '');
    if (c.payload !== undefined) options.payload = decode(file.payloads[c.payload]);
    if (c.external !== undefined) options.external = decode(file.payloads[c.external]);
    verify(decode(c.receiptBase64), policies, options);
    return '';
  } catch (error) {
    if (error instanceof MunimentError) return error.code;
    throw error;
  }
}

async function bundle(file: SigstoreVectors, c: SigstoreVectors['cases'][number]): Promise<string> {
  try {
    const trust = await Trust.create({
      roots: c.trustedRoots.map((name) => utf8.encode(JSON.stringify(file.trustedRoots[name]))),
      identities: c.identities ?? [],
      keys: (c.keys ?? []).map((name) => utf8.encode(file.keys[name])),
    });
    const digest = (c.artifactDigest ?? '').match(/../g) ?? [];
    await trust.verify(decode(c.bundleBase64), {
      ...(c.artifact !== undefined && { artifact: decode(file.artifacts[c.artifact]) }),
      ...(c.artifactDigest !== undefined && { artifactSha256: Uint8Array.from(digest, (byte) => parseInt(byte, 16)) }),
    });
    return '';
  } catch (error) {
    if (error instanceof SigstoreError) return error.code;
    throw error;
  }
}

async function exported(file: ExportVectors, c: ExportVectors['cases'][number]): Promise<string> {
  const named = (names: string[] | undefined) => (names?.length ? names : undefined);
  const configuration = JSON.stringify({
    trustedKeys: named(c.keys.map((name) => `${name}.pub`)),
    trustPolicy: named(c.policies?.map((name) => `${name}.policy`)),
    streamKey: c.streamKey === undefined ? undefined : `${c.streamKey}.key`,
    licenses: c.licenses,
    residency: c.residency,
    epsilon: c.epsilon,
  });
  const suffixed = (of: Record<string, string>, suffix: string) =>
    Object.entries(of).map(([name, text]) => [name + suffix, text] as const);
  const files = Object.fromEntries([
    ...suffixed(file.keys, '.pub'),
    ...suffixed(file.policies, '.policy'),
    ...suffixed(file.streamKeys, '.key'),
  ]);
  const folder = c.files === undefined ? undefined : Object.entries(file.files[c.files] ?? {});
  try {
    const trusted = await parseConfiguration(configuration, reading(files));
    const report = await verifyExport(
      trusted,
      { name: 'm', content: new Blob([decode(c.manifest) as BlobPart]) },
      {
        ...(folder && {
          files: folderOf(new Map(folder.map(([path, of]) => [path, new Blob([decode(of) as BlobPart])]))),
        }),
        ...(c.receipt !== undefined && { receipt: decode(file.receipts[c.receipt]) }),
        ...(c.stream !== undefined && { stream: decode(file.streams[c.stream]) }),
        ...(c.expect && { expect: c.expect }),
      },
    );
    return report.verdict === 'verified' ? '' : report.code;
  } catch (error) {
    return (error as { code: string }).code;
  }
}

/** Runs all vectors. */
export async function run(): Promise<Outcome> {
  const outcome: Outcome = { ran: {}, wrong: [] };
  const check = (file: string, name: string, got: string, want = '') => {
    outcome.ran[file] = (outcome.ran[file] ?? 0) + 1;
    if (got !== want) outcome.wrong.push(`${file}: ${name}: ${got || 'verified'}, expected ${want || 'verified'}`);
  };
  const receipts = await load<ReceiptVectors>('receipts.json');
  for (const c of receipts.cases) check('receipts', c.name, receipt(receipts, c), c.reason);
  const sigstore = await load<SigstoreVectors>('sigstore.json');
  for (const c of sigstore.cases) check('sigstore', c.name, await bundle(sigstore, c), c.reason);
  const exports = await load<ExportVectors>('exports.json');
  for (const c of exports.cases) check('exports', c.name, await exported(exports, c), c.reason);
  const vectors = await load<VerifyVectors>('verify.json');
  for (const { name, code } of vectors.configurations) {
    const got = await configured(vectors, name).then(
      () => '',
      (error: unknown) => (error as { code: string }).code,
    );
    check('configurations', name, got, code);
  }
  for (const c of vectors.verifications) {
    const report = await judge(vectors, c);
    check('verifications', c.name, comparable(report), JSON.stringify(c.report));
    if (c.text !== undefined) check('texts', c.name, report.toText(), c.text);
  }
  return outcome;
}

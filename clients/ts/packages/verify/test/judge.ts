/** Judges the vectors of verify.md, in Node and in browsers. */

import { fromBase64 } from '../src/bytes.js';
import {
  folderOf,
  parseConfiguration,
  verifyFile,
  type AnyInputs,
  type Configuration,
  type Report,
  type VerificationKind,
} from '../src/index.js';

/** A configuration of verify.json. */
export interface ConfigurationCase {
  name: string;
  configurationBase64: string;
  files?: Record<string, string>;
  code?: string;
}

/** A verification of verify.json. */
export interface VerificationCase {
  name: string;
  configuration: string;
  file: string;
  kind?: VerificationKind;
  inputs?: {
    payload?: string;
    external?: string;
    artifact?: string;
    artifactDigest?: string;
    receipt?: string;
    stream?: string;
    headerOnly?: true;
    files?: Record<string, string>;
    expect?: NonNullable<AnyInputs['expect']>;
  };
  report: unknown;
  text?: string;
}

/** The file verify.json. */
export interface VerifyVectors {
  blobs: Record<string, string>;
  configurations: ConfigurationCase[];
  verifications: VerificationCase[];
}

/** Decodes base64. Absent or null is no byte. */
export function decode(text: string | null = ''): Uint8Array {
  return fromBase64(text ?? '') ?? new Uint8Array();
}

/** Encodes text in UTF-8. */
export const utf8 = new TextEncoder();

/** Returns a function that reads these files, and no others. */
export function reading(files: Record<string, Uint8Array | string | undefined>): (path: string) => Uint8Array {
  return (path) => {
    const file = Object.hasOwn(files, path) ? files[path] : undefined;
    if (file === undefined) throw new Error('no such file');
    return typeof file === 'string' ? utf8.encode(file) : file;
  };
}

/** Parses a configuration of the vectors. */
export async function configured({ blobs, configurations }: VerifyVectors, name: string): Promise<Configuration> {
  const found = configurations.find((c) => c.name === name);
  const files = Object.entries(found?.files ?? {}).map(([path, of]) => [path, decode(blobs[of])] as const);
  return await parseConfiguration(decode(found?.configurationBase64), reading(Object.fromEntries(files)));
}

/** Performs a verification of the vectors. */
export async function judge(vectors: VerifyVectors, c: VerificationCase): Promise<Report> {
  const blob = (name: string) => decode(vectors.blobs[name]);
  const { files, expect, headerOnly, artifactDigest, ...blobs } = c.inputs ?? {};
  return await verifyFile(
    await configured(vectors, c.configuration),
    { name: c.file, content: blob(c.file) },
    {
      ...Object.fromEntries(Object.entries(blobs).map(([name, of]) => [name, blob(of)])),
      ...(c.kind && { kind: c.kind }),
      ...(headerOnly && { headerOnly }),
      ...(artifactDigest !== undefined && { artifact: `sha256:${artifactDigest}` }),
      ...(files && { files: folderOf(new Map(Object.entries(files).map(([path, of]) => [path, blob(of)]))) }),
      ...(expect && { expect }),
    },
  );
}

/** Returns the JSON of a report without its message. */
export function comparable(report: Report): string {
  const plain = JSON.parse(JSON.stringify(report)) as { message?: string };
  delete plain.message;
  return JSON.stringify(plain);
}

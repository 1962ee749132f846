/** The forms of the files of vectors. */

import type { Options } from '../../src/index.js';

/** The file receipts.json. */
export interface ReceiptVectors {
  policies: Record<string, string>;
  streamKeys: Record<string, string>;
  payloads: Record<string, string>;
  cases: {
    name: string;
    receiptBase64: string;
    policies: string[];
    payload?: string;
    external?: string;
    headerOnly?: boolean;
    expect?: Omit<Options, 'streamKey'> & { streamKey?: string };
    reason?: string;
  }[];
}

/** The file sigstore.json. */
export interface SigstoreVectors {
  trustedRoots: Record<string, unknown>;
  keys: Record<string, string>;
  artifacts: Record<string, string>;
  cases: {
    name: string;
    bundleBase64: string;
    trustedRoots: string[];
    identities?: { name: string; issuer: string }[];
    keys?: string[];
    artifact?: string;
    artifactDigest?: string;
    verdict: string;
    reason?: string;
    signer?: { name?: string; issuer?: string; key?: string };
  }[];
}

/** The file exports.json. */
export interface ExportVectors {
  keys: Record<string, string>;
  policies: Record<string, string>;
  streamKeys: Record<string, string>;
  files: Record<string, Record<string, string>>;
  receipts: Record<string, string>;
  streams: Record<string, string>;
  cases: {
    name: string;
    manifest: string;
    keys: string[];
    policies?: string[];
    files?: string;
    receipt?: string;
    stream?: string;
    streamKey?: string;
    expect?: { tenant?: string; export?: string };
    licenses?: unknown;
    residency?: unknown;
    epsilon?: unknown;
    verdict: string;
    reason?: string;
    report?: object;
  }[];
}

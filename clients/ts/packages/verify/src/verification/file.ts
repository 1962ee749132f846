/** Verification of files of any kind (verify.md, section 3). */

import type { Configuration } from '../configuration.js';
import type { Report } from '../report/report.js';
import type { VerificationKind } from '../report/sections.js';
import { verifyEvidenceBundle, verifyStream } from './evidence.js';
import { verifyExport } from './export.js';
import { CallFailure, failed } from './failure.js';
import {
  contentOf,
  type EvidenceInputs,
  type ExportInputs,
  type InputFile,
  type ReceiptInputs,
  type SigstoreInputs,
  type Watched,
} from './inputs.js';
import { verifyReceipt } from './receipt.js';
import { recognize } from './recognize.js';
import { verifyBundle } from './sigstore.js';

/** The inputs of all kinds. */
export interface AnyInputs
  extends Omit<ReceiptInputs, 'expect'>, SigstoreInputs, Omit<ExportInputs, 'expect'>, Watched {
  /** The kind of the file. Name it: otherwise the sender of the file chooses. */
  kind?: VerificationKind;
  /** What the caller expects. Each kind accepts some of the members. */
  expect?: NonNullable<ReceiptInputs['expect']> &
    NonNullable<ExportInputs['expect']> &
    NonNullable<EvidenceInputs['expect']>;
}

type Names = readonly (keyof NonNullable<AnyInputs['expect']>)[];

/** The inputs and the expectations of each kind. */
const accepted: Record<VerificationKind, { inputs: readonly (keyof AnyInputs)[]; expect: Names }> = {
  receipt: {
    inputs: ['payload', 'external', 'headerOnly'],
    expect: [
      'tenant',
      'kind',
      'subject',
      'predicateType',
      'control',
      'requireVerified',
      'signer',
      'issuer',
      'admitted',
      'stream',
    ],
  },
  'sigstore-bundle': { inputs: ['artifact'], expect: [] },
  export: { inputs: ['files', 'receipt', 'stream'], expect: ['tenant', 'export'] },
  stream: { inputs: [], expect: ['tenant'] },
  'evidence-bundle': { inputs: [], expect: ['identity', 'tenant'] },
};

/**
 * Verifies a file of any kind. If the kind is not named, it is recognized from
 * the content. An input or expectation that the kind does not have is an error.
 */
export async function verifyFile(
  configuration: Configuration,
  file: InputFile,
  inputs: AnyInputs = {},
): Promise<Report> {
  let kind = inputs.kind;
  try {
    kind ??= await recognize(file.name, contentOf(file));
    checkInputs(kind, inputs);
  } catch (error) {
    return failed(file.name, kind && Object.hasOwn(accepted, kind) ? kind : undefined, error);
  }
  switch (kind) {
    case 'receipt':
      return await verifyReceipt(configuration, file, inputs);
    case 'sigstore-bundle':
      return await verifyBundle(configuration, file, inputs);
    case 'export':
      return await verifyExport(configuration, file, inputs);
    case 'stream':
      return await verifyStream(configuration, file, inputs);
    case 'evidence-bundle':
      return await verifyEvidenceBundle(configuration, file, inputs);
  }
}

const always: readonly string[] = ['kind', 'expect', 'signal', 'onProgress'];

function checkInputs(kind: VerificationKind, inputs: AnyInputs): void {
  if (!Object.hasOwn(accepted, kind)) throw new CallFailure('kind-unknown', `there is no kind ${JSON.stringify(kind)}`);
  const { inputs: own, expect } = accepted[kind];
  const others = [
    ...unknown(inputs, [...always, ...own]),
    ...unknown(inputs.expect ?? {}, expect).map((name) => `expect.${name}`),
  ];
  if (others[0] !== undefined)
    throw new CallFailure('input-unexpected', `input ${others[0]}: a verification of the kind ${kind} takes none`);
}

/** Returns the members that have other names. A false one is not given. */
function unknown(object: object, names: readonly string[]): string[] {
  return Object.entries(object)
    .filter(([name, value]) => value !== false && !names.includes(name))
    .map(([name]) => name);
}

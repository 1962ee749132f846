/** Verification of exports with a configuration. */

import type { Configuration } from '../configuration.js';
import { CallerError } from '../errors.js';
import { verifyExport as verifyManifest, type ExportOptions } from '../export/verify.js';
import { VerifiedReport, type Report } from '../report/report.js';
import type { Input } from '../source.js';
import { failed } from './failure.js';
import { contentOf, readAll, watchOf, type ExportInputs, type InputFile, type Watched } from './inputs.js';

/** Size limit of the receipt of a manifest, in bytes. */
const maxReceipt = 4 << 20;

/**
 * Verifies the manifest of an export (export-manifest.md), with its files, its
 * receipt and the stream if they are given.
 */
export async function verifyExport(
  configuration: Configuration,
  file: InputFile,
  { files, receipt, stream, expect = {}, ...rest }: ExportInputs & Watched = {},
): Promise<Report<'export'>> {
  try {
    const { keys, identities, policies, streamKey, requirements } = configuration.parts;
    const options: ExportOptions = {
      ...expect,
      ...watchOf(rest),
      keys: keys.map(({ plain }) => plain),
      policies,
      ...(identities && { certificates: identities }),
      ...(streamKey && { streamKey }),
      ...(requirements && { requirements }),
      ...(files && { files }),
      ...(stream && { stream }),
      ...(receipt && { receipt: await readReceipt(receipt) }),
    };
    const { proven, claimed, warnings } = await verifyManifest(contentOf(file), options);
    return new VerifiedReport(file.name, 'export', proven, claimed, warnings);
  } catch (error) {
    return failed(file.name, 'export', error);
  }
}

async function readReceipt(receipt: Input): Promise<Uint8Array> {
  const bytes = await readAll('receipt', receipt, maxReceipt);
  if (bytes.length > maxReceipt) throw new CallerError('unreadable', `receipt: exceeds ${maxReceipt} bytes`);
  return bytes;
}

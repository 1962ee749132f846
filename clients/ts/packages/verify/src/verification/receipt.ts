/** Verification of receipts with a configuration. */

import type { Configuration } from '../configuration.js';
import { MAX_RECEIPT_BYTES } from '../receipt.js';
import { VerifiedReport, type Report } from '../report/report.js';
import { reportOf } from '../statement.js';
import { verify } from '../verify.js';
import { failed } from './failure.js';
import { byteSourceOf, contentOf, readAll, type InputFile, type ReceiptInputs } from './inputs.js';

/**
 * Verifies a receipt (receipt.md). Without the expectations `tenant`, `kind`
 * and `subject`, any genuine receipt of the log verifies.
 */
export async function verifyReceipt(
  configuration: Configuration,
  file: InputFile,
  { payload, external, headerOnly = false, expect = {} }: ReceiptInputs = {},
): Promise<Report<'receipt'>> {
  try {
    const { policies, streamKey } = configuration.parts;
    const statement = verify(await readAll(file.name, contentOf(file), MAX_RECEIPT_BYTES), policies, {
      ...expect,
      headerOnly,
      ...(streamKey && { streamKey }),
      ...(payload !== undefined && { payload: await byteSourceOf('payload', payload) }),
      ...(external !== undefined && { external: await byteSourceOf('external', external) }),
    });
    const { proven, claimed, warnings } = reportOf(statement);
    return new VerifiedReport(file.name, 'receipt', proven, claimed, warnings);
  } catch (error) {
    return failed(file.name, 'receipt', error);
  }
}

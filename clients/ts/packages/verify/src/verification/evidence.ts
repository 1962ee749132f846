/** Verification of evidence bundles and streams with a configuration. */

import { verifyEvidence, verifyStream as verifyComplete } from '../bundle/verify.js';
import type { Configuration } from '../configuration.js';
import { VerifiedReport, type Report } from '../report/report.js';
import { CallFailure, failed } from './failure.js';
import { contentOf, watchOf, type EvidenceInputs, type InputFile, type StreamInputs, type Watched } from './inputs.js';

/**
 * Verifies an evidence bundle (bundle.md). Without a stream key in the
 * configuration, its completeness is not checked.
 */
export async function verifyEvidenceBundle(
  configuration: Configuration,
  file: InputFile,
  { expect = {}, ...rest }: EvidenceInputs & Watched = {},
): Promise<Report<'evidence-bundle'>> {
  try {
    const { policies, streamKey } = configuration.parts;
    const options = { ...expect, ...watchOf(rest), ...(streamKey && { streamKey }) };
    const { proven, claimed, warnings } = await verifyEvidence(contentOf(file), policies, options);
    return new VerifiedReport(file.name, 'evidence-bundle', proven, claimed, warnings);
  } catch (error) {
    return failed(file.name, 'evidence-bundle', error);
  }
}

/**
 * Verifies the stream in an evidence bundle (bundle.md), which is complete up
 * to the size of its checkpoint. The configuration needs the stream key.
 */
export async function verifyStream(
  configuration: Configuration,
  file: InputFile,
  { expect = {}, ...rest }: StreamInputs & Watched = {},
): Promise<Report<'stream'>> {
  try {
    const { policies, streamKey } = configuration.parts;
    if (policies.length === 0) throw new CallFailure('policy-missing', 'the configuration has no trustPolicy');
    if (streamKey === undefined)
      throw new CallFailure(
        'stream-key-missing',
        'the configuration has no streamKey: without it, entries could be missing',
      );
    const options = { ...expect, ...watchOf(rest) };
    const { proven, claimed, warnings } = await verifyComplete(contentOf(file), policies, streamKey, options);
    return new VerifiedReport(file.name, 'stream', proven, claimed, warnings);
  } catch (error) {
    return failed(file.name, 'stream', error);
  }
}

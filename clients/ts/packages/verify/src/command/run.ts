/** The command line: verifies files, and prints a report on each. */

import { ConfigurationError } from '../configuration.js';
import { CallerError, NotVerifiedError } from '../errors.js';
import { checkOptions, type Options } from '../expectations.js';
import { MAX_POLICY_BYTES, parsePolicy, type Policy } from '../policy.js';
import { printable } from '../printable.js';
import { MAX_RECEIPT_BYTES } from '../receipt.js';
import { MAX_STREAM_KEY_BYTES, parseStreamKey } from '../streamkey.js';
import { verify } from '../verify.js';
import { VERSION } from '../version.js';
import { runConfigured } from './configured.js';
import { openPieces, readFile, type File } from './files.js';
import { Call, UsageError } from './flags.js';
import { help } from './help.js';
import { human, json, type Outcome } from './report.js';

/** The outputs of the command, by line. */
export interface Streams {
  out(line: string): void;
  err(line: string): void;
}

/**
 * 0 if all verified, 1 if one was refused, 2 if one could not be checked or the
 * call is wrong.
 */
export type ExitCode = 0 | 1 | 2;

/**
 * Runs the command with the given arguments and environment, and returns its
 * exit code.
 */
export async function run(args: string[], environment: NodeJS.ProcessEnv, streams: Streams): Promise<ExitCode> {
  try {
    const call = Call.parse(args, environment);
    const isHelp = call.operands.length === 1 && call.operands[0]?.name === 'help';
    if (call.has('help') || isHelp || call.has('version')) {
      streams.out(call.has('help') || isHelp ? help : `muniment-verify ${VERSION}`);
      return 0;
    }
    call.check();
    return call.has('config') ? await runConfigured(call, streams) : runPlain(call, streams);
  } catch (error) {
    const isKnown = error instanceof UsageError || error instanceof CallerError || error instanceof ConfigurationError;
    if (!isKnown) throw error;
    const code = error instanceof ConfigurationError ? ` (${error.code})` : '';
    streams.err(`muniment-verify: ${printable(error.message)}${code}`);
    if (error instanceof UsageError) streams.err("Run 'muniment-verify --help' for usage.");
    return 2;
  }
}

/** Verifies receipts with the policies of the flags. */
function runPlain(call: Call, streams: Streams): ExitCode {
  const { policies, options } = load(call);
  let exitCode: ExitCode = 0;
  for (const receipt of call.operands) {
    const outcome = check(receipt, policies, call, options);
    streams.out(call.has('json') ? json(outcome) : human(outcome));
    if ('statement' in outcome) continue;
    exitCode = exitCode === 1 || outcome.refused ? 1 : 2;
  }
  return exitCode;
}

function load(call: Call): { policies: Policy[]; options: Options } {
  const named = call.has('policy') ? call.files('policy') : call.variable('MUNIMENT_POLICY');
  const files = named.filter(({ name }) => name !== '');
  if (files.length === 0) throw new UsageError('no policy specified: use --policy');
  const policies = files.map((file) => parsePolicy(file.name, readFile(file, MAX_POLICY_BYTES)));
  const options: Options = { ...call.expectations(), headerOnly: call.has('header-only') };
  const key = call.file('stream-key') ?? call.variable('MUNIMENT_STREAM_KEY')[0];
  if (key !== undefined) options.streamKey = parseStreamKey(readFile(key, MAX_STREAM_KEY_BYTES));
  checkOptions(options); // report a wrong call before the first receipt
  return { policies, options };
}

function check(receipt: File, policies: readonly Policy[], call: Call, options: Options): Outcome {
  try {
    const bytes = readFile(receipt, MAX_RECEIPT_BYTES);
    const inputs: Options = { ...options };
    const [payload, external] = [call.file('payload'), call.file('external')];
    if (payload !== undefined) inputs.payload = openPieces(payload);
    if (external !== undefined) inputs.external = openPieces(external);
    return { receipt: receipt.name, statement: verify(bytes, policies, inputs) };
  } catch (error) {
    if (error instanceof NotVerifiedError || error instanceof CallerError)
      return { receipt: receipt.name, error, refused: error instanceof NotVerifiedError };
    throw error;
  }
}

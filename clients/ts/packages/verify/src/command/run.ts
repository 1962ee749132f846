/**
 * The command line: verifies receipts in files, and prints a report on each.
 */

import { parseArgs } from 'node:util';
import { CallerError, NotVerifiedError } from '../errors.js';
import { checkOptions, type Options } from '../expectations.js';
import { quote } from '../json.js';
import { KINDS } from '../kinds.js';
import { MAX_POLICY_BYTES, parsePolicy, type Policy } from '../policy.js';
import { printable } from '../printable.js';
import { MAX_RECEIPT_BYTES } from '../receipt.js';
import { MAX_STREAM_KEY_BYTES, parseStreamKey } from '../streamkey.js';
import { verify } from '../verify.js';
import { VERSION } from '../version.js';
import { Octets } from './arguments.js';
import { openPieces, readFile, type File } from './files.js';
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

/** The arguments are wrong. The exit code is 2, and no receipt is verified. */
class UsageError extends Error {}

/**
 * Runs the command with the given arguments and environment, and returns its
 * exit code.
 */
export function run(args: string[], environment: NodeJS.ProcessEnv, streams: Streams): ExitCode {
  try {
    const call = parseCall(args, environment);
    if (typeof call === 'string') {
      streams.out(call);
      return 0;
    }
    const { policies, options } = load(call);
    let exitCode: ExitCode = 0;
    for (const receipt of call.receipts) {
      const outcome = check(receipt, policies, call, options);
      streams.out(call.json ? json(outcome) : human(outcome));
      if ('statement' in outcome) continue;
      exitCode = exitCode === 1 || outcome.refused ? 1 : 2;
    }
    return exitCode;
  } catch (error) {
    if (!(error instanceof UsageError || error instanceof CallerError)) throw error;
    streams.err(`muniment-verify: ${printable(error.message)}`);
    if (error instanceof UsageError) streams.err("Run 'muniment-verify --help' for usage.");
    return 2;
  }
}

/** The parsed command line. */
interface Call {
  receipts: File[];
  policies: File[];
  payload: File | undefined;
  external: File | undefined;
  streamKey: File | undefined;
  json: boolean;
  options: Options;
}

/** Maps flags to the expectations that are strings. */
const texts = {
  tenant: 'tenant',
  kind: 'kind',
  subject: 'subject',
  'predicate-type': 'predicateType',
  control: 'control',
  signer: 'signer',
  issuer: 'issuer',
  stream: 'stream',
} as const;

/**
 * Parses the arguments. Returns the text to print if they ask for help or the
 * version.
 */
function parseCall(args: string[], environment: NodeJS.ProcessEnv): Call | string {
  const { values, positionals, tokens } = parse(args);
  if (values.help === true || (positionals[0] === 'help' && positionals.length === 1)) return help;
  if (values.version === true) return `muniment-verify ${VERSION}`;
  const octets = new Octets(args);
  const receipts: File[] = [];
  const files: Record<string, File[]> = {};
  for (const token of tokens) {
    if (token.kind === 'positional') receipts.push(octets.file(token.index, token.value));
    if (token.kind === 'option' && token.value !== undefined)
      (files[token.name] ??= []).push(octets.file(token.inlineValue ? token.index : token.index + 1, token.value));
  }
  const variable = (name: string): File[] => {
    const value = environment[name] ?? '';
    return value === '' ? [] : [{ name: value, path: value }];
  };
  const policies = files['policy'] ?? variable('MUNIMENT_POLICY');
  const call: Call = {
    receipts,
    policies: policies.filter(({ name }) => name !== ''),
    payload: files['payload']?.at(-1),
    external: files['external']?.at(-1),
    streamKey: (files['stream-key'] ?? variable('MUNIMENT_STREAM_KEY')).at(-1),
    json: values.json ?? false,
    options: {
      headerOnly: values['header-only'] ?? false,
      requireVerified: values['require-verified'] ?? false,
      admitted: values.admitted ?? false,
    },
  };
  if (call.receipts.length === 0) throw new UsageError('no receipt specified');
  if (call.policies.length === 0) throw new UsageError('no policy specified: use --policy');
  for (const flag of ['payload', 'external'] as const)
    if (values[flag] !== undefined && call.receipts.length > 1)
      throw new UsageError(`--${flag} is for one receipt at a time`);
  const kinds = KINDS.map(({ name }) => name);
  if (values.kind !== undefined && values.kind !== '' && !kinds.includes(values.kind))
    throw new UsageError(`--kind: unknown kind ${quote(values.kind)}: use one of ${kinds.join(', ')}`);
  for (const flag of ['payload', 'external', 'stream-key'] as const)
    if (values[flag] === '') throw new UsageError(`--${flag}: must not be empty`);
  for (const [flag, option] of Object.entries(texts)) {
    const value = values[flag as keyof typeof texts];
    if (value !== undefined) call.options[option] = value;
  }
  return call;
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      tokens: true,
      options: {
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean' },
        policy: { type: 'string', multiple: true },
        payload: { type: 'string' },
        external: { type: 'string' },
        'header-only': { type: 'boolean' },
        tenant: { type: 'string' },
        kind: { type: 'string' },
        subject: { type: 'string' },
        'predicate-type': { type: 'string' },
        control: { type: 'string' },
        'require-verified': { type: 'boolean' },
        signer: { type: 'string' },
        issuer: { type: 'string' },
        admitted: { type: 'boolean' },
        stream: { type: 'string' },
        'stream-key': { type: 'string' },
        json: { type: 'boolean' },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function load(call: Call): { policies: Policy[]; options: Options } {
  const policies = call.policies.map((file) => parsePolicy(file.name, readFile(file, MAX_POLICY_BYTES)));
  const options: Options = { ...call.options };
  if (call.streamKey !== undefined) options.streamKey = parseStreamKey(readFile(call.streamKey, MAX_STREAM_KEY_BYTES));
  checkOptions(options); // report a wrong call before the first receipt
  return { policies, options };
}

function check(receipt: File, policies: readonly Policy[], call: Call, options: Options): Outcome {
  try {
    const bytes = readFile(receipt, MAX_RECEIPT_BYTES);
    const inputs: Options = { ...options };
    if (call.payload !== undefined) inputs.payload = openPieces(call.payload);
    if (call.external !== undefined) inputs.external = openPieces(call.external);
    return { receipt: receipt.name, statement: verify(bytes, policies, inputs) };
  } catch (error) {
    if (error instanceof NotVerifiedError || error instanceof CallerError)
      return { receipt: receipt.name, error, refused: error instanceof NotVerifiedError };
    throw error;
  }
}

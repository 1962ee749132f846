/** Receipts in files, one verdict for each, one exit code for all. */

import { parseArgs } from 'node:util';
import { fromHex } from '../bytes.js';
import { NotVerifiedError, OptionError, PolicyError } from '../errors.js';
import { MAX_POLICY_BYTES, parsePolicy, type Policy } from '../policy.js';
import { MAX_RECEIPT_BYTES } from '../receipt.js';
import { verify, type Options } from '../verify.js';
import { FileError, filePieces, readFile } from './files.js';
import { help } from './help.js';
import { human, json, type Outcome } from './report.js';

/** Where lines of text go. */
export interface Streams {
  out(line: string): void;
  err(line: string): void;
}

/** 0: all verified; 1: one is not verified; 2: one could not be checked. */
export type ExitCode = 0 | 1 | 2;

/** The call itself can't be meant as it is: exit code 2, nothing is verified. */
class UsageError extends Error {}

export function run(args: string[], environment: NodeJS.ProcessEnv, streams: Streams): ExitCode {
  try {
    const call = parseCall(args, environment);
    if (call === undefined) {
      streams.out(help);
      return 0;
    }
    const { policies, options } = load(call);
    let exitCode: ExitCode = 0;
    for (const receipt of call.receipts) {
      const outcome = check(receipt, policies, { ...options, ...sources(call) });
      streams.out(call.json ? json(outcome) : human(outcome));
      if (!outcome.checked) exitCode = exitCode === 1 ? 1 : 2;
      else if (outcome.statement === undefined) exitCode = 1;
    }
    return exitCode;
  } catch (error) {
    if (!(error instanceof UsageError || error instanceof FileError || error instanceof PolicyError)) throw error;
    streams.err(`muniment-verify: ${error.message}`);
    if (error instanceof UsageError) streams.err("Run 'muniment-verify --help' for usage.");
    return 2;
  }
}

/** The command line, as it is written. */
interface Call {
  receipts: string[];
  policies: string[];
  payload: string | undefined;
  external: string | undefined;
  streamKey: string | undefined;
  json: boolean;
  headerOnly: boolean;
  expectations: Pick<Options, 'tenant' | 'kind' | 'subject' | 'stream'>;
}

/** Undefined: help is asked for. */
function parseCall(args: string[], environment: NodeJS.ProcessEnv): Call | undefined {
  const { values, positionals } = parse(args);
  if (values.help === true) return undefined;
  const policies = (values.policy ?? [environment['MUNIMENT_POLICY'] ?? '']).flatMap((list) => list.split(','));
  const call: Call = {
    receipts: positionals,
    policies: policies.filter((path) => path !== ''),
    payload: values.payload,
    external: values.external,
    streamKey: values['stream-key'] ?? environment['MUNIMENT_STREAM_KEY'],
    json: values.json ?? false,
    headerOnly: values['header-only'] ?? false,
    expectations: {},
  };
  if (call.receipts.length === 0) throw new UsageError('no receipt is named');
  if (call.policies.length === 0) throw new UsageError('--policy is missing');
  for (const flag of ['payload', 'external'] as const)
    if (values[flag] !== undefined && call.receipts.length > 1)
      throw new UsageError(`--${flag} is for one receipt at a time`);
  for (const flag of ['payload', 'external', 'stream-key', 'tenant', 'kind', 'subject', 'stream'] as const)
    if (values[flag] === '') throw new UsageError(`--${flag}: empty; leave the flag out if any will do`);
  for (const flag of ['tenant', 'kind', 'subject', 'stream'] as const)
    if (values[flag] !== undefined) call.expectations[flag] = values[flag];
  if (values.stream !== undefined && fromHex(values.stream)?.length !== 32)
    throw new UsageError('--stream: not 64 lowercase hexadecimal digits');
  return call;
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        help: { type: 'boolean', short: 'h' },
        policy: { type: 'string', multiple: true },
        payload: { type: 'string' },
        external: { type: 'string' },
        'header-only': { type: 'boolean' },
        tenant: { type: 'string' },
        stream: { type: 'string' },
        'stream-key': { type: 'string' },
        kind: { type: 'string' },
        subject: { type: 'string' },
        json: { type: 'boolean' },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function load(call: Call): { policies: Policy[]; options: Options } {
  const policies = call.policies.map((path) => parsePolicy(path, readFile('--policy', path, MAX_POLICY_BYTES)));
  const options: Options = { ...call.expectations, headerOnly: call.headerOnly };
  if (call.streamKey !== undefined) options.streamKey = readStreamKey(call.streamKey);
  return { policies, options };
}

/** A stream key's file: 64 lowercase hexadecimal digits and a line break. */
function readStreamKey(path: string): Uint8Array {
  const text = new TextDecoder().decode(readFile('--stream-key', path, 1024)).trim();
  const key = fromHex(text);
  if (key?.length !== 32) throw new FileError(`--stream-key: ${path} does not hold 64 lowercase hexadecimal digits`);
  return key;
}

/** Files that are read in pieces, while a receipt is verified. */
function sources(call: Call): Options {
  const options: Options = {};
  if (call.payload !== undefined) options.payload = filePieces('--payload', call.payload);
  if (call.external !== undefined) options.external = filePieces('--external', call.external);
  return options;
}

function check(receipt: string, policies: readonly Policy[], options: Options): Outcome {
  try {
    const bytes = readFile('receipt', receipt, MAX_RECEIPT_BYTES);
    return { receipt, checked: true, statement: verify(bytes, policies, options) };
  } catch (error) {
    if (error instanceof NotVerifiedError) return { receipt, checked: true, error: error.message };
    if (error instanceof FileError || error instanceof OptionError)
      return { receipt, checked: false, error: error.message };
    throw error;
  }
}

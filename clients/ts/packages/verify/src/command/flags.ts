/** The flags of the command (receipt.md, section 5; verify.md, section 6). */

import { parseArgs } from 'node:util';
import { quote } from '../json.js';
import { KINDS } from '../kinds.js';
import type { Options } from '../expectations.js';
import { Octets } from './arguments.js';
import type { File } from './files.js';

/** The arguments are wrong. The exit code is 2, and nothing is verified. */
export class UsageError extends Error {}

const flags = {
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
  config: { type: 'string' },
  as: { type: 'string' },
  artifact: { type: 'string' },
  files: { type: 'string' },
  receipt: { type: 'string' },
  'stream-bundle': { type: 'string' },
  export: { type: 'string' },
  identity: { type: 'string' },
  html: { type: 'string' },
  report: { type: 'string' },
} as const;

/** The name of a flag. */
export type Flag = keyof typeof flags;

/** The flags that need `--config`. */
const configured = [
  'as',
  'artifact',
  'files',
  'receipt',
  'stream-bundle',
  'export',
  'identity',
  'html',
  'report',
] as const;

/** The flags with a file or folder, each for exactly one file to verify. */
const single = ['payload', 'external', 'artifact', 'files', 'receipt', 'stream-bundle', 'html', 'report'] as const;

/** The flags that are expectations of receipts, with their names in the library. */
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

/** The parsed command line. */
export class Call {
  /** The files to verify. */
  readonly operands: File[] = [];
  private readonly named = new Map<string, File[]>();

  private constructor(
    private readonly values: Partial<Record<Flag, string | boolean | string[]>>,
    private readonly environment: NodeJS.ProcessEnv,
  ) {}

  /** Parses the arguments. */
  static parse(args: string[], environment: NodeJS.ProcessEnv): Call {
    const { values, tokens } = parse(args);
    const call = new Call(values, environment);
    const octets = new Octets(args);
    for (const token of tokens) {
      if (token.kind === 'positional') call.operands.push(octets.file(token.index, token.value));
      if (token.kind !== 'option' || token.value === undefined) continue;
      const file = octets.file(token.inlineValue ? token.index : token.index + 1, token.value);
      call.named.set(token.name, [...(call.named.get(token.name) ?? []), file]);
    }
    return call;
  }

  /** Reports whether a flag is set. */
  has(flag: Flag): boolean {
    return this.values[flag] === true || (this.values[flag] !== undefined && this.values[flag] !== false);
  }

  /** Returns the value of a flag. */
  text(flag: Flag): string | undefined {
    const value = this.values[flag];
    return typeof value === 'string' ? value : undefined;
  }

  /** Returns the file that a flag names. */
  file(flag: Flag): File | undefined {
    return this.files(flag).at(-1);
  }

  /** Returns the files that a flag names. */
  files(flag: Flag): File[] {
    return this.named.get(flag) ?? [];
  }

  /** Returns the file that a variable of the environment names. */
  variable(name: string): File[] {
    const value = this.environment[name] ?? '';
    return value === '' ? [] : [{ name: value, path: value }];
  }

  /** Throws UsageError if flags do not go together, or a value is wrong. */
  check(): void {
    if (this.operands.length === 0) throw new UsageError(`no ${this.has('config') ? 'file' : 'receipt'} specified`);
    if (this.has('config')) {
      for (const flag of ['policy', 'stream-key'] as const)
        if (this.has(flag)) throw new UsageError(`--${flag}: the configuration specifies it`);
    } else {
      for (const flag of configured) if (this.has(flag)) throw new UsageError(`--${flag}: needs --config`);
    }
    for (const flag of single)
      if (this.has(flag) && this.operands.length > 1)
        throw new UsageError(`--${flag} is for one ${this.has('config') ? 'file' : 'receipt'} at a time`);
    for (const flag of [...single, 'stream-key', 'config', 'as'] as const)
      if (this.text(flag) === '') throw new UsageError(`--${flag}: must not be empty`);
    const kinds = KINDS.map(({ name }) => name);
    const kind = this.text('kind') ?? '';
    if (kind !== '' && !kinds.includes(kind))
      throw new UsageError(`--kind: unknown kind ${quote(kind)}: use one of ${kinds.join(', ')}`);
  }

  /** Returns the expectations of a receipt that are set. */
  expectations(): Options {
    const options: Options = {};
    for (const [flag, option] of Object.entries(texts)) {
      const value = this.text(flag as keyof typeof texts);
      if (value !== undefined) options[option] = value;
    }
    if (this.has('require-verified')) options.requireVerified = true;
    if (this.has('admitted')) options.admitted = true;
    return options;
  }
}

function parse(args: string[]) {
  try {
    return parseArgs({ args, allowPositionals: true, tokens: true, options: flags });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

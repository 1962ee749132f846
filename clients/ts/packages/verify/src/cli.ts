#!/usr/bin/env node
/**
 * The command muniment-verify: flags, reports and exit codes of receipt.md,
 * section 5.
 */

import { reason } from './command/files.js';
import { write } from './command/output.js';
import { run } from './command/run.js';

/**
 * The exit code that shells report for programs ended by SIGPIPE, as in
 * `| head -1`.
 */
const brokenPipe = 141;

/**
 * Writes to standard error. If that fails, there is nowhere else to report it.
 */
function complain(line: string): void {
  try {
    write(2, `${line}\n`);
  } catch {
    return;
  }
}

function out(line: string): void {
  try {
    write(1, `${line}\n`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EPIPE') process.exit(brokenPipe);
    complain(`muniment-verify: standard output: ${reason(error)}`);
    process.exit(2);
  }
}

try {
  process.exitCode = await run(process.argv.slice(2), process.env, { out, err: complain });
} catch (error) {
  // An internal error must not look like a verdict.
  complain(`muniment-verify: internal error: ${error instanceof Error ? error.name : 'unknown'}`);
  process.exitCode = 2;
}

#!/usr/bin/env node
/** The command muniment-verify: flags and exit codes as of `muniment verify`. */

import { run } from './command/run.js';

process.exitCode = run(process.argv.slice(2), process.env, {
  out: (line) => process.stdout.write(`${line}\n`),
  err: (line) => process.stderr.write(`${line}\n`),
});

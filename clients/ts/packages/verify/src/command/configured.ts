/** The command line with a configuration (verify.md, section 6). */

import { writeFileSync } from 'node:fs';
import type { Configuration } from '../configuration.js';
import { quote } from '../json.js';
import { reason } from '../node/file.js';
import { loadConfiguration, OpenFile, openFolder } from '../node/index.js';
import { printable, printableJson } from '../printable.js';
import { evidenceOf } from '../report/evidence.js';
import type { Report } from '../report/report.js';
import { VERIFICATION_KINDS } from '../report/sections.js';
import { verifyFile, type AnyInputs } from '../verification/file.js';
import type { File } from './files.js';
import { UsageError, type Call } from './flags.js';
import type { ExitCode, Streams } from './run.js';

/** Verifies files with a configuration. */
export async function runConfigured(call: Call, streams: Streams): Promise<ExitCode> {
  const inputs = inputsOf(call);
  const file = call.file('config') ?? { name: '', path: '' };
  const configuration = await loadConfiguration(file.path, file.name);
  let exitCode: ExitCode = 0;
  for (const operand of call.operands) {
    const report = await check(operand, configuration, inputs);
    streams.out(call.has('json') ? printableJson(report) : report.toText().slice(0, -1));
    const isWritten = await writeForms(report, operand, call, streams);
    if (report.verdict === 'not-verified') exitCode = 1;
    else if (exitCode === 0 && (report.verdict === 'error' || !isWritten)) exitCode = 2;
  }
  return exitCode;
}

async function check(operand: File, configuration: Configuration, inputs: AnyInputs): Promise<Report> {
  return await verifyFile(configuration, new OpenFile(operand.name, operand.path), inputs);
}

/** Returns the inputs that the flags name. */
function inputsOf(call: Call): AnyInputs {
  const open = (flag: 'payload' | 'external' | 'artifact' | 'receipt' | 'stream-bundle') => {
    const file = call.file(flag);
    return file && new OpenFile(file.name, file.path);
  };
  const inputs: AnyInputs = {};
  const kind = call.text('as');
  if (kind !== undefined) {
    const known = VERIFICATION_KINDS.find((one) => one === kind);
    if (known === undefined)
      throw new UsageError(`--as: unknown kind ${quote(kind)}: use one of ${VERIFICATION_KINDS.join(', ')}`);
    inputs.kind = known;
  }
  const [payload, external, receipt, stream] = (['payload', 'external', 'receipt', 'stream-bundle'] as const).map(open);
  if (payload) inputs.payload = payload;
  if (external) inputs.external = external;
  if (receipt) inputs.receipt = receipt;
  if (stream) inputs.stream = stream;
  if (call.has('header-only')) inputs.headerOnly = true;
  const artifact = call.text('artifact');
  const [file, folder] = [open('artifact'), call.file('files')];
  if (artifact !== undefined && /^sha256:[0-9A-Fa-f]{64}$/.test(artifact)) inputs.artifact = artifact;
  else if (file) inputs.artifact = file;
  if (folder) inputs.files = openFolder(String(folder.path));
  const expect = { ...call.expectations() };
  for (const flag of ['export', 'identity'] as const) {
    const value = call.text(flag);
    if (value !== undefined) Object.assign(expect, { [flag]: value });
  }
  if (Object.keys(expect).length > 0) inputs.expect = expect;
  return inputs;
}

/** Writes the page and the evidence. Returns false if that fails. */
async function writeForms(report: Report, operand: File, call: Call, streams: Streams): Promise<boolean> {
  const [page, evidence] = [call.file('html'), call.file('report')];
  let isWritten = page === undefined || write(page, report.toHTML(), streams);
  if (evidence !== undefined) {
    const payload = await evidenceOf(report, new OpenFile(operand.name, operand.path));
    isWritten = write(evidence, `${JSON.stringify(payload)}\n`, streams) && isWritten;
  }
  return isWritten;
}

function write({ name, path }: File, text: string, streams: Streams): boolean {
  try {
    writeFileSync(path, text);
    return true;
  } catch (error) {
    streams.err(`muniment-verify: ${printable(name)}: ${reason(error)}`);
    return false;
  }
}

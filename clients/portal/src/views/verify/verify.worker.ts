/** Verifies files apart from the page, which stays usable. */

import {
  ConfigurationError,
  folderOf,
  parseConfiguration,
  verifyExport,
  verifyFile,
  type Report,
} from '@muniment/verify';
import { sectionsOf } from '@muniment/verify/report/sections';
import type { Answer, Job, Outcome } from './protocol';

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<Job>) => void) | null;
  postMessage(answer: Answer): void;
};

/** Progress is reported at most so often. */
const pace = 100;

scope.onmessage = ({ data: job }) => {
  void run(job).then((outcome) => {
    scope.postMessage({ id: job.id, outcome });
  });
};

async function run(job: Job): Promise<Outcome> {
  const [path] = job.file;
  try {
    return outcomeOf(await verify(job));
  } catch (error) {
    const code = error instanceof ConfigurationError ? error.code : 'failed';
    const message = error instanceof Error ? error.message : String(error);
    return { file: path, kind: '', html: '', verdict: 'error', code, step: 0, message };
  }
}

async function verify({ id, configuration: text, trusted, file: [path, file], parts }: Job): Promise<Report> {
  const configuration = await parseConfiguration(text, new Map(trusted));
  let told = 0;
  const watched = {
    onProgress(done: number, total: number) {
      const now = Date.now();
      if (now - told < pace) return;
      told = now;
      scope.postMessage({ id, done, total });
    },
  };
  const named = { name: path, content: file };
  if (parts === undefined) return await verifyFile(configuration, named, watched);
  const { files, receipt, stream } = parts;
  return await verifyExport(configuration, named, {
    ...(files && { files: folderOf(new Map(files)) }),
    ...(receipt && { receipt }),
    ...(stream && { stream }),
    ...watched,
  });
}

function outcomeOf(report: Report): Outcome {
  const shared = { file: report.file, kind: report.kind ?? '', html: report.toHTML() };
  if (report.verdict === 'verified') return { ...shared, verdict: 'verified', sections: sectionsOf(report.toJSON()) };
  const { verdict, code, step, message } = report;
  return { ...shared, verdict, code, step, message };
}

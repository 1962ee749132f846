import { folderOf, verifyExport, type Configuration, type Report } from '@muniment/verify';
import { useRef, useState } from 'react';
import { added, partsOf, PartsError, type Files } from './dropped';
import { Intake } from './Intake';
import { ReportView } from './ReportView';

type State =
  | { name: 'empty' }
  | { name: 'working'; done: number; total: number }
  | { name: 'incomplete'; message: string }
  | { name: 'done'; report: Report<'export'> };

/** Verifies an export, and shows the report. */
export function App({ configuration }: { configuration: Configuration }) {
  const [state, setState] = useState<State>({ name: 'empty' });
  const files = useRef<Files>(new Map());
  const running = useRef<AbortController>(null);

  const verify = async (more: Files) => {
    running.current?.abort();
    const { signal } = (running.current = new AbortController());
    files.current = added(files.current, more);
    setState({ name: 'working', done: 0, total: 0 });
    try {
      const { manifest, files: exported, ...parts } = partsOf(files.current);
      const report = await verifyExport(configuration, manifest, {
        ...parts,
        ...(exported && { files: folderOf(exported) }),
        signal,
        onProgress: (done, total) => {
          setState({ name: 'working', done, total });
        },
      });
      setState({ name: 'done', report });
    } catch (error) {
      if (signal.aborted) return; // other files are being verified
      if (!(error instanceof PartsError)) throw error;
      setState({ name: 'incomplete', message: error.message });
    }
  };

  return (
    <main>
      <h1>Verify an export</h1>
      <p>The files are verified in this page. Nothing is uploaded.</p>
      <Intake onFiles={verify} />
      <p role="status" className="state">
        {state.name === 'empty' && 'No files yet.'}
        {state.name === 'working' && 'Verifying …'}
        {state.name === 'incomplete' && state.message}
        {state.name === 'done' && `Verification of ${state.report.file} finished.`}
      </p>
      {state.name === 'working' && (
        <progress aria-label="Bytes verified" {...(state.total > 0 && { value: state.done, max: state.total })} />
      )}
      {state.name === 'done' && <ReportView report={state.report} />}
    </main>
  );
}

import { useEffect, useRef, useState } from 'react';
import { partsOf, PartsError, type Files } from '../../../../ts/samples/drop/src/dropped';
import { useTrustRecord } from '../../trust/store';
import { Button, Empty, formatPercent, Notice, Page, Panel, Status } from '../../ui';
import { DropZone } from './DropZone';
import { OutcomeView } from './OutcomeView';
import type { Job, Outcome } from './protocol';
import { trustedOf, type Use } from './trusted';
import { Verifier } from './verifier';
import styles from './verify.module.css';

/** Files that are verified at once. An export counts as one. */
const most = 100;

const usedAs: Record<Use, string> = {
  configuration: 'the configuration',
  policy: 'a trust policy of a log',
  key: 'a public key',
  root: 'a Sigstore trusted root',
  'stream key': 'the stream key of a tenant',
};

/** Verifies files in the browser. Nothing is sent anywhere. */
export function View() {
  const verifier = useVerifier();
  const policies = useTrustRecord()?.policies ?? [];
  const [chosen, setChosen] = useState<Files>(new Map());
  const [uses, setUses] = useState<readonly (readonly [string, Use])[]>([]);
  const [outcomes, setOutcomes] = useState<readonly Outcome[]>([]);
  const [problem, setProblem] = useState<string>();
  const [progress, setProgress] = useState<{ file: string; share: number }>();
  const round = useRef(0);

  const trust = (files: Files) => {
    const all = new Map([...chosen, ...files]);
    setChosen(all);
    void trustedOf(all, []).then((trusted) => {
      setUses(trusted.uses);
    });
  };

  const verify = async (files: Files) => {
    const own = ++round.current;
    setOutcomes([]);
    setProblem(undefined);
    try {
      const { configuration, files: trusted } = await trustedOf(chosen, policies);
      for (const job of jobsOf(files)) {
        setProgress({ file: job.file[0], share: 0 });
        const outcome = await verifier.current?.verify({ configuration, trusted, ...job }, (share) => {
          if (own === round.current) setProgress({ file: job.file[0], share });
        });
        if (own !== round.current) return;
        if (outcome) setOutcomes((before) => [...before, outcome]);
      }
    } catch (error) {
      if (own !== round.current) return;
      setProblem(error instanceof Error ? error.message : String(error));
    }
    setProgress(undefined);
  };

  const stop = () => {
    round.current++;
    verifier.current?.interrupt();
    setProgress(undefined);
  };

  return (
    <Page
      title="Verify an export"
      lead="Exports, evidence bundles, receipts and Sigstore bundles are verified in this browser. Nothing is uploaded, and once the page is open it needs no network."
    >
      <Panel title="What you trust" note="from another source than the files below">
        <DropZone label="Trusted files" onFiles={trust}>
          <p>
            Drop <code>muniment.json</code> with the files that it names. Or drop trust policies, public keys, a trusted
            root and a stream key.
          </p>
        </DropZone>
        {uses.length > 0 ? (
          <ul className={styles.list}>
            {uses.map(([path, use]) => (
              <li key={path}>
                <code>{path}</code> is used as {usedAs[use]}.
              </li>
            ))}
          </ul>
        ) : (
          <p className={styles.quiet}>
            {policies.length > 0
              ? `Without files, the trust policies of this browser are used: ${policies.map(({ name }) => name).join(', ')}.`
              : 'Nothing is trusted yet, so that nothing can be verified.'}
          </p>
        )}
        {uses.length > 0 && (
          <div>
            <Button
              onPress={() => {
                setChosen(new Map());
                setUses([]);
              }}
            >
              Forget these files
            </Button>
          </div>
        )}
      </Panel>
      <Panel title="Files to verify">
        <DropZone label="Files to verify" onFiles={(files) => void verify(files)}>
          <p>Drop the folder of an export, or receipts, bundles and streams.</p>
        </DropZone>
        {progress && (
          <div className={styles.progress} role="status">
            <Status tone="pending">Verifying</Status>
            <span>
              {progress.file}, {formatPercent(progress.share)}
            </span>
            <Button onPress={stop}>Stop</Button>
          </div>
        )}
        {problem !== undefined && (
          <Notice tone="bad" title="These files do not belong together">
            {problem}
          </Notice>
        )}
      </Panel>
      {outcomes.map((outcome, i) => (
        <OutcomeView key={i} outcome={outcome} />
      ))}
      {outcomes.length === 0 && !progress && problem === undefined && (
        <Empty title="No report yet">
          The report separates what is proven from what is only claimed. What no report proves is in Muniment’s
          documentation: docs/sdk-trust-boundary.md.
        </Empty>
      )}
    </Page>
  );
}

/** Returns what to verify: an export with its parts, or each file by itself. */
function jobsOf(files: Files): Omit<Job, 'id' | 'configuration' | 'trusted'>[] {
  const paths = [...files.keys()];
  if (paths.some((path) => /(^|[/.])export\.sigstore\.json$/.test(path))) {
    const { manifest, files: named, receipt, stream } = partsOf(files);
    const path = paths.find((name) => files.get(name) === manifest) ?? manifest.name;
    const parts = { ...(named && { files: [...named] }), ...(receipt && { receipt }), ...(stream && { stream }) };
    return [{ file: [path, manifest], parts }];
  }
  if (files.size > most) throw new PartsError(`${files.size} files: drop at most ${most}.`);
  return [...files].map((file) => ({ file }));
}

/** Starts the worker when the view opens, so that it needs no network later. */
function useVerifier() {
  const verifier = useRef<Verifier>(undefined);
  useEffect(() => {
    const started = new Verifier();
    verifier.current = started;
    return () => {
      started.close();
      verifier.current = undefined;
    };
  }, []);
  return verifier;
}

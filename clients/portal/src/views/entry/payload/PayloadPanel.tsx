import { useEffect, useRef, useState } from 'react';
import { Button, Download, Evidence, Failed, formatBytes, formatNumber, Notice, Panel, Status } from '../../../ui';
import { ContentView } from './ContentView';
import { load, loadBeginning, MAX_LOADED, MAX_UNASKED, type Loaded } from './load';
import { isText } from './raw';
import { RawView } from './RawView';
import type { About } from './read';
import styles from './PayloadPanel.module.css';

interface Props {
  tenant: string;
  index: bigint;
  /** From the verified receipt. */
  salt: Uint8Array;
  /** From the verified header. */
  payload: { size: number; commitment: string };
  about: About;
  /** Is called once the payload has been compared with the header. */
  onChecked: (isGenuine: boolean) => void;
}

type State =
  | { name: 'waiting' }
  | { name: 'loading'; bytes: number }
  | { name: 'loaded'; loaded: Loaded }
  | { name: 'beginning'; blob: Blob }
  | { name: 'cancelled' }
  | { name: 'failed'; error: unknown };

const beginning = 1 << 20;

/** The payload of an entry whose receipt is verified: fetched, hashed here, and shown. */
export function PayloadPanel(props: Props) {
  const { payload, about } = props;
  const [state, loading] = usePayload(props);
  const isLarge = payload.size > MAX_UNASKED;
  const isTooLarge = payload.size > MAX_LOADED;
  return (
    <Panel
      title="Payload"
      note={
        <>
          <Evidence text={about.mediaType} mono most={120} />, {formatBytes(payload.size)}
        </>
      }
      actions={
        state.name === 'loaded' &&
        state.loaded.isGenuine && (
          <Download content={state.loaded.blob} name={`entry-${props.index}.payload`}>
            Download the payload
          </Download>
        )
      }
    >
      {state.name === 'waiting' && isLarge && (
        <Notice
          tone="info"
          title={
            isTooLarge ? 'This payload is too large for the page' : `This payload has ${formatBytes(payload.size)}`
          }
        >
          <p>
            {isTooLarge
              ? `Payloads of more than ${formatBytes(MAX_LOADED)} are not loaded. The command below downloads it, and verifies it with the receipt.`
              : 'It is fetched only if you ask for it. Then it is hashed in this browser and compared with the header.'}
          </p>
          <p className={styles.choices}>
            {!isTooLarge && (
              <Button kind="primary" onPress={loading.start}>
                Load and verify
              </Button>
            )}
            <Button onPress={loading.peek}>Show the first {formatBytes(beginning)} only</Button>
          </p>
        </Notice>
      )}
      {state.name === 'loading' && (
        <div className={styles.progress}>
          <progress aria-label="Payload" value={state.bytes} max={Math.max(1, payload.size)} />
          <span>
            {formatBytes(state.bytes)} of {formatBytes(payload.size)}
          </span>
          <Button onPress={loading.cancel}>Cancel</Button>
        </div>
      )}
      {state.name === 'cancelled' && (
        <Notice tone="neutral" title="Loading was cancelled">
          <p className={styles.choices}>
            <Button onPress={loading.start}>Load again</Button>
          </p>
        </Notice>
      )}
      {state.name === 'failed' && <Failed error={state.error} onRetry={loading.start} />}
      {state.name === 'beginning' && (
        <>
          <Notice tone="warn" title="Not verified">
            These are the first {formatNumber(state.blob.size)} bytes as the server sent them. Only the whole payload
            can be compared with the header.
          </Notice>
          <Raw blob={state.blob} />
        </>
      )}
      {state.name === 'loaded' && <LoadedView loaded={state.loaded} payload={payload} />}
    </Panel>
  );
}

/** Loads a payload when the panel is shown, unless it is large. */
function usePayload(props: Props): [State, { start: () => void; peek: () => void; cancel: () => void }] {
  const { tenant, index, payload, onChecked } = props;
  const [state, setState] = useState<State>({ name: 'waiting' });
  const running = useRef<AbortController>(undefined);

  const begin = (): AbortSignal => {
    running.current?.abort();
    running.current = new AbortController();
    return running.current.signal;
  };
  const run = async (signal: AbortSignal, work: () => Promise<State>) => {
    setState({ name: 'loading', bytes: 0 });
    try {
      const next = await work();
      if (signal.aborted) return;
      setState(next);
      if (next.name === 'loaded') onChecked(next.loaded.isGenuine);
    } catch (error) {
      if (!signal.aborted) setState({ name: 'failed', error });
    }
  };
  const start = () => {
    const signal = begin();
    void run(signal, async () => ({
      name: 'loaded',
      loaded: await load(props, signal, (bytes) => {
        if (!signal.aborted) setState({ name: 'loading', bytes });
      }),
    }));
  };
  const peek = () => {
    const signal = begin();
    void run(signal, async () => ({ name: 'beginning', blob: await loadBeginning(tenant, index, beginning, signal) }));
  };
  const cancel = () => {
    running.current?.abort();
    setState({ name: 'cancelled' });
  };

  useEffect(() => {
    if (payload.size <= MAX_UNASKED) start();
    return () => {
      running.current?.abort();
    };
    // eslint-disable-next-line react-hooks/exhaustive-deps -- keyed by the entry, it loads once
  }, []);
  return [state, { start, peek, cancel }];
}

function LoadedView({ loaded, payload }: { loaded: Loaded; payload: { size: number } }) {
  const { content, isGenuine, isTooLarge, blob } = loaded;
  if (!isGenuine)
    return (
      <>
        <Notice tone="bad" title="The server sent another payload">
          The verified header commits to {formatNumber(payload.size)} other bytes. What the server sent is shown below
          as bytes, and is not evidence of this entry (payload-mismatch).
        </Notice>
        <Raw blob={blob} />
      </>
    );
  return (
    <>
      <div>
        <Status tone="good">The header commits to these bytes</Status>
      </div>
      {isTooLarge && (
        <Notice tone="info" title="The payload is too large to be read as a document">
          It is verified. You can read its bytes, or download it.
        </Notice>
      )}
      {content === undefined ? (
        <Raw blob={blob} />
      ) : (
        <Views blob={blob} format={content.format} view={<ContentView content={content} />} />
      )}
    </>
  );
}

const VIEWS = ['document', 'text', 'hex'] as const;
type View = (typeof VIEWS)[number];

function Views({ blob, format, view }: { blob: Blob; format: string; view: React.ReactNode }) {
  const [shown, setShown] = useState<View>('document');
  return (
    <>
      <ViewChoice
        views={VIEWS}
        names={{ document: format, text: 'Text', hex: 'Bytes' }}
        shown={shown}
        onChange={setShown}
      />
      {shown === 'document' ? view : <RawView key={shown} blob={blob} as={shown} />}
    </>
  );
}

/** The bytes of a payload. Those that are no text are shown as digits. */
function Raw({ blob }: { blob: Blob }) {
  const [isReadable, setReadable] = useState<boolean>();
  const [chosen, setChosen] = useState<'text' | 'hex'>();
  useEffect(() => {
    let isCurrent = true;
    void blob
      .slice(0, 4096)
      .arrayBuffer()
      .then((bytes) => {
        if (isCurrent) setReadable(isText(new Uint8Array(bytes)));
      });
    return () => {
      isCurrent = false;
    };
  }, [blob]);
  if (isReadable === undefined) return null;
  const shown = chosen ?? (isReadable ? 'text' : 'hex');
  return (
    <>
      <ViewChoice views={['text', 'hex']} names={{ text: 'Text', hex: 'Bytes' }} shown={shown} onChange={setChosen} />
      <RawView key={shown} blob={blob} as={shown} />
    </>
  );
}

function ViewChoice<V extends string>({
  views,
  names,
  shown,
  onChange,
}: {
  views: readonly V[];
  names: Record<V, string>;
  shown: V;
  onChange: (view: V) => void;
}) {
  return (
    <div className={styles.choices} role="group" aria-label="View of the payload">
      {views.map((view) => (
        <button
          key={view}
          type="button"
          className={styles.choice}
          aria-pressed={view === shown}
          onClick={() => {
            onChange(view);
          }}
        >
          {names[view]}
        </button>
      ))}
    </div>
  );
}

import { useEffect, useState } from 'react';
import { Button } from './Button';
import { CheckIcon, CopyIcon } from './icons';
import styles from './CopyButton.module.css';

/** Copies a text. The label names the text, such as "digest". */
export function CopyButton({ text, label, showLabel = false }: { text: string; label: string; showLabel?: boolean }) {
  const [state, setState] = useState<'idle' | 'copied' | 'failed'>('idle');
  useEffect(() => {
    if (state === 'idle') return undefined;
    const timer = setTimeout(() => {
      setState('idle');
    }, 2_000);
    return () => {
      clearTimeout(timer);
    };
  }, [state]);
  const copy = () => {
    copyText(text).then(
      () => {
        setState('copied');
      },
      () => {
        setState('failed');
      },
    );
  };
  const said = state === 'copied' ? 'Copied' : state === 'failed' ? 'Copying failed: select the text' : '';
  return (
    <span className={styles.copy}>
      <Button kind="quiet" className={styles.button ?? ''} onPress={copy} aria-label={`Copy ${label}`}>
        {state === 'copied' ? <CheckIcon /> : <CopyIcon />}
        {showLabel && (state === 'copied' ? 'Copied' : 'Copy')}
      </Button>
      <span role="status" className={state === 'failed' ? styles.failed : 'visually-hidden'}>
        {said}
      </span>
    </span>
  );
}

async function copyText(text: string): Promise<void> {
  // Pages without TLS, other than on loopback, have no clipboard.
  if (!('clipboard' in navigator)) throw new Error('no clipboard');
  await navigator.clipboard.writeText(text);
}

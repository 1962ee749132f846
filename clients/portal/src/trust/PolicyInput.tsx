import { MAX_POLICY_BYTES, parsePolicy } from '@muniment/verify';
import { useId, useState, type ChangeEvent } from 'react';
import { buttonClass } from '../ui';
import { trustStore } from './store';
import styles from './PolicyInput.module.css';

/** Policies that can be chosen at once. */
const most = 8;

/** Chooses trust policy files. They stay in this browser. */
export function PolicyInput() {
  const [problem, setProblem] = useState<string>();
  const id = useId();
  const choose = ({ currentTarget }: ChangeEvent<HTMLInputElement>) => {
    const files = [...(currentTarget.files ?? [])];
    currentTarget.value = '';
    setProblem(undefined);
    read(files).then(
      (policies) => {
        if (policies.length > 0) trustStore.choose(policies);
      },
      (error: unknown) => {
        setProblem(error instanceof Error ? error.message : String(error));
      },
    );
  };
  return (
    <>
      <label className={`${buttonClass()} ${styles.label ?? ''}`} htmlFor={id}>
        Choose policy files
        <input id={id} type="file" multiple className={styles.input} onChange={choose} />
      </label>
      {problem !== undefined && (
        <span role="alert" className={styles.problem}>
          {problem}
        </span>
      )}
    </>
  );
}

async function read(files: readonly File[]): Promise<{ name: string; text: string }[]> {
  if (files.length > most) throw new Error(`${files.length} files: choose at most ${most}`);
  return await Promise.all(
    files.map(async (file) => {
      if (file.size > MAX_POLICY_BYTES) throw new Error(`${file.name} is too large for a policy`);
      const text = await file.text();
      parsePolicy(file.name, text);
      return { name: file.name, text };
    }),
  );
}

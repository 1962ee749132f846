import { useId, useRef, useState, type ReactNode } from 'react';
import { chosenFiles, droppedFiles, type Files } from '../../../../ts/samples/drop/src/dropped';
import { Button, classes } from '../../ui';
import styles from './verify.module.css';

/** Takes files that are dropped or chosen. Folders are read whole. */
export function DropZone({
  label,
  onFiles,
  children,
}: {
  label: string;
  onFiles: (files: Files) => void;
  children: ReactNode;
}) {
  const [over, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const id = useId();
  return (
    <div
      role="group"
      aria-label={label}
      className={classes(styles.zone, over && styles.over)}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => {
        setOver(false);
      }}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        void droppedFiles(event.dataTransfer).then(onFiles);
      }}
    >
      <div>{children}</div>
      <Button onPress={() => input.current?.click()}>Choose files</Button>
      <label className="visually-hidden" htmlFor={id}>
        {label}
      </label>
      <input
        ref={input}
        id={id}
        type="file"
        multiple
        hidden
        onChange={({ currentTarget }) => {
          if (currentTarget.files) onFiles(chosenFiles(currentTarget.files));
          currentTarget.value = '';
        }}
      />
    </div>
  );
}

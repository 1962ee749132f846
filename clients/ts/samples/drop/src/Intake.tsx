import { useState, type ChangeEvent, type DragEvent } from 'react';
import { chosenFiles, droppedFiles, type Files } from './dropped';

/** Where files are dropped, or chosen with the keyboard. */
export function Intake({ onFiles }: { onFiles: (files: Files) => Promise<void> }) {
  const [isOver, setOver] = useState(false);

  const choose = ({ currentTarget }: ChangeEvent<HTMLInputElement>) => {
    const files = chosenFiles(currentTarget.files ?? new FileList());
    currentTarget.value = ''; // the same folder can be chosen again
    if (files.size > 0) void onFiles(files);
  };
  const drag = (event: DragEvent) => {
    event.preventDefault();
    setOver(event.type === 'dragover');
  };
  const drop = (event: DragEvent) => {
    drag(event);
    void droppedFiles(event.dataTransfer).then(onFiles);
  };

  return (
    <section
      aria-label="Files"
      className={isOver ? 'intake over' : 'intake'}
      onDragOver={drag}
      onDragLeave={drag}
      onDrop={drop}
    >
      <p>Drop the folder of an export here, and the evidence bundle of your stream if you have one, or choose them:</p>
      <label className="button">
        Folder of the export
        <input type="file" onChange={choose} webkitdirectory="" />
      </label>
      <label className="button">
        Single files
        <input type="file" onChange={choose} multiple />
      </label>
    </section>
  );
}

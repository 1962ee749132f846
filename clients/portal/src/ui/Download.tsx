import { Button, type ButtonKind } from './Button';

interface Props {
  /** The content, of whatever type: browsers only save it. */
  content: Blob | Uint8Array;
  /** The name of the file. */
  name: string;
  kind?: ButtonKind;
  children: string;
}

/** A button that saves a file. */
export function Download({ content, name, kind, children }: Props) {
  const save = () => {
    // Of a type that no browser shows, whatever the type of the evidence.
    const blob = new Blob([content instanceof Blob ? content : new Uint8Array(content)], {
      type: 'application/octet-stream',
    });
    const url = URL.createObjectURL(blob);
    const link = document.createElement('a');
    link.href = url;
    link.download = name;
    link.click();
    setTimeout(() => {
      URL.revokeObjectURL(url);
    }, 60_000); // the browser has begun to save it by then
  };
  return (
    <Button onPress={save} {...(kind !== undefined && { kind })}>
      {children}
    </Button>
  );
}

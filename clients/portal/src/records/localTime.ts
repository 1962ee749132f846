/** Values of inputs of the type datetime-local, in the zone of the browser. */

const two = (n: number) => String(n).padStart(2, '0');

/** Writes a time, to the minute. */
export function toLocalInput(date: Date): string {
  const day = `${String(date.getFullYear()).padStart(4, '0')}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day}T${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** Reads the value of an input. */
export function fromLocalInput(text: string): Date | undefined {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?$/u.test(text)) return undefined;
  const date = new Date(text); // without a zone: that of the browser
  return Number.isNaN(date.getTime()) ? undefined : date;
}

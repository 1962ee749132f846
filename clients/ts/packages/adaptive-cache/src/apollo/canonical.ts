/** The encoding of arguments in names. */

const DEEPEST = 64;

/**
 * Encodes a value so that different values have different texts, whatever the
 * order of their members. Returns undefined for values of which it cannot be
 * sure: those of other classes than Date, functions, symbols and cycles.
 */
export function canonical(value: unknown, depth = 0): string | undefined {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value);
    case 'bigint':
      return `${value}n`;
    case 'number':
    case 'boolean':
    case 'undefined':
      return String(value);
    case 'object':
      break;
    default:
      return undefined;
  }
  if (value === null) return 'null';
  if (depth >= DEEPEST) return undefined;
  if (Array.isArray(value)) return join('[', ']', value, (item) => canonical(item, depth + 1));
  if (value instanceof Date) return `Date(${value.getTime()})`;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype) return undefined;
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return join('{', '}', members, ([key, member]) => {
    const text = canonical(member, depth + 1);
    return text === undefined ? undefined : `${JSON.stringify(key)}:${text}`;
  });
}

function join<T>(open: string, close: string, items: readonly T[], encode: (item: T) => string | undefined) {
  const texts: string[] = [];
  for (const item of items) {
    const text = encode(item);
    if (text === undefined) return undefined;
    texts.push(text);
  }
  return open + texts.join(',') + close;
}

/** The items of a report (verify.md, section 5). */

/** A value of a report. */
export type Value = string | number | boolean | readonly Value[] | { readonly [member: string]: Value };

/** A label, and its value as text. Neither is escaped. */
export interface Item {
  label: string;
  value: string;
}

const timed = new Set(['time', 'first', 'newest', 'integratedTime']);

/** The end of the year 9999, in Unix milliseconds. */
const end = 253_402_300_800_000;

/** Returns the items of an object, in the order of its members. */
export function itemsOf(object: Readonly<Record<string, Value>>): Item[] {
  return membersOf(object).flatMap(([name, value]) => itemsOfMember(name, value));
}

function itemsOfMember(name: string, value: Value): Item[] {
  if (isArray(value)) {
    if (value.length === 0) return [{ label: name, value: 'none' }];
    return value.map((element) => ({
      label: name,
      value:
        typeof element === 'object'
          ? leavesOf(element, '', '')
              .map((leaf) => `${leaf.label} ${leaf.value}`)
              .join(', ')
          : leafText(name === 'times' ? 'time' : '', element),
    }));
  }
  return typeof value === 'object' ? leavesOf(value, name, '') : [{ label: name, value: leafText(name, value) }];
}

/** Returns the leaves of a value, with their paths as labels. */
function leavesOf(value: Value, path: string, name: string): Item[] {
  if (isArray(value))
    return value.flatMap((element, i) => leavesOf(element, `${path}[${i}]`, name === 'times' ? 'time' : ''));
  if (typeof value === 'object')
    return membersOf(value).flatMap(([member, part]) =>
      leavesOf(part, path === '' ? member : `${path}.${member}`, member),
    );
  return [{ label: path, value: leafText(name, value) }];
}

/** Returns the members of an object in the order of JSON.stringify. */
function membersOf(object: Readonly<Record<string, Value>>): [string, Value][] {
  const { toJSON } = object as { toJSON?: (() => typeof object) | Value };
  return Object.entries(typeof toJSON === 'function' ? toJSON() : object);
}

function leafText(name: string, value: string | number | boolean): string {
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value === 'number' && timed.has(name) && value < end) return `${value} (${new Date(value).toISOString()})`;
  return String(value);
}

function isArray(value: Value): value is readonly Value[] {
  return Array.isArray(value);
}

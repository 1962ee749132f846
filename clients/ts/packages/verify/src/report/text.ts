/** The text form of a report (verify.md, section 5). */

import { printable } from '../printable.js';
import type { Item } from './items.js';
import { boundary, headline, sectionsOf, type Content } from './sections.js';

/** Returns the text form, whose lines end with a line feed. */
export function textOf(content: Content): string {
  const lines = [headline(content)];
  if (content.verdict === 'verified')
    for (const { title, items } of sectionsOf(content)) lines.push(title, ...columns(items));
  else lines.push(`  step ${content.step}: ${printable(content.message)} (${printable(content.code)})`);
  lines.push(boundary(content.kind));
  return `${lines.join('\n')}\n`;
}

function columns(items: Item[]): string[] {
  const rows = items.map(({ label, value }) => ({ label: printable(label), value: printable(value) }));
  const width = rows.reduce((longest, { label }) => Math.max(longest, length(label)), 0);
  return rows.map(({ label, value }) => `  ${label}${' '.repeat(width - length(label) + 2)}${value}`);
}

/** Returns the number of code points. */
function length(text: string): number {
  return Array.from(text).length;
}

/** The commands of a page, and the files that it shows. */

/** A command, and the lines that the page shows below it. */
export interface Command {
  text: string;
  output: string[];
}

/** Returns the commands of a page's console blocks, in order. */
export function commandsOf(page: string): Command[] {
  const found: Command[] = [];
  const blocks = [...page.matchAll(/```console\n(.*?)```/gs)].map((m) => m[1]).join('');
  for (const line of blocks.split('\n').slice(0, -1)) {
    const last = found.at(-1);
    if (line.startsWith('$ ')) found.push({ text: line.slice(2), output: [] });
    else if (last?.text.endsWith('\\') === true && last.output.length === 0) last.text += `\n${line}`;
    else last?.output.push(line);
  }
  return found;
}

/** Returns the files that a page names in the sentence above their block. */
export function filesOf(page: string): Map<string, string> {
  const named = /`([a-z]+\.(?:mts|json))`(?:(?!\n\n)[^])*:\n\n```(?:ts|json)\n(.*?)^```$/gms;
  return new Map([...page.matchAll(named)].map(([, name = '', text = '']) => [name, text]));
}

/**
 * Reports whether a program printed what a page shows. `…` stands for any text,
 * and on a line of its own for any lines.
 */
export function isShown(output: readonly string[], printed: string): boolean {
  if (output.length === 0) return true;
  const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const line = (text: string) => (text === '…' ? '(?:.*\n)*?' : `${escaped(text).replaceAll('…', '.*')}\n`);
  return new RegExp(`^${output.map(line).join('')}$`).test(`${printed.trimEnd()}\n`);
}

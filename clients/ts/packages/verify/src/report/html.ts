/** The page of a report (verify.md, section 5). It needs no other file. */

import { printable } from '../printable.js';
import { boundary, sectionsOf, verdictText, type Content } from './sections.js';

const policy = "default-src 'none'; style-src 'unsafe-inline'";

const style = `
:root { color-scheme: light dark; --text: #1c2024; --page: #fff; --line: #d5d9de; --faint: #5a626b;
  --verified: #17652f; --not-verified: #a3161c; --error: #7a4b00; }
@media (prefers-color-scheme: dark) { :root { --text: #e7eaee; --page: #14171a; --line: #3a4149; --faint: #a4adb7;
  --verified: #6fd08c; --not-verified: #ff8a85; --error: #f0b95c; } }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; }
h1.verified { color: var(--verified); }
h1.not-verified { color: var(--not-verified); }
h1.error { color: var(--error); }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-top: 1px solid var(--line); padding: .3rem 1rem .3rem 0; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
th { color: var(--faint); font-weight: 500; width: 14rem; }
td { font-family: ui-monospace, monospace; font-size: .875rem; }
table.warnings td { font: inherit; }
footer { border-top: 1px solid var(--line); color: var(--faint); margin-top: 2rem; padding-top: .5rem;
  overflow-wrap: anywhere; }
@media print {
  :root { --text: #000; --page: #fff; --line: #000; --faint: #000; --verified: #000; --not-verified: #000;
    --error: #000; }
  body { margin: 0; max-width: none; font-size: 10pt; }
  tr { break-inside: avoid; }
  h2 { break-after: avoid; }
}
`;

/** Returns the page. */
export function pageOf(content: Content): string {
  const { verdict, kind, file } = content;
  const rows: [string, string][] = [['file', file]];
  if (kind !== undefined) rows.push(['kind', kind]);
  if (content.verdict !== 'verified')
    rows.push(['step', String(content.step)], ['code', content.code], ['reason', content.message]);
  const parts = [table('', rows)];
  if (content.verdict === 'verified')
    for (const { title, items } of sectionsOf(content))
      parts.push(
        `<h2>${escape(title)}</h2>`,
        table(
          title === 'Warnings' ? 'warnings' : '',
          items.map(({ label, value }) => [label, value]),
        ),
      );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${escape(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(`${verdictText[verdict]} ${file}`)}</title>
<style>${style}</style>
</head>
<body>
<main>
<h1 class="${verdict}">${escape(verdictText[verdict])}</h1>
${parts.join('\n')}
</main>
<footer>${escape(boundary(kind))}</footer>
</body>
</html>
`;
}

function table(name: string, rows: [string, string][]): string {
  const lines = rows.map(([label, value]) => `<tr><th scope="row">${escape(label)}</th><td>${escape(value)}</td></tr>`);
  return `<table${name === '' ? '' : ` class="${name}"`}>\n${lines.join('\n')}\n</table>`;
}

const references = new Map([
  ['&', '&amp;'],
  ['<', '&lt;'],
  ['>', '&gt;'],
  ['"', '&quot;'],
  ["'", '&#39;'],
]);

/** Escapes text as the text form does, and for HTML. */
function escape(text: string): string {
  return printable(text).replace(/[&<>"']/g, (character) => references.get(character) ?? '');
}

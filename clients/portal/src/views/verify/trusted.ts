/** What is trusted: chosen files, or the policies of the browser. */

import type { PolicyText } from '../../trust/record';
import type { NamedFile } from './protocol';

/** How files are used, when there is no muniment.json among them. */
export type Use = 'configuration' | 'policy' | 'key' | 'root' | 'stream key';

/** Longest beginning of a file that is looked at, in bytes. */
const beginning = 4096;

/** Tells what a file is, by its content. */
export async function recognize(path: string, file: Blob): Promise<Use> {
  const text = await file.slice(0, beginning).text();
  if (/(^|\/)muniment\.json$/.test(path)) return 'configuration';
  if (text.startsWith('-----BEGIN')) return 'key';
  if (text.trimStart().startsWith('{')) return 'root';
  return /^\s*(#[^\n]*\n\s*)*(log|witness|group|quorum)\s/.test(text) ? 'policy' : 'stream key';
}

export interface Trusted {
  configuration: string;
  files: readonly NamedFile[];
  uses: readonly (readonly [path: string, use: Use])[];
}

/** Composes the configuration of a verification. */
export async function trustedOf(chosen: ReadonlyMap<string, File>, policies: readonly PolicyText[]): Promise<Trusted> {
  const files: NamedFile[] = [...chosen];
  const uses: [string, Use][] = [];
  for (const [path, file] of chosen) uses.push([path, await recognize(path, file)]);
  const configuration = uses.find(([, use]) => use === 'configuration')?.[0];
  if (configuration !== undefined) {
    // Paths in the configuration are relative to it.
    const folder = configuration.slice(0, -'muniment.json'.length);
    const named = files.map(
      ([path, file]) => [path.startsWith(folder) ? path.slice(folder.length) : path, file] as const,
    );
    return { configuration: (await chosen.get(configuration)?.text()) ?? '', files: named, uses };
  }
  const having = (use: Use) => uses.filter(([, other]) => other === use).map(([path]) => path);
  const [ledger, keys, roots, streams] = [having('policy'), having('key'), having('root'), having('stream key')];
  if (ledger.length === 0)
    policies.forEach(({ name, text }, i) => {
      const path = `browser/${i}-${name}`;
      files.push([path, new File([text], name)]);
      ledger.push(path);
    });
  const text = JSON.stringify({
    ...(ledger.length > 0 && { trustPolicy: ledger }),
    ...(keys.length > 0 && { trustedKeys: keys }),
    ...(roots.length > 0 && { trustedRoot: roots }),
    ...(streams[0] !== undefined && { streamKey: streams[0] }),
  });
  return { configuration: text, files, uses };
}

/** The files that a person has dropped or chosen. */

/** Files by their paths. */
export type Files = ReadonlyMap<string, File>;

/** The parts of an export, as `muniment export-manifest release` makes it. */
export interface ExportParts {
  manifest: File;
  /** By their names in the manifest. Undefined: none was given. */
  files?: Files;
  receipt?: File;
  stream?: File;
}

/** The files do not make one export. The message is for people. */
export class PartsError extends Error {}

const isManifest = (path: string) => /(^|[/.])export\.sigstore\.json$/.test(path) && !path.includes('/files/');

/** Adds files to those of before. Another manifest begins anew. */
export function added(before: Files, files: Files): Files {
  return [...files.keys()].some(isManifest) ? files : new Map([...before, ...files]);
}

/**
 * Returns the parts of the export.
 *
 * @throws PartsError if there is not exactly one manifest, or another file
 */
export function partsOf(all: Files): ExportParts {
  const manifests = [...all].filter(([path]) => isManifest(path));
  const [first, second] = manifests;
  if (first === undefined) throw new PartsError('No export.sigstore.json is among the files. Add the whole folder.');
  if (second !== undefined) throw new PartsError(`${first[0]} and ${second[0]} are two exports. Add one at a time.`);
  const [path, manifest] = first;
  const folder = path.slice(0, path.lastIndexOf('/') + 1);
  const files = new Map<string, File>();
  const parts: ExportParts = { manifest };
  for (const [other, file] of all) {
    if (other === path) continue;
    if (other.startsWith(`${folder}files/`)) files.set(other.slice(folder.length + 'files/'.length), file);
    else if (/(^|[/.])receipt\.json$/.test(other) && parts.receipt === undefined) parts.receipt = file;
    else if (other.endsWith('.bundle.tar') && parts.stream === undefined) parts.stream = file;
    else throw new PartsError(`${other} is not a part of the export.`);
  }
  return files.size === 0 ? parts : { ...parts, files };
}

/** Returns the files of an input element. */
export function chosenFiles(list: FileList): Files {
  return new Map([...list].map((file) => [file.webkitRelativePath || file.name, file]));
}

/** Returns dropped files, and those in dropped folders. */
export async function droppedFiles({ items }: DataTransfer): Promise<Files> {
  const entries = [...items].map((item) => item.webkitGetAsEntry()); // before the first await: the event ends
  const files = new Map<string, File>();
  for (const entry of entries) if (entry !== null) await collect(entry, files);
  return files;
}

async function collect(entry: FileSystemEntry, files: Map<string, File>): Promise<void> {
  if (isFile(entry)) {
    const file = await new Promise<File>((resolve, reject) => {
      entry.file(resolve, reject);
    });
    files.set(entry.fullPath.slice(1), file);
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => {
      reader.readEntries(resolve, reject);
    });
    if (some.length === 0) return;
    for (const one of some) await collect(one, files);
  }
}

const isFile = (entry: FileSystemEntry): entry is FileSystemFileEntry => entry.isFile;

/** What the page and the worker of the verification exchange. */

/** Files by their paths. */
export type NamedFile = readonly [path: string, file: File];

export interface Job {
  id: number;
  /** The trust configuration (docs/spec/verify.md, section 1), and the files that it names. */
  configuration: string;
  trusted: readonly NamedFile[];
  file: NamedFile;
  /** Of an export. */
  parts?: { files?: readonly NamedFile[]; receipt?: File; stream?: File };
}

export interface Section {
  title: string;
  items: { label: string; value: string }[];
}

/** The report on one file, ready to be shown. */
export type Outcome = { file: string; kind: string; html: string } & (
  | { verdict: 'verified'; sections: Section[] }
  | { verdict: 'not-verified' | 'error'; code: string; step: number; message: string }
);

export type Answer = { id: number } & ({ outcome: Outcome } | { done: number; total: number });

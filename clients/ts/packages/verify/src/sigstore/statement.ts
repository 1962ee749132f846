/** In-toto statements (sigstore-verification.md, section 5). */

import { hex } from '../bytes.js';
import { FormatError } from '../errors.js';
import { parseGeneral, type Json } from '../json.js';

export const payloadType = 'application/vnd.in-toto+json';

const types: unknown[] = ['https://in-toto.io/Statement/v1', 'https://in-toto.io/Statement/v0.1'];
const maxSubjects = 1024;

/** The digests of a subject, by algorithm. */
export type Digests = Map<string, string>;

/**
 * Returns the digests of each subject of a statement.
 *
 * @throws FormatError
 */
export function subjectsOf(payload: Uint8Array): Digests[] {
  return readStatement(payload).subjects;
}

/**
 * Returns the parts of a statement that verifiers use.
 *
 * @throws FormatError
 */
export function readStatement(payload: Uint8Array): { predicateType: string; subjects: Digests[] } {
  const statement = parseGeneral(payload);
  if (!types.includes(statement.get('_type'))) throw new FormatError('the payload is not a statement');
  const predicateType = statement.get('predicateType');
  if (typeof predicateType !== 'string' || predicateType === '')
    throw new FormatError('the statement has no predicateType');
  const subjects = statement.get('subject');
  if (!Array.isArray(subjects) || subjects.length === 0 || subjects.length > maxSubjects)
    throw new FormatError(`the statement must have 1 to ${maxSubjects} subjects`);
  return { predicateType, subjects: subjects.map(digestsOf) };
}

function digestsOf(subject: Json): Digests {
  const digests = subject instanceof Map ? subject.get('digest') : undefined;
  if (!(digests instanceof Map)) throw new FormatError('a subject has no digest');
  const found: Digests = new Map();
  const folded = new Set<string>();
  for (const [name, value] of digests) {
    if (typeof value !== 'string') throw new FormatError('a digest must be a string');
    folded.add(foldAscii(name));
    found.set(name, value);
  }
  if (folded.size !== found.size) throw new FormatError('two digests of a subject are of the same algorithm');
  return found;
}

function foldAscii(text: string): string {
  return text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}

/** Reports whether one of the subjects has the artifact's digests, and no different one. */
export function isOneOf(artifact: Map<string, Uint8Array>, subjects: Digests[]): boolean {
  return subjects.some((digests) => {
    const given = [...artifact].filter(([name]) => digests.has(name));
    return given.length > 0 && given.every(([name, value]) => foldAscii(digests.get(name) ?? '') === hex(value));
  });
}

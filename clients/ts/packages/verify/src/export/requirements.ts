/**
 * What a tenant requires of its exports (export-manifest.md, section 7,
 * inputs).
 */

import { utf8 } from '../bytes.js';
import { FormatError } from '../errors.js';
import { Members, parseObject, quote } from '../json.js';
import { ExportError, Failure } from './errors.js';
import { checkAtom } from './licenses.js';
import { isKnown, loadTables, type Geography } from './lookup.js';
import { isDelta, parseDecimal, type Decimal } from '../decimal.js';
import { isName, readUse, type Use } from './statement.js';

/** What a tenant requires, as it is written in JSON. */
export interface RequirementsJson {
  /** The allow-list of licences. */
  licenses?: readonly string[];
  /** Where the data is allowed to be. */
  residency?: {
    /** Storage only there. Empty or absent: anywhere. */
    'storage-allowed'?: readonly Geography[];
    /** Storage nowhere there. */
    'storage-forbidden'?: readonly Geography[];
    /** Processing only there. Empty or absent: anywhere. */
    'processing-included'?: readonly Geography[];
    /** Processing nowhere there. */
    'processing-excluded'?: readonly Geography[];
  };
  /** What may be spent of a privacy budget. */
  epsilon?: {
    /** The name of the only accepted budget. Absent: any. */
    budget?: string;
    /** The most that may be spent, a decimal such as `"1.5"`. */
    epsilon: string;
    /** The δ for which it holds, a decimal such as `"0.000001"`. */
    delta: string;
  };
}

/** What may be spent of a privacy budget. */
export interface PrivacyLimit {
  /** The name of the only accepted budget. Absent: any. */
  budget?: string;
  /** The largest accepted ε. */
  epsilon: Decimal;
  /** The δ for which it holds. */
  delta: Decimal;
}

/** Parsed requirements. Create them with {@link parseRequirements}. */
export class Requirements {
  /** @internal */
  constructor(
    /** The texts of the allowed licences. Undefined: no requirement. */
    readonly licenses: ReadonlySet<string> | undefined,
    /** Where the data is allowed to be. Undefined: no requirement. */
    readonly residency: Use | undefined,
    /** What may be spent of a budget. Undefined: no requirement. */
    readonly epsilon: PrivacyLimit | undefined,
  ) {}
}

/**
 * Parses requirements: the text of a JSON object, or its content.
 *
 * @throws ExportError with the code `requirement-malformed`
 */
export async function parseRequirements(input: string | Uint8Array | RequirementsJson): Promise<Requirements> {
  await loadTables();
  try {
    const text =
      typeof input === 'string' ? utf8(input) : input instanceof Uint8Array ? input : utf8(JSON.stringify(input));
    const members = Members.of(parseObject(text), '');
    const parsed = new Requirements(
      members.optional('licenses', (member) => readLicenses(members, member)),
      members.optional('residency', (member) => readResidency(members.object(member))),
      members.optional('epsilon', (member) => readEpsilon(members.object(member))),
    );
    members.end();
    return parsed;
  } catch (error) {
    if (error instanceof FormatError || error instanceof Failure)
      throw new ExportError('requirement-malformed', 0, `requirements: ${error.message}`, { cause: error });
    throw error;
  }
}

function readLicenses(members: Members, member: string): Set<string> {
  const allowed = new Set<string>();
  for (const value of members.list(member)) {
    if (typeof value !== 'string') throw new FormatError(`${member}: must be an array of strings`);
    checkAtom(value);
    allowed.add(value);
  }
  return allowed;
}

function readResidency(members: Members): Use {
  const use = readUse(members);
  for (const { allowed, forbidden } of [use.storage, use.processing])
    for (const geography of [...allowed, ...forbidden])
      if (!isKnown(geography))
        throw new FormatError(`residency: ${quote(geography.state ?? geography.country)} is not in the table`);
  return use;
}

function readEpsilon(members: Members): { budget?: string; epsilon: Decimal; delta: Decimal } {
  const budget = members.optional('budget', members.string);
  const epsilon = decimal(members, 'epsilon');
  const delta = decimal(members, 'delta');
  members.end();
  if (budget !== undefined && !isName(budget)) throw new FormatError('epsilon.budget: not a name');
  if (!isDelta(delta)) throw new FormatError('epsilon.delta: must be greater than 0 and less than 1');
  return { ...(budget !== undefined && { budget }), epsilon, delta };
}

function decimal(members: Members, member: string): Decimal {
  const value = parseDecimal(members.text(member));
  if (value === undefined) throw new FormatError(`epsilon.${member}: malformed`);
  return value;
}

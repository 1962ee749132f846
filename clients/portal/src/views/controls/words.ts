/** Controls in words. */

import type {
  Control,
  ControlMode,
  ControlTarget,
  NamedSigner,
  Requirement,
  SlaDays,
} from '../../gen/muniment/v1/kinds_pb';
import { count, listed } from '../../records/text';

/** Returns what a requirement asks for, in one sentence. */
export function needsOf(requirement: Requirement): string {
  const { kinds, predicateTypes, signers, submitters, minSigners = 1, maxAgeSeconds, unsigned, optional } = requirement;
  let text = listed(kinds.length === 0 ? ['attestation'] : kinds, 'or');
  if (predicateTypes.length > 0) text += ` of type ${listed(predicateTypes, 'or')}`;
  text += unsigned ? ', signed or not' : ` by ${listed(signers, 'or')}`;
  if (submitters.length > 0) text += `, submitted by ${listed(submitters, 'or')}`;
  if (minSigners > 1) text += `, by at least ${minSigners} different ones`;
  if (maxAgeSeconds !== undefined) text += `, at most ${ageOf(Number(maxAgeSeconds))} old`;
  if (optional) text += ' (optional)';
  return text;
}

const units = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
] as const;

/** Writes a number of seconds in the largest unit that is exact. */
export function ageOf(seconds: number): string {
  const [unit, length] = units.find(([, length]) => seconds % length === 0) ?? ['second', 1];
  return count(seconds / length, unit);
}

/** Returns the artifacts that a control applies to. */
export function targetOf(target: ControlTarget | undefined): string {
  const types = target?.types ?? [];
  const what = types.length === 0 ? 'all artifacts' : listed(types.map((type) => `${type.replaceAll('-', ' ')}s`));
  return target === undefined || target.names.length === 0
    ? what
    : `${what} with a name like ${listed(target.names, 'or')}`;
}

/** Returns the deadlines of findings against a control. */
export function slaOf(days: SlaDays | undefined): string {
  const all = (['critical', 'high', 'medium', 'low'] as const).flatMap((severity) => {
    const limit = days?.[severity];
    return limit === undefined ? [] : [`${severity}: ${count(limit, 'day')}`];
  });
  return all.length === 0 ? 'without limit' : all.join(', ');
}

const modeWords: Readonly<Record<string, string>> = {
  enforce: 'blocks',
  warn: 'warns',
  audit: 'observes',
};

/** Returns what a control does at a stage. */
export function modeOf({ mode, environments }: ControlMode): string {
  const does = modeWords[mode] ?? mode;
  return environments.length === 0 ? does : `${does} in ${listed(environments)}`;
}

/** Returns what controls of a set do at a stage: "blocks in production, warns". Empty: they are not evaluated. */
export const atStage = (control: Control, stage: string): string =>
  control.modes
    .filter((mode) => mode.stage === stage)
    .map(modeOf)
    .join(', ');

/** Returns whose evidence counts for a signer of a control set. */
export function signerOf({ identity, identityRegexp, issuer, issuerRegexp, keyIds, submitters }: NamedSigner): string {
  if (keyIds.length > 0) return listed(keyIds, 'or');
  if (submitters.length > 0) return listed(submitters, 'or');
  return `${identity || identityRegexp}, by ${issuer || issuerRegexp}`;
}

/** Requirements of frameworks with the controls that satisfy them, sorted. */
export function frameworksOf(
  controls: readonly Control[],
): { framework: string; requirement: string; controls: string[] }[] {
  const all = new Map<string, string[]>();
  for (const { id, frameworks } of controls)
    for (const name of frameworks) all.set(name, [...(all.get(name) ?? []), id]);
  return [...all.entries()]
    .sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true }))
    .map(([name, ids]) => {
      const at = name.indexOf(': ');
      return {
        framework: name.slice(0, at),
        requirement: name.slice(at + 2),
        controls: ids,
      };
    });
}

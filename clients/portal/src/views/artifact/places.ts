/** The stage, environment and type that an artifact is decided for. */

import type { GetControlSetResponse } from '../../gen/muniment/v1/gate_pb';
import type { GetArtifactResponse } from '../../gen/muniment/v1/portal_pb';

export const TYPES = ['image', 'chart', 'delta', 'export-manifest', 'file'] as const;
export type Type = (typeof TYPES)[number];

const isType = (text: string | undefined): text is Type => TYPES.some((type) => type === text);

/** Patterns are no environments. */
const isPattern = (name: string): boolean => /[*?[\]{}\\]/u.test(name);

/** Returns the environments that the control set and earlier decisions name for a stage, sorted. */
export function environmentsOf(
  stage: string,
  set: GetControlSetResponse | undefined,
  artifact: GetArtifactResponse,
): string[] {
  const modes = set?.controls.flatMap(({ modes }) => modes).filter((mode) => mode.stage === stage) ?? [];
  const all = [
    ...(set?.set?.environments ?? []),
    ...modes.flatMap(({ environments }) => environments),
    ...artifact.environments,
  ];
  return [...new Set(all.filter((name) => name !== '' && !isPattern(name)))].sort();
}

/** Guesses the type of an artifact that no gate was asked about. */
export function guessType(names: readonly string[]): Type {
  if (names.some((name) => /\.tgz$/u.test(name))) return 'chart';
  if (names.some((name) => /^[^/\s]+[.:][^/\s]*\/[^\s]+$/u.test(name))) return 'image';
  return 'file';
}

/** A question to a gate. */
export interface Place {
  type: Type;
  stage: string;
  environment: string;
}

/** What an address has of it. */
export interface Asked {
  type?: Type | undefined;
  stage?: string | undefined;
  environment?: string | undefined;
}

/**
 * Returns what is asked about an artifact: what the address has, else what the
 * last gate was asked, else the last stage.
 */
export function placeOf(asked: Asked, set: GetControlSetResponse | undefined, artifact: GetArtifactResponse): Place {
  const stages = set?.set?.stages ?? [];
  const last = artifact.decisions.find(({ stage }) => asked.stage === undefined || stage === asked.stage);
  const known = asked.stage ?? (last !== undefined && stages.includes(last.stage) ? last.stage : undefined);
  const stage = known ?? stages.at(-1) ?? '';
  const type = asked.type ?? artifact.subject?.type;
  return {
    stage,
    environment: asked.environment ?? (last?.stage === stage ? last.environment : ''),
    type: isType(type) ? type : guessType(artifact.names),
  };
}

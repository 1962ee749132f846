/** What to do about a control that is not satisfied, with the commands. */

import type { Requirement } from '../../gen/muniment/v1/kinds_pb';
import { shellQuote } from '../../records/shell';

/** An artifact as commands name it. */
export interface Target {
  type: string;
  /** As algorithm:value. */
  digest: string;
  /** Untrusted. Empty: unknown. */
  name: string;
}

/**
 * Reports whether a name can be part of a command that people copy: one line
 * that cannot be taken for a flag. Evidence chooses names.
 */
const canName = (name: string): boolean => name !== '' && !name.startsWith('-') && !/[\p{C}\p{Zl}\p{Zp}]/u.test(name);

/** The flags that cosign has for predicate types. */
const cosignTypes: readonly (readonly [type: string, name: string])[] = [
  ['https://slsa.dev/provenance/v1', 'slsaprovenance1'],
  ['https://slsa.dev/provenance/v0.2', 'slsaprovenance02'],
  ['https://spdx.dev/Document', 'spdxjson'],
  ['https://cyclonedx.org/bom', 'cyclonedx'],
  ['https://openvex.dev/ns', 'openvex'],
  ['https://cosign.sigstore.dev/attestation/vuln/v1', 'vuln'],
];

/** Returns an example of the types that a pattern matches. */
function typeOf(pattern: string): string {
  const known = cosignTypes.find(
    ([type]) => type === pattern || (pattern.endsWith('*') && type.startsWith(pattern.slice(0, -1))),
  );
  return known?.[1] ?? pattern.replaceAll(/\*+/gu, 'v1');
}

/** How commands name the artifact. */
function reference({ type, digest, name }: Target): string {
  if (!canName(name)) return type === 'image' ? `IMAGE@${digest}` : 'FILE';
  if (type !== 'image' || name.includes('@')) return shellQuote(name);
  const path = name.replace(/:[^/:]*$/u, ''); // without its tag
  return shellQuote(`${path}@${digest}`);
}

/** Returns the commands that record the evidence of a requirement. */
export function commandsFor(requirement: Requirement, target: Target): readonly string[] {
  const [kind = 'attestation'] = requirement.kinds;
  if (kind !== 'attestation') return [`muniment append FILE --kind ${shellQuote(kind)}`];
  const about = reference(target);
  const pattern = requirement.predicateTypes[0];
  const type = pattern === undefined ? 'PREDICATE-TYPE' : shellQuote(typeOf(pattern));
  if (requirement.unsigned && pattern === undefined) return ['muniment append FILE'];
  if (target.type === 'image')
    return [
      `cosign attest --yes --key cosign.key --type ${type} --predicate predicate.json ${about}`,
      `muniment append --from-oci ${about} --receipt-dir receipts`,
    ];
  return [
    `cosign attest-blob --yes --key cosign.key --type ${type} --predicate predicate.json --bundle evidence.sigstore.json ${about}`,
    'muniment append evidence.sigstore.json --receipt-dir receipts',
  ];
}

/** Returns the command that asks the gate again. */
export function gateCommand(target: Target, stage: string, environment: string): string {
  const where = environment === '' ? '' : ` --environment ${shellQuote(environment)}`;
  return `muniment gate ${shellQuote(target.digest)} --type ${shellQuote(target.type)} --stage ${shellQuote(stage)}${where}`;
}

/** What the code of a reason means. */
export interface Meaning {
  text: string;
  /** What to do. */
  fix?: string;
}

/** By code, as docs/spec/decision.md has them. */
export const REASONS: Readonly<Record<string, Meaning>> = {
  'missing-evidence': {
    text: 'Evidence that the control requires is missing',
    fix: 'Record the missing evidence, then ask again.',
  },
  'too-few-signers': {
    text: 'Too few different signers stand behind the evidence',
    fix: 'Have another of the listed signers sign, record the signature, then ask again.',
  },
  'condition-false': {
    text: 'The condition of the control does not hold',
    fix: 'Resolve what the condition is about, or request an exception.',
  },
  'included-control': {
    text: 'A control that this one includes is not satisfied',
    fix: 'See the included control.',
  },
  'condition-error': {
    text: 'The condition cannot be evaluated',
    fix: 'Correct the condition in controls.yaml, or the evidence that it reads.',
  },
  'too-much-evidence': {
    text: 'The artifact has more entries than a decision reads',
    fix: 'Rebuild the artifact, so that it has a new digest.',
  },
  'facts-unavailable': {
    text: 'Facts of the evidence are not available',
    fix: 'The evidence is erased or exceeds the bounds of facts: record it again, in a smaller form.',
  },
  'no-control-set': {
    text: 'No control set is in force',
    fix: 'Put one in force with muniment control apply.',
  },
  'unreadable-control-set': {
    text: 'The control set cannot be read, because an entry of it is erased or invalid',
    fix: 'Apply it again with muniment control apply.',
  },
  'unknown-stage': {
    text: 'The control set does not define this stage',
    fix: 'Choose another stage.',
  },
  'unknown-environment': {
    text: 'The control set does not list this environment',
    fix: 'Check its spelling, or add it to the environments of the control set.',
  },
  'no-control-applies': {
    text: 'No control applies to this artifact at this stage, so nothing is proven about it',
    fix: 'Add a control for its type.',
  },
};

/** Splits a reason into its code and the rest. */
export function readReason(reason: string): { code: string; detail: string } {
  const at = reason.indexOf(':');
  return at < 0 ? { code: reason, detail: '' } : { code: reason.slice(0, at), detail: reason.slice(at + 1).trim() };
}

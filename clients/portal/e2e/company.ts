/** A tenant with controls, releases, findings and exceptions. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Ledger } from './harness.js';
import { addPeople, personToken, submitterOf, type Member } from './people.js';

export const kim: Member = { sub: 'kim', tenant: 'acme', role: 'admin' };
export const ada: Member = { sub: 'ada', tenant: 'acme', role: 'approver' };
export const lee: Member = { sub: 'lee', tenant: 'acme', role: 'reader' };
export const eve: Member = { sub: 'eve', tenant: 'rival', role: 'admin' };

export const sha256 = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;

const controls = (description: string) => `version: "2026-11"
stages: [build, deploy]
controls:
  - id: CHART-PROVENANCE
    title: Charts have a provenance
    text: ${JSON.stringify(description)}
    frameworks: ["SOC 2: CC8.1", "ISO 27001 (2022): A.8.32"]
    owner: platform@acme.example
    severity: high
    sla_days: {high: 30, low: 180}
    applies_to: {types: [chart]}
    check:
      require:
        - {name: provenance, predicate_types: ["https://slsa.dev/provenance/*"], unsigned: true}
    modes:
      - {stage: build, mode: warn}
      - {stage: deploy, mode: enforce}
    exceptions: {max_days: 14, approvers: 1}
  - id: CHART-SCANNED
    title: Charts are scanned
    frameworks: ["SOC 2: CC7.1"]
    severity: medium
    applies_to: {types: [chart]}
    check:
      require:
        - {name: scan, predicate_types: ["https://cosign.sigstore.dev/attestation/vuln/v1"], unsigned: true}
    modes:
      - {stage: deploy, mode: warn}
`;

const statement = (name: string, digest: string, materials: readonly { name: string; digest: string }[] = []) =>
  JSON.stringify({
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ name, digest: { sha256: digest.slice(7) } }],
    predicateType: 'https://slsa.dev/provenance/v1',
    predicate: {
      buildDefinition: {
        buildType: 'https://ci.example.com/build/v1',
        externalParameters: {},
        resolvedDependencies: materials.map((m) => ({ uri: m.name, digest: { sha256: m.digest.slice(7) } })),
      },
      runDetails: { builder: { id: 'https://ci.example.com/builder' } },
    },
  });

/** The artifacts of a company. */
export const gateway = { name: 'gateway-1.7.0.tgz', digest: sha256('gateway 1.7.0') };
export const legacy = { name: 'legacy-2.0.0.tgz', digest: sha256('legacy 2.0.0') };

/** Texts with which evidence attacks those who read it. */
export const hostile = {
  title: `<img src=x onerror="document.title='owned'">\u202egnp.exe`,
  reason: `</p><script>document.title='owned'</script> javascript:alert(1) [x](javascript:alert(1))`,
  name: `"><svg onload=document.title='owned'>-1.0.tgz`,
  description: `# Title\n<iframe src=https://evil.example></iframe>\u0000\u001b[31m`,
};

/** Asks the real gate, and returns its decision. */
export async function gate(
  ledger: Ledger,
  { name, digest }: { name: string; digest: string },
  stage = 'deploy',
  environment = 'production',
): Promise<string> {
  const answer = await api(ledger, 'GateService/Decide', {
    tenant: 'acme',
    stage,
    environment,
    subjects: [{ type: 'chart', artifact: { name, digest: { sha256: digest.slice(7) } } }],
  });
  const { decisions } = answer as { decisions: { decision: { decision: string } }[] };
  return decisions[0]?.decision.decision ?? '';
}

/** Calls the API, by default with the first token of a tenant. */
export async function api(
  ledger: Ledger,
  method: string,
  request: { tenant: string } & Record<string, unknown>,
  token?: string,
): Promise<unknown> {
  const response = await fetch(`${ledger.url}/muniment.v1.${method}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${token ?? readFileSync(ledger.tokenFile(request.tenant), 'utf8').trim()}`,
    },
    body: JSON.stringify(request),
  });
  const answer: unknown = await response.json();
  if (!response.ok) throw new Error(`${method}: ${JSON.stringify(answer)}`);
  return answer;
}

/** Records an event of a person, and returns its entry. */
export async function event(ledger: Ledger, person: Member, kind: string, document: object): Promise<bigint> {
  const payload = Buffer.from(JSON.stringify(document)).toString('base64');
  const submission = { kind, payload, idempotencyKey: sha256(JSON.stringify(document)).slice(7, 39) };
  const token = await personToken(ledger, person);
  const answer = await api(ledger, 'LedgerService/Append', { tenant: person.tenant, ...{ submission } }, token);
  return BigInt((answer as { appended: { index?: string } }).appended.index ?? 0);
}

export const inDays = (days: number): string => new Date(Date.now() + days * 86_400_000).toISOString();

/** The entries and identifiers of a company. */
export interface Company {
  ledger: Ledger;
  /** Index of the request EXC-17, for the legacy chart, which is not approved. */
  requested: bigint;
  /** Index of the request EXC-18, which kim and ada have agreed on. */
  approved: bigint;
}

/** Makes the company acme, and its rival, which has nothing. */
export async function found(): Promise<Company> {
  const ledger = await Ledger.start(['acme', 'rival']);
  await addPeople(ledger, [kim, ada, lee, eve]);
  ledger.file(
    'controls.yaml',
    controls(`Charts that cannot be traced to their source are not deployed.\n${hostile.description}`),
  );
  await ledger.command(['control', 'apply', 'controls.yaml']);
  const base = { name: 'registry.example.com/base@1', digest: sha256('base') };
  await ledger.append('gateway.json', statement(gateway.name, gateway.digest, [base]));
  await ledger.append('evil.json', statement(hostile.name, sha256('evil'), [gateway]));
  for (const chart of [gateway, legacy]) await gate(ledger, chart);
  await event(ledger, kim, 'finding', {
    id: 'AUD-1',
    title: hostile.title,
    severity: 'high',
    status: 'open',
    source: 'external audit',
    detected: inDays(-40),
    controls: ['CHART-PROVENANCE'],
    subjects: [{ name: legacy.name, digest: { sha256: legacy.digest.slice(7) } }],
    description: hostile.description,
  });
  const requested = await event(ledger, kim, 'exception-request', {
    id: 'EXC-17',
    control: 'CHART-PROVENANCE',
    scope: { globs: ['legacy-*'], environments: ['production'] },
    reason: hostile.reason,
    expires: inDays(10),
  });
  const approved = await event(ledger, kim, 'exception-request', {
    id: 'EXC-18',
    control: 'CHART-PROVENANCE',
    scope: { globs: ['other-*'] },
    reason: 'the vendor signs from the next version on',
    expires: inDays(3),
  });
  await event(ledger, ada, 'exception-decision', {
    exception: 'EXC-18',
    request: String(approved),
    decision: 'approve',
  });
  return { ledger, requested, approved };
}

export { submitterOf };

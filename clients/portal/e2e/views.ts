/** The views that every test of the frame opens, with addresses that exist. */

import type { Ledger } from './harness.js';

export interface ViewAddress {
  name: string;
  path: string;
  /** The call that answers 404, because the address leads to nothing. */
  missing?: string;
}

/** Appends evidence of each sort, and returns the addresses of all views. */
export async function seed(ledger: Ledger): Promise<ViewAddress[]> {
  const digest = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08';
  const subject = [{ name: 'registry.example.com/acme/gateway', digest: { sha256: digest } }];
  const provenance = {
    _type: 'https://in-toto.io/Statement/v1',
    subject,
    predicateType: 'https://slsa.dev/provenance/v1',
    predicate: {
      buildDefinition: { buildType: 'https://example.com/build/v1', externalParameters: {}, resolvedDependencies: [] },
      runDetails: { builder: { id: 'https://ci.example.com/builder' } },
    },
  };
  const entry = await ledger.append('provenance.json', JSON.stringify(provenance));
  // A search with one hit leads to the hit at once.
  const other = [{ name: 'registry.example.com/acme/gateway-admin', digest: { sha256: 'a'.repeat(64) } }];
  await ledger.append('other.json', JSON.stringify({ ...provenance, subject: other }));
  return [
    { name: 'overview', path: '/' },
    { name: 'search', path: '/search?q=gateway' },
    { name: 'entry', path: `/entries/${entry}` },
    { name: 'artifact', path: `/artifacts/sha256:${digest}` },
    { name: 'controls', path: '/controls' },
    { name: 'control', path: '/controls/VULN-CRITICAL-0' },
    { name: 'findings', path: '/findings' },
    { name: 'finding', path: '/findings/CVE-2026-12345', missing: 'GetFinding' },
    { name: 'exceptions', path: '/exceptions' },
    { name: 'exception', path: '/exceptions/0', missing: 'GetException' },
    { name: 'new-exception', path: '/exceptions/new' },
    { name: 'backfills', path: '/backfills' },
    { name: 'backfill', path: `/backfills/sha256:${'a5'.repeat(32)}` },
    { name: 'caches', path: '/caches' },
    { name: 'cache', path: `/caches/${encodeURIComponent('shop/product')}` },
    { name: 'incidents', path: '/incidents' },
    { name: 'incident', path: '/incidents/INC-2041', missing: 'GetIncident' },
    { name: 'privacy', path: '/privacy' },
    { name: 'audit', path: '/audit' },
    { name: 'verify', path: '/verify' },
    { name: 'start', path: '/start' },
    { name: 'not-found', path: '/nothing-here' },
  ];
}

/**
 * Spends of privacy budgets in the headers of a stream (export-manifest.md,
 * section 6).
 */

import type { Header } from './header.js';
import { KindName } from './kinds.js';

/** The predicate type of export manifests. */
export const EXPORT_PREDICATE_TYPE = 'https://muniment.dev/predicate/export-manifest/v2';

/** The kind of entries that record export manifests. */
export const EXPORT_KIND = KindName.ExportManifest;

/** The supported flavors of differential privacy. */
export const PURE_DP = 'Pure DP';
export const ZCDP = 'Zero-concentrated DP';

/**
 * Returns the attribute of the amount of a spend, or undefined for other
 * flavors.
 */
export function amountName(flavor: string): 'epsilon' | 'rho' | undefined {
  return flavor === PURE_DP ? 'epsilon' : flavor === ZCDP ? 'rho' : undefined;
}

/** Reports whether a header is that of a spend of the budget. */
export function isSpend({ kind, predicateType, attributes = {} }: Header, budget: string): boolean {
  return kind === EXPORT_KIND && predicateType === EXPORT_PREDICATE_TYPE && attributes['budget'] === budget;
}

/** Reports whether a record can be a spend that its header does not show. */
export function isHiddenSpend({ kind, predicateType }: Header): boolean {
  return predicateType === EXPORT_PREDICATE_TYPE && kind !== EXPORT_KIND;
}

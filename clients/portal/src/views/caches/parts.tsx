/** What the views of caches share. */

import { Link } from '@tanstack/react-router';
import { Text } from '../../records';
import { formatNumber, formatPercent, Status } from '../../ui';
import { Share } from '../overview/parts';
import type { Window } from './windows';

export const CacheLink = ({ service }: { service: string }) => (
  <Link to="/caches/$service" params={{ service }}>
    <Text>{service}</Text>
  </Link>
);

export function HitRatio({ of }: { of: Window }) {
  const ratio = of.metrics.get('hit_ratio');
  return ratio === undefined ? <>no reads</> : <Share of={ratio}>{formatPercent(ratio)}</Share>;
}

/** A duration in milliseconds. */
export const millis = (value: number | undefined): string =>
  value === undefined ? 'no reads' : `${formatNumber(value)}\u00a0ms`;

/** A number that is 0 if all is well. */
export const Zero = ({ of }: { of: number }) => (
  <Status tone={of === 0 ? 'good' : 'warn'}>{of === 0 ? 'None' : formatNumber(of)}</Status>
);

/** Numbers, sizes and times, in the language of the browser. */

import { timestampDate, type Timestamp } from '@bufbuild/protobuf/wkt';

const language = typeof navigator === 'undefined' ? 'en' : navigator.language;
const numbers = new Intl.NumberFormat(language, { maximumFractionDigits: 2 });
const compact = new Intl.NumberFormat(language, { notation: 'compact', maximumFractionDigits: 1 });
const percents = new Intl.NumberFormat(language, { style: 'percent', maximumFractionDigits: 1 });
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

/** The time zone in which times are shown. */
export const TIME_ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

export const formatNumber = (value: number | bigint): string => numbers.format(value);
export const formatCompact = (value: number | bigint): string => compact.format(value);
/** Formats a share from 0 to 1. */
export const formatPercent = (share: number): string => percents.format(share);

const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** Formats a number of bytes, in powers of 1000. */
export function formatBytes(bytes: number | bigint): string {
  let value = Number(bytes);
  let unit = 0;
  for (; value >= 999.5 && unit < units.length - 1; unit++) value /= 1000;
  return `${new Intl.NumberFormat(language, { maximumSignificantDigits: 3 }).format(value)} ${units[unit]}`;
}

/** Moments as the API, JSON and JavaScript have them. */
export type Moment = Date | Timestamp | string | number;

/** Returns the date of a moment, or undefined if it is none. */
export function dateOf(moment: Moment): Date | undefined {
  const date = moment instanceof Date ? moment : typeof moment === 'object' ? timestampDate(moment) : new Date(moment);
  return Number.isNaN(date.getTime()) ? undefined : date;
}

const two = (n: number) => String(n).padStart(2, '0');

/** Formats a moment in the zone of the browser: 2026-11-29 14:05:09. */
export function formatTime(date: Date): string {
  const day = `${String(date.getFullYear()).padStart(4, '0')}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Returns the offset of the browser's zone from UTC at a moment: UTC+01:00. */
export function offsetOf(date: Date): string {
  const minutes = -date.getTimezoneOffset();
  if (minutes === 0) return 'UTC';
  const size = Math.abs(minutes);
  return `UTC${minutes < 0 ? '−' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

/** Returns the browser's zone, with its offset at a moment: Europe/Berlin, UTC+01:00. */
export function zoneAt(date: Date): string {
  const name = TIME_ZONE.replaceAll('_', ' ');
  return name === 'UTC' ? name : `${name}, ${offsetOf(date)}`;
}

const steps = [
  ['year', 365 * 86_400],
  ['month', 30 * 86_400],
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
] as const;

/** Formats the distance of a moment from now: 3 hours ago, in 2 days. */
export function formatRelative(date: Date, now: number): string {
  const seconds = (date.getTime() - now) / 1000;
  for (const [unit, length] of steps)
    if (Math.abs(seconds) >= length) return relative.format(Math.trunc(seconds / length), unit);
  if (Math.abs(seconds) < 5) return 'now';
  return relative.format(Math.trunc(seconds), 'second');
}

const spans = [
  ['d', 86_400],
  ['h', 3_600],
  ['min', 60],
] as const;

/** Formats a number of seconds: 340 ms, 12 s, 3.5 h, 12 d. */
export function formatDuration(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  for (const [unit, length] of spans)
    if (seconds >= length)
      return `${new Intl.NumberFormat(language, { maximumSignificantDigits: 2 }).format(seconds / length)} ${unit}`;
  return `${Math.round(seconds)} s`;
}

/** The pieces that views are made of. */

export { Button, buttonClass, type ButtonKind } from './Button';
export { Chart, type ChartData, type Series } from './Chart';
export { classes } from './classes';
export { Code } from './Code';
export { CopyButton } from './CopyButton';
export { Dialog } from './Dialog';
export { Digest, hex, shortDigest } from './Digest';
export { Download } from './Download';
export { Evidence, Visible } from './Evidence';
export {
  dateOf,
  formatBytes,
  formatCompact,
  formatDuration,
  formatNumber,
  formatPercent,
  formatRelative,
  formatTime,
  offsetOf,
  TIME_ZONE,
  zoneAt,
  type Moment,
} from './format';
export { useNow } from './now';
export { Columns, Fact, Facts, Page, Panel } from './Page';
export { PAGE_SIZE, Pages } from './Pages';
export { Answer, Empty, Failed, Loading, Stale } from './State';
export { Notice, Status, type Tone } from './Status';
export { Table, type Column } from './Table';
export { Ago, Time } from './Time';

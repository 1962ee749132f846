/**
 * What a payload is shown as: facts and tables. All texts are from the
 * evidence, so they are claims, and hostile.
 */

/** How a text is shown. */
export type Style = 'text' | 'mono' | 'severity' | 'result' | 'time' | 'digest';

/** A name with a value. */
export interface Claim {
  name: string;
  value: string;
  style?: Style;
}

/** A share from 0 to 1, which is drawn. */
export interface Gauge {
  name: string;
  share: number;
  text: string;
}

/** The columns of a table. */
export interface Heading {
  name: string;
  style?: Style;
}

/** A table, with a text for each column in each row. */
export interface Records {
  name: string;
  columns: Heading[];
  rows: string[][];
  /** Rows beyond the limit, which are counted and not shown. */
  more: number;
}

/** What a document contains. */
export interface Content {
  /** The format, such as "CycloneDX 1.6". */
  format: string;
  claims: Claim[];
  gauges: Gauge[];
  tables: Records[];
  /** What a reader should know, such as repeated members. */
  remarks: string[];
}

/** Limits of what is shown. */
export const MAX_ROWS = 200_000;
export const MAX_TEXT = 4096; // UTF-16 units of one text
export const MAX_CLAIMS = 500;

/** Collects the content of a document within the limits. */
export class Builder {
  readonly content: Content = { format: '', claims: [], gauges: [], tables: [], remarks: [] };
  #texts = 0;

  /** Adds a claim, and reports whether it did: absent values and those beyond the limit are left out. */
  claim(name: string, value: string | undefined, style?: Style): boolean {
    if (value === undefined || value === '') return false;
    if (this.content.claims.length >= MAX_CLAIMS) {
      this.remark(`Only the first ${MAX_CLAIMS} values are listed.`);
      return false;
    }
    this.content.claims.push({ name: clip(name), value: clip(value), ...(style !== undefined && { style }) });
    return true;
  }

  /** Adds a gauge, and reports whether it did. */
  gauge(name: string, share: number, text: string): boolean {
    if (!(share >= 0 && share <= 1)) return this.claim(name, text);
    this.content.gauges.push({ name, share, text: clip(text) });
    return true;
  }

  /** Begins a table. */
  table(name: string, ...columns: (string | Heading)[]): Records {
    const records: Records = {
      name: clip(name),
      columns: columns.map((column) => (typeof column === 'string' ? { name: column } : column)),
      rows: [],
      more: 0,
    };
    this.content.tables.push(records);
    return records;
  }

  /** Adds a row to a table. */
  row(records: Records, ...cells: (string | undefined)[]): void {
    if (records.rows.length >= MAX_ROWS || this.#texts >= maxTexts) {
      records.more++;
      return;
    }
    const row = cells.map((cell) => clip(cell ?? ''));
    for (const cell of row) this.#texts += cell.length;
    records.rows.push(row);
  }

  remark(text: string): void {
    if (this.content.remarks.length < 32 && !this.content.remarks.includes(text)) this.content.remarks.push(text);
  }
}

/** UTF-16 units of all texts in tables. */
const maxTexts = 64 << 20;

const clip = (text: string): string => (text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text);

/**
 * The records of an evidence bundle (bundle.md, section 4, and section 5, step
 * 6).
 */

import { concat, equal, utf8 } from '../bytes.js';
import * as entry from '../entry.js';
import { FormatError } from '../errors.js';
import { MAX_HEADER_BYTES, parseHeader, type Header } from '../header.js';
import { Members, parseObject } from '../json.js';
import type { Reader } from '../source.js';
import { EvidenceError } from './errors.js';
import { entriesName } from './members.js';
import { LeafReader, type EvidenceBundle } from './open.js';

const maxLine = 8 << 20; // bytes
/** The number of bytes with which a member with records ends. */
const fullMember = 1 << 20;

const states = ['included', 'omitted', 'erased'] as const;

/** The state of an entry's payload in a bundle. */
export type PayloadState = (typeof states)[number];

/** An entry of the stream. */
export interface EvidenceRecord {
  index: number;
  /** Unix milliseconds. */
  time: number;
  payload: PayloadState;
  /** Absent if it was erased. */
  header?: Header;
  /** The entry's sequence number in the stream, from 0. */
  seq: number;
  /** The hash of the entry's leaf, 32 bytes. */
  leafHash: Uint8Array;
}

/** A record with everything that later steps compare. */
export interface OpenRecord extends EvidenceRecord {
  linkSalt: Uint8Array;
  headerSalt?: Uint8Array;
  headerText?: string;
  payloadSalt?: Uint8Array;
  prev: Uint8Array;
  tag: Uint8Array;
}

interface Line {
  index: number;
  time: number;
  linkSalt: Uint8Array;
  headerSalt?: Uint8Array;
  headerText?: string;
  headerHash?: Uint8Array;
  payload: PayloadState;
  payloadSalt?: Uint8Array;
}

function malformed(problem: string): EvidenceError {
  return new EvidenceError('record-malformed', problem);
}

/**
 * Yields the records in the order of the stream, each after the checks of step
 * 6.
 */
export async function* recordsOf(bundle: EvidenceBundle): AsyncIterable<OpenRecord> {
  const scan = new Scan(bundle);
  let short: string | undefined;
  for (const [i, { name, role, size }] of bundle.manifest.members.entries()) {
    if (role !== 'entries') continue;
    if (short !== undefined)
      throw malformed(`${short}: it ends before it reaches ${fullMember} bytes, and other records follow`);
    yield* scan.member(name, bundle.members[i]?.offset ?? 0, size);
    if (size < fullMember) short = name;
  }
  scan.end();
}

class Scan {
  private readonly leaves: LeafReader;
  private readonly reader: Reader;
  private readonly origin: Uint8Array;
  private count = 0;
  private previous = { index: -1, time: 0 };
  private last: Uint8Array = new Uint8Array(32);

  constructor(private readonly bundle: EvidenceBundle) {
    this.leaves = new LeafReader(bundle);
    this.reader = bundle.reader();
    this.origin = entry.originHash(bundle.manifest.origin);
  }

  /** Yields the records of a member. */
  async *member(name: string, offset: number, size: number): AsyncIterable<OpenRecord> {
    let read = 0;
    for await (const line of lines(this.reader, offset, size)) {
      if (line === undefined) throw malformed(`${name}: a line is too long, or does not end with a line feed`);
      if (read >= fullMember) throw malformed(`${name}: a record follows the one with which it is full`);
      const parsed = parseLine(line, `${name}: record ${this.count} of the stream`);
      if (read === 0 && entriesName(parsed.index) !== name)
        throw malformed(`${name}: its first record is that of entry ${parsed.index}`);
      read += line.length;
      yield await this.record(parsed);
    }
    if (read === 0) throw malformed(`${name}: it has no records`);
  }

  /** Performs steps 6.2 to 6.4. */
  private async record(line: Line): Promise<OpenRecord> {
    const { manifest } = this.bundle;
    const { index, time } = line;
    const fail = (code: 'record-order' | 'header-malformed' | 'header-foreign' | 'record-leaf', problem: string) =>
      new EvidenceError(code, `entry ${index}: ${problem}`);
    if (index >= manifest.size) throw fail('record-order', `beyond the tree of size ${manifest.size}`);
    if (index <= this.previous.index)
      throw fail('record-order', `its record follows that of entry ${this.previous.index}`);
    if (time < this.previous.time) throw fail('record-order', `its time is before that of the previous record`);
    const header = line.headerText === undefined ? undefined : readHeader(line.headerText, fail);
    if (header !== undefined && (header.parsed.origin !== manifest.origin || header.parsed.tenant !== manifest.tenant))
      throw fail('header-foreign', 'its header names another log or tenant');
    const leaf = (await this.leaves.at(index)).slice();
    const link = { salt: line.linkSalt, streamId: manifest.stream.id, seq: this.count, prev: this.last };
    const headerHash =
      header === undefined
        ? (line.headerHash ?? new Uint8Array())
        : entry.headerHash(line.headerSalt ?? new Uint8Array(), header.bytes);
    const tag = leaf.subarray(1, 33);
    const data = entry.leafData(tag, entry.entryHash(this.origin, entry.linkHash(link), time, headerHash));
    if (this.count > index || !equal(data, leaf))
      throw fail('record-leaf', `its record does not open its leaf as entry ${this.count} of the stream`);
    const record: OpenRecord = {
      ...line,
      ...(header && { header: header.parsed }),
      seq: this.count,
      prev: this.last,
      tag,
      leafHash: entry.leafHash(leaf),
    };
    this.count++;
    this.previous = { index, time };
    this.last = record.leafHash;
    return record;
  }

  /** Performs step 6.5. */
  end(): void {
    const { stream, time } = this.bundle.manifest;
    const mismatch = (problem: string) => new EvidenceError('stream-mismatch', problem);
    if (this.count !== stream.entries)
      throw mismatch(`${this.count} records, but the manifest counts ${stream.entries}`);
    if (!equal(this.last, stream.last)) throw mismatch('the last record is not the last entry that the manifest names');
    if (time < this.previous.time) throw mismatch(`the time of the bundle is before that of the last record`);
  }
}

function readHeader(
  text: string,
  fail: (code: 'header-malformed', problem: string) => EvidenceError,
): { bytes: Uint8Array; parsed: Header } {
  // UTF-8 has at least one byte per UTF-16 unit.
  const bytes = utf8(text.length > MAX_HEADER_BYTES ? text.slice(0, MAX_HEADER_BYTES + 1) : text);
  try {
    return { bytes, parsed: parseHeader(bytes) };
  } catch (error) {
    if (error instanceof FormatError) throw fail('header-malformed', error.message);
    throw error;
  }
}

function parseLine(line: Uint8Array, where: string): Line {
  try {
    const members = Members.of(parseObject(line), '');
    const read: Line = {
      index: members.integer('index'),
      time: members.integer('time'),
      linkSalt: members.hash('linkSalt'),
      ...(members.has('header')
        ? { headerSalt: members.hash('headerSalt'), headerText: members.text('header') }
        : { headerHash: members.hash('headerHash') }),
      payload: members.choice('payload', states),
    };
    if (read.payload === 'included') read.payloadSalt = members.hash('payloadSalt');
    members.end();
    return read;
  } catch (error) {
    if (error instanceof FormatError) throw malformed(`${where}: ${error.message}`);
    throw error;
  }
}

/**
 * Yields the lines of a member with their line feed, and undefined for one that
 * is too long or not ended.
 */
async function* lines(reader: Reader, offset: number, size: number): AsyncIterable<Uint8Array | undefined> {
  let held: Uint8Array[] = [];
  let length = 0;
  for await (const piece of reader.pieces(offset, size)) {
    let from = 0;
    for (let end = piece.indexOf(0x0a); end >= 0; end = piece.indexOf(0x0a, from)) {
      const line = concat(...held, piece.subarray(from, end + 1));
      yield line.length > maxLine ? undefined : line;
      from = end + 1;
      held = [];
      length = 0;
    }
    held.push(piece.slice(from));
    length += piece.length - from;
    if (length > maxLine) yield undefined;
  }
  if (length > 0) yield undefined;
}

/** The archive of an evidence bundle (bundle.md, section 1). */

import { equal, latin1 } from '../bytes.js';
import { quote } from '../json.js';
import type { Reader } from '../source.js';
import { EvidenceError } from './errors.js';

/** A member of the archive. */
export interface ArchiveMember {
  name: string;
  /** The place of its content, in bytes. */
  offset: number;
  /** In bytes. */
  size: number;
}

const blockSize = 512;
const maxMembers = 500_000;
const nameSize = 100;
const sizeField = { offset: 124, digits: 11 } as const;
const sumField = { offset: 148, size: 8 } as const;

/** The header of a member without its name, size and checksum. */
const template = new Uint8Array(blockSize);
for (const [offset, text] of [
  [100, '0000644\x000000000\x000000000\x00'],
  [136, '00000000000\x00        0'],
  [257, 'ustar\x0000'],
  [329, '0000000\x000000000\x00'],
] as const)
  write(template, offset, text);

function write(block: Uint8Array, offset: number, text: string): void {
  for (let i = 0; i < text.length; i++) block[offset + i] = text.charCodeAt(i);
}

/** Returns the only header that a member can have. */
function header(name: string, size: number): Uint8Array {
  const block = template.slice();
  write(block, 0, name);
  write(block, sizeField.offset, `${size.toString(8).padStart(sizeField.digits, '0')}\0`);
  const sum = block.reduce((total, byte) => total + byte, 0);
  write(block, sumField.offset, `${sum.toString(8).padStart(sumField.size - 2, '0')}\0 `);
  return block;
}

function malformed(problem: string): EvidenceError {
  return new EvidenceError('archive-malformed', problem);
}

/** Reports whether a member can have the name. */
function isName(name: string): boolean {
  return /^[a-z0-9.\-/]{1,100}$/.test(name) && name.split('/').every((part) => !['', '.', '..'].includes(part));
}

function parseHeader(block: Uint8Array, at: number): { name: string; size: number } {
  const [name = ''] = latin1(block.subarray(0, nameSize)).split('\0', 1);
  const digits = latin1(block.subarray(sizeField.offset, sizeField.offset + sizeField.digits));
  if (!isName(name) || !/^[0-7]{11}$/.test(digits))
    throw malformed(`the header at offset ${at} has a wrong name or size: ${quote(name)}`);
  const size = parseInt(digits, 8);
  if (!equal(block, header(name, size)))
    throw malformed(`${name}: the header has other bytes than the format specifies`);
  return { name, size };
}

const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

/**
 * Returns the members of an archive. Everything in it but their content is
 * checked (step 1).
 */
export async function readArchive(reader: Reader): Promise<ArchiveMember[]> {
  const { size: end } = reader.source;
  const members: ArchiveMember[] = [];
  let last = '';
  for (let at = 0; ;) {
    if (at + 2 * blockSize > end) throw malformed(`the archive ends too early, after ${end} bytes`);
    const block = await reader.read(at, blockSize);
    if (isZero(block)) {
      await checkEnd(reader, at);
      return members;
    }
    const { name, size } = parseHeader(block, at);
    const offset = at + blockSize;
    const padding = (blockSize - (size % blockSize)) % blockSize;
    if (name <= last) throw malformed(`${name}: the members are not sorted, or it occurs twice`);
    if (offset + size + padding > end) throw malformed(`${name}: the archive ends within it`);
    if (members.length === maxMembers) throw malformed(`more than ${maxMembers} members`);
    if (padding > 0 && !isZero(await reader.read(offset + size, padding)))
      throw malformed(`${name}: the bytes after it are not zero`);
    members.push({ name, offset, size });
    last = name;
    at = offset + size + padding;
  }
}

/** Checks the end of an archive, of which the first block is zero. */
async function checkEnd(reader: Reader, at: number): Promise<void> {
  if (!isZero(await reader.read(at + blockSize, blockSize)))
    throw malformed(`one block of zero bytes at offset ${at}, expected two`);
  if (at + 2 * blockSize !== reader.source.size) throw malformed('there is data after the end of the archive');
  if (at === 0) throw malformed('the archive has no members');
}

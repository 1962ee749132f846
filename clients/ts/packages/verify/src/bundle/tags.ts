/** The tags of a stream (bundle.md, section 5, step 9). */

import { equal } from '../bytes.js';
import { tagger } from '../entry.js';

/**
 * Finds the sequence number of a tag, in 16 bytes of memory for each entry. It
 * is a hash table with linear probing, from the first bytes of a tag to its
 * sequence number.
 */
export class TagTable {
  private readonly tag: (seq: number) => Uint8Array;
  private readonly mask: number;
  /** Sequence numbers, plus 1. 0: free. */
  private readonly seqs: Uint32Array;
  /** The second four bytes of the tags. */
  private readonly prints: Uint32Array;

  /** @param size the number of sequence numbers, from 0 */
  constructor(streamKey: Uint8Array, size: number) {
    this.tag = tagger(streamKey);
    let slots = 2;
    while (slots < 2 * size) slots *= 2;
    this.mask = slots - 1;
    this.seqs = new Uint32Array(slots);
    this.prints = new Uint32Array(slots);
  }

  /** Adds the tag of a sequence number. */
  add(seq: number): void {
    const { slot, print } = this.place(this.tag(seq));
    let at = slot;
    while (this.seqs[at] !== 0) at = (at + 1) & this.mask;
    this.seqs[at] = seq + 1;
    this.prints[at] = print;
  }

  /** Returns the sequence number of a tag (32 bytes), or undefined. */
  find(tag: Uint8Array): number | undefined {
    const { slot, print } = this.place(tag);
    for (let at = slot; this.seqs[at] !== 0; at = (at + 1) & this.mask) {
      const seq = (this.seqs[at] ?? 0) - 1;
      if (this.prints[at] === print && equal(this.tag(seq), tag)) return seq;
    }
    return undefined;
  }

  private place(tag: Uint8Array): { slot: number; print: number } {
    const view = new DataView(tag.buffer, tag.byteOffset);
    return { slot: view.getUint32(0) & this.mask, print: view.getUint32(4) };
  }
}

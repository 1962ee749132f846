/** The receipt as a document (receipt.md, sections 1 and 2). */

import type { Link } from './entry.js';
import { FormatError } from './errors.js';
import { Members, parseObject } from './json.js';
import { parseProof, type Proof } from './proof.js';

/** Media type of a receipt. */
export const MEDIA_TYPE = 'application/vnd.muniment.receipt.v1+json';

/** Largest receipt that is read, in bytes: room for an embedded payload of about 190 MiB. */
export const MAX_RECEIPT_BYTES = 256 << 20;

const forms = ['full', 'detached', 'shared', 'payload-erased', 'header-erased'] as const;

export type Form = (typeof forms)[number];

/** A receipt, as it was parsed: nothing in it is verified. */
export interface Receipt {
  form: Form;
  /** 32 bytes. */
  tag: Uint8Array;
  /** Milliseconds since 1970, by the operator's claim. */
  time: number;
  /** In every form but `shared`. */
  link?: Link & { seq: number };
  /** L (32 bytes), in the form `shared`. */
  linkHash?: Uint8Array;
  /** In every form but `header-erased`: the salt (32 bytes), and the header's text, not yet looked into. */
  header?: { salt: Uint8Array; content: string };
  /** H (32 bytes), in the form `header-erased`. */
  headerHash?: Uint8Array;
  /** In the forms `full` and `detached` (without content) and `shared` (with or without). */
  payload?: { salt: Uint8Array; content?: Uint8Array };
  proof: Proof;
}

/**
 * Parses a receipt (step 1 of receipt.md, section 4).
 *
 * @param bytes at most {@link MAX_RECEIPT_BYTES}
 * @throws FormatError
 */
export function parseReceipt(bytes: Uint8Array): Receipt {
  if (bytes.length > MAX_RECEIPT_BYTES)
    throw new FormatError(`more than ${MAX_RECEIPT_BYTES} bytes; ask for a detached receipt`);
  const members = Members.of(parseObject(bytes), '');
  members.choice('mediaType', [MEDIA_TYPE]);
  const form = members.choice('form', forms);
  const receipt: Receipt = {
    form,
    tag: members.hash('tag'),
    time: members.integer('time'),
    proof: parseProof(members.text('proof')),
  };
  if (form === 'shared') receipt.linkHash = members.hash('linkHash');
  else receipt.link = link(members.object('link'));
  if (form === 'header-erased') receipt.headerHash = members.hash('headerHash');
  else receipt.header = header(members.object('header'));
  if (form === 'full' || form === 'detached' || form === 'shared')
    receipt.payload = payload(form, members.object('payload'));
  members.end();
  return receipt;
}

function link(members: Members): Link & { seq: number } {
  const read = {
    salt: members.hash('salt'),
    streamId: members.hash('streamId'),
    seq: members.integer('seq'),
    prev: members.hash('prev'),
  };
  members.end();
  return read;
}

function header(members: Members): { salt: Uint8Array; content: string } {
  const read = { salt: members.hash('salt'), content: members.text('content') };
  members.end();
  return read;
}

function payload(form: Form, members: Members): { salt: Uint8Array; content?: Uint8Array } {
  const salt = members.hash('salt');
  const content =
    form === 'full'
      ? members.base64('content')
      : form === 'shared'
        ? members.optional('content', members.base64)
        : undefined;
  members.end();
  return content === undefined ? { salt } : { salt, content };
}

/** The JSON document of a receipt (receipt.md, section 1). */

import type { Link } from './entry.js';
import { CallerError, FormatError } from './errors.js';
import { Members, parseObject, quote } from './json.js';

/** The media type of receipts. */
export const MEDIA_TYPE = 'application/vnd.muniment.receipt.v2+json';

/**
 * Size limit of receipts, in bytes. A full receipt of this size embeds about
 * 190 MiB of payload.
 */
export const MAX_RECEIPT_BYTES = 256 << 20;

const forms = ['full', 'detached', 'shared', 'payload-erased', 'header-erased'] as const;

/** The form of a receipt (receipt.md, section 1). */
export type Form = (typeof forms)[number];

/** A parsed receipt. Nothing in it is verified. */
export interface Receipt {
  /** Which parts the receipt contains. */
  form: Form;
  /** 32 bytes. */
  tag: Uint8Array;
  /** Unix milliseconds, as claimed by the log. */
  time: number;
  /** Absent in the form `shared`. */
  link?: Link & {
    /** The entry's sequence number in the stream, from 0. */
    seq: number;
  };
  /** L, 32 bytes. Only in the form `shared`. */
  linkHash?: Uint8Array;
  /** Absent in the form `header-erased`. */
  header?: {
    /** 32 bytes. */
    salt: Uint8Array;
    /** The unparsed text. */
    content: string;
  };
  /** H, 32 bytes. Only in the form `header-erased`. */
  headerHash?: Uint8Array;
  /** Absent in the erased forms. */
  payload?: {
    /** 32 bytes. */
    salt: Uint8Array;
    /** Absent unless the receipt contains the payload. */
    content?: Uint8Array;
  };
  /** The unparsed tlog-proof. */
  proof: string;
}

/**
 * Parses a receipt, but not the contents of its header and proof (receipt.md,
 * section 4, step 1).
 *
 * @param bytes at most {@link MAX_RECEIPT_BYTES}
 * @throws FormatError with the code `receipt-malformed` or `receipt-version`
 * @throws CallerError with the code `unreadable` if the receipt is too large
 */
export function parseReceipt(bytes: Uint8Array): Receipt {
  if (bytes.length > MAX_RECEIPT_BYTES)
    throw new CallerError('unreadable', `the receipt exceeds ${MAX_RECEIPT_BYTES} bytes: use a detached receipt`);
  const document = parseObject(bytes);
  const mediaType = document.get('mediaType');
  if (typeof mediaType === 'string' && mediaType !== MEDIA_TYPE)
    throw new FormatError(`mediaType ${quote(mediaType)} is not ${MEDIA_TYPE}`, 'receipt-version');
  const members = Members.of(document, '');
  members.choice('mediaType', [MEDIA_TYPE]);
  const form = members.choice('form', forms);
  const receipt: Receipt = {
    form,
    tag: members.hash('tag'),
    time: members.integer('time'),
    proof: members.text('proof'),
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

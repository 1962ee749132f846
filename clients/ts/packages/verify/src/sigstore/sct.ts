/** Signed certificate timestamps (sigstore-verification.md, section 9). */

import { fromBER, Sequence } from 'asn1js';
import { concat, hex, u64 } from '../bytes.js';
import { digest, signedBy } from './algorithms.js';
import { buffer, octets, type Certificate } from './certificates.js';
import { tlv } from './der.js';
import { contains, type Log } from './trustedroot.js';

const extensionId = '1.3.6.1.4.1.11129.2.4.2';

/** Reports whether a certificate has the extension with timestamps. */
export function hasScts(certificate: Certificate): boolean {
  return certificate.extensions.has(extensionId);
}

/** Reports whether a log signed that it includes the first certificate of a path. */
export async function hasValidSct(path: Certificate[], logs: Map<string, Log>): Promise<boolean> {
  const [certificate, issuer] = path;
  const extension = certificate?.extensions.get(extensionId);
  if (certificate === undefined || issuer === undefined || extension === undefined) return false;
  const tbs = withoutExtension(certificate.tbs);
  const scts = tbs && readList(octets(extension));
  if (tbs === undefined || scts === undefined) return false;
  const entry = concat(await digest('SHA-256', issuer.spki), u64(tbs.length).subarray(5), tbs);
  for (const sct of scts) if (await isValid(sct, entry, logs)) return true;
  return false;
}

interface Sct {
  log: string;
  time: number;
  extensions: Uint8Array;
  hash: number;
  algorithm: number;
  signature: Uint8Array;
}

async function isValid(sct: Sct, entry: Uint8Array, logs: Map<string, Log>): Promise<boolean> {
  const log = logs.get(sct.log);
  if (log === undefined || !contains(log.valid, sct.time)) return false;
  const sha256 = 4;
  const expected = { ECDSA: 3, RSA: 1, Ed25519: undefined }[log.key.type];
  if (sct.hash !== sha256 || sct.algorithm !== expected) return false;
  // version, certificate_timestamp, time, precert_entry, entry, extensions
  const head = concat(Uint8Array.of(0, 0), u64(sct.time), Uint8Array.of(0, 1));
  const message = concat(head, entry, u64(sct.extensions.length).subarray(6), sct.extensions);
  return await signedBy(log.key, 'SHA-256', message, sct.signature);
}

/** Reads a list of timestamps. Returns undefined if it is malformed. */
function readList(data: Uint8Array): Sct[] | undefined {
  const list = new Reader(data);
  const all = new Reader(list.vector());
  const scts: Sct[] = [];
  while (all.left > 0 && !all.failed) {
    const one = new Reader(all.vector());
    const version = one.number(1);
    const log = hex(one.take(32));
    const time = one.number(8);
    const sct = {
      log,
      time,
      extensions: one.vector(),
      hash: one.number(1),
      algorithm: one.number(1),
      signature: one.vector(),
    };
    if (one.failed || one.left > 0) return undefined;
    if (version === 0) scts.push(sct);
  }
  return all.failed || list.failed || list.left > 0 ? undefined : scts;
}

/** Reads the presentation language of TLS. */
class Reader {
  private at = 0;
  failed = false;

  constructor(private readonly data: Uint8Array) {}

  get left(): number {
    return this.data.length - this.at;
  }

  take(size: number): Uint8Array {
    if (size > this.left) this.failed = true;
    const taken = this.data.subarray(this.at, this.at + size);
    this.at += taken.length;
    return taken;
  }

  number(size: number): number {
    return this.take(size).reduce((value, byte) => value * 256 + byte, 0);
  }

  vector(): Uint8Array {
    return this.take(this.number(2));
  }
}

/**
 * Returns a TBSCertificate without the extension, undefined if it is malformed.
 * All other bytes stay as they are.
 */
function withoutExtension(tbs: Uint8Array): Uint8Array | undefined {
  const { result } = fromBER(buffer(tbs));
  if (!(result instanceof Sequence)) return undefined;
  const fields = result.valueBlock.value;
  const wrapper = fields.at(-1);
  const list = wrapper && children(wrapper)[0];
  if (wrapper?.idBlock.tagNumber !== 3 || list === undefined) return undefined;
  const kept = children(list).filter((extension) => {
    const id = children(extension)[0];
    return id === undefined || oidOf(id) !== extensionId;
  });
  if (kept.length !== children(list).length - 1) return undefined;
  const extensions = tlv(0xa3, tlv(0x30, ...kept.map(raw)));
  return tlv(0x30, ...fields.slice(0, -1).map(raw), extensions);
}

type Block = Sequence['valueBlock']['value'][number];

function children(block: Block): Block[] {
  const value: unknown = (block.valueBlock as { value?: unknown }).value;
  return Array.isArray(value) ? (value as Block[]) : [];
}

function oidOf(block: Block): string {
  return (block.valueBlock as { toString: () => string }).toString();
}

function raw(block: Block): Uint8Array {
  return block.valueBeforeDecodeView;
}

/** The trusted root (sigstore-verification.md, section 3). */

import { hex } from '../bytes.js';
import { FormatError } from '../errors.js';
import { parseObject, type Json } from '../json.js';
import { infoOfPkcs1 } from '../keyform.js';
import { hostOf } from '../urls.js';
import { loadKey, type PublicKey } from './algorithms.js';
import { readChain } from './bundle.js';
import { loadCertificate, type Certificate } from './certificates.js';
import * as m from './members.js';

/** Size limit of trusted roots, in bytes. */
export const MAX_ROOT_BYTES = 4 << 20;
const maxElements = 20_000;
const mediaType = 'application/vnd.dev.sigstore.trustedroot+json;version=0.1';

/** A period of time in Unix milliseconds, ends included. */
export interface Period {
  start?: number;
  end?: number;
}

/** Reports whether a time is in the period. */
export function contains(period: Period, time: number): boolean {
  return (period.start === undefined || period.start <= time) && (period.end === undefined || time <= period.end);
}

/** A transparency log, of signatures or of certificates. */
export interface Log {
  /** Empty if absent. */
  baseUrl: string;
  host: string;
  key: PublicKey;
  valid: Period;
}

/** An authority for certificates or timestamps. The last certificate is the anchor. */
export interface Authority {
  certificates: Certificate[];
  valid: Period;
}

/** The trusted logs, by their IDs in hexadecimal, and authorities. */
export interface TrustedRoot {
  logs: Map<string, Log>;
  ctLogs: Map<string, Log>;
  certificateAuthorities: Authority[];
  timestampAuthorities: Authority[];
}

/**
 * Parses a trusted root.
 *
 * @throws FormatError
 */
export async function parseTrustedRoot(data: Uint8Array): Promise<TrustedRoot> {
  if (data.length > MAX_ROOT_BYTES) throw new FormatError(`the trusted root exceeds ${MAX_ROOT_BYTES} bytes`);
  const names = ['mediaType', 'tlogs', 'ctlogs', 'certificateAuthorities', 'timestampAuthorities'];
  const top = m.fields(parseObject(data), 'trusted root', ...names);
  if (top.get('mediaType') !== mediaType) throw new FormatError('unsupported media type');
  const authorities = async (name: string) => {
    const elements = m.items(top.get(name), name, maxElements);
    return await Promise.all(elements.map((item) => readAuthority(item, name)));
  };
  return {
    logs: await readLogs(top.get('tlogs'), 'tlogs'),
    ctLogs: await readLogs(top.get('ctlogs'), 'ctlogs'),
    certificateAuthorities: await authorities('certificateAuthorities'),
    timestampAuthorities: await authorities('timestampAuthorities'),
  };
}

async function readLogs(value: Json | undefined, where: string): Promise<Map<string, Log>> {
  const logs = new Map<string, Log>();
  for (const item of m.items(value, where, maxElements)) {
    const { id, log } = await readLog(item, where);
    if (logs.has(id)) throw new FormatError(`${where}: two logs have the same ID`);
    logs.set(id, log);
  }
  return logs;
}

async function readLog(value: Json, where: string): Promise<{ id: string; log: Log }> {
  const names = ['baseUrl', 'hashAlgorithm', 'publicKey', 'logId', 'checkpointKeyId', 'operator'];
  const log = m.fields(value, where, ...names);
  if (log.get('hashAlgorithm') !== 'SHA2_256') throw new FormatError(`${where}: unsupported hash algorithm`);
  m.optionalText(log.get('operator'), `${where}.operator`);
  const checkpointKeyId = log.get('checkpointKeyId');
  if (checkpointKeyId !== undefined) m.binary(m.fields(checkpointKeyId, where, 'keyId').get('keyId'), where);
  const key = m.fields(log.get('publicKey'), `${where}.publicKey`, 'rawBytes', 'keyDetails', 'validFor');
  const valid = readPeriod(key.get('validFor'), where);
  if (valid.start === undefined) throw new FormatError(`${where}: the validity of a key has no start`);
  const raw = m.binary(key.get('rawBytes'), `${where}.publicKey.rawBytes`);
  const baseUrl = m.optionalText(log.get('baseUrl'), `${where}.baseUrl`);
  const id = m.fields(log.get('logId'), `${where}.logId`, 'keyId').get('keyId');
  return {
    id: hex(m.binary(id, `${where}.logId.keyId`)),
    log: {
      baseUrl,
      host: hostOf(baseUrl),
      key: await readKey(raw, m.text(key.get('keyDetails'), `${where}.keyDetails`)),
      valid,
    },
  };
}

const keyTypes = new Map<string, PublicKey['type']>([
  ['PKIX_ECDSA_P256_SHA_256', 'ECDSA'],
  ['PKIX_ECDSA_P384_SHA_384', 'ECDSA'],
  ['PKIX_ECDSA_P521_SHA_512', 'ECDSA'],
  ['PKIX_RSA_PKCS1V15_2048_SHA256', 'RSA'],
  ['PKIX_RSA_PKCS1V15_3072_SHA256', 'RSA'],
  ['PKIX_RSA_PKCS1V15_4096_SHA256', 'RSA'],
  ['PKIX_ED25519', 'Ed25519'],
  ['PKCS1_RSA_PKCS1V5', 'RSA'],
]);

async function readKey(raw: Uint8Array, details: string): Promise<PublicKey> {
  const key = await loadKey(details === 'PKCS1_RSA_PKCS1V5' ? infoOfPkcs1(raw) : raw);
  if (keyTypes.get(details) !== key.type) throw new FormatError('the key is not of the type in keyDetails');
  return key;
}

async function readAuthority(value: Json, where: string): Promise<Authority> {
  const authority = m.fields(value, where, 'subject', 'uri', 'certChain', 'validFor', 'operator');
  for (const name of ['uri', 'operator']) m.optionalText(authority.get(name), `${where}.${name}`);
  const subject = authority.get('subject');
  if (subject !== undefined)
    for (const item of m.fields(subject, where, 'organization', 'commonName').values())
      m.optionalText(item, `${where}.subject`);
  const chain = readChain(authority.get('certChain'), `${where}.certChain`);
  const certificates = await Promise.all(chain.map(loadCertificate));
  if (certificates.some(({ key }) => key === undefined))
    throw new FormatError(`${where}: a certificate's key is of an unsupported type`);
  if (certificates.at(-1)?.ca !== true) throw new FormatError(`${where}: the last certificate is not a CA`);
  return {
    certificates,
    valid: readPeriod(authority.get('validFor'), where),
  };
}

function readPeriod(value: Json | undefined, where: string): Period {
  if (value === undefined) return {};
  const period = m.fields(value, where, 'start', 'end');
  const read = (name: 'start' | 'end'): Period => {
    if (!period.has(name)) return {};
    const match = /^((?!0000)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?Z$/.exec(m.text(period.get(name), where));
    const whole = Date.parse(`${match?.[1] ?? ''}Z`);
    if (Number.isNaN(whole) || new Date(whole).toISOString().slice(0, 19) !== match?.[1])
      throw new FormatError(`${where}: must be a time such as 2026-01-02T03:04:05Z`);
    return { [name]: whole + Number((match[2] ?? '.').slice(1, 4).padEnd(3, '0')) };
  };
  return { ...read('start'), ...read('end') };
}

/** Certificates and paths (sigstore-verification.md, sections 8 and 10). */

import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import {
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate as Asn1Certificate,
  ExtendedKeyUsage,
  KeyUsage,
  KeyUsageFlags,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  Version,
  type Extension,
} from '@peculiar/asn1-x509';
import { equal, hex, utf8Text } from '../bytes.js';
import { FormatError } from '../errors.js';
import { loadAnyKey, signedBy, type Hash, type PublicKey } from './algorithms.js';
import { isDer } from './der.js';
import type { Authority } from './trustedroot.js';

export const codeSigning = '1.3.6.1.5.5.7.3.3';
export const timeStamping = '1.3.6.1.5.5.7.3.8';
const anyUsage = '2.5.29.37.0';
const otherNameOfFulcio = '1.3.6.1.4.1.57264.1.7';
const issuerV1 = '1.3.6.1.4.1.57264.1.1';
const issuerV2 = '1.3.6.1.4.1.57264.1.8';
const basicConstraints = '2.5.29.19';
const keyUsage = '2.5.29.15';
const extendedKeyUsage = '2.5.29.37';
const subjectAltName = '2.5.29.17';
const allowedCritical = [basicConstraints, keyUsage, extendedKeyUsage, subjectAltName];

/** The signature algorithms of certificates. Undefined is the hash of Ed25519. */
const signatures = new Map<string, { type: PublicKey['type']; hash?: Hash }>([
  ['1.2.840.10045.4.3.2', { type: 'ECDSA', hash: 'SHA-256' }],
  ['1.2.840.10045.4.3.3', { type: 'ECDSA', hash: 'SHA-384' }],
  ['1.2.840.10045.4.3.4', { type: 'ECDSA', hash: 'SHA-512' }],
  ['1.2.840.113549.1.1.11', { type: 'RSA', hash: 'SHA-256' }],
  ['1.2.840.113549.1.1.12', { type: 'RSA', hash: 'SHA-384' }],
  ['1.2.840.113549.1.1.13', { type: 'RSA', hash: 'SHA-512' }],
  ['1.3.101.112', { type: 'Ed25519' }],
]);

/** A parsed certificate. Times are in Unix milliseconds. */
export interface Certificate {
  der: Uint8Array;
  tbs: Uint8Array;
  spki: Uint8Array;
  issuer: Uint8Array;
  subject: Uint8Array;
  serial: Uint8Array;
  notBefore: number;
  notAfter: number;
  /** Undefined if its type is not supported. */
  key: PublicKey | undefined;
  signatureAlgorithm: string;
  signature: Uint8Array;
  extensions: Map<string, Extension>;
  ca: boolean;
  pathLength?: number;
  signsCertificates: boolean;
  /** Undefined without the extension. */
  usages?: string[];
}

/**
 * Reads a certificate.
 *
 * @throws FormatError
 */
export async function loadCertificate(der: Uint8Array): Promise<Certificate> {
  const certificate = isDer(der) ? await read(der).catch(() => undefined) : undefined;
  if (certificate === undefined) throw new FormatError('the certificate cannot be read');
  return certificate;
}

/** Returns undefined, or throws, if it cannot be read as a whole. */
async function read(der: Uint8Array): Promise<Certificate | undefined> {
  const parsed = AsnConvert.parse(buffer(der), Asn1Certificate);
  const tbs = parsed.tbsCertificate;
  const spki = derOf(tbs.subjectPublicKeyInfo);
  if (
    !equal(derOf(tbs.signature), derOf(parsed.signatureAlgorithm)) ||
    !hex(der).includes(hex(spki)) || // unused bits
    derOf(parsed).length !== der.length || // the parser ignores elements after the last one
    tbs.version !== Version.v3 ||
    tbs.extensions === undefined ||
    tbs.issuerUniqueID !== undefined ||
    tbs.subjectUniqueID !== undefined
  )
    return undefined;
  const extensions = new Map<string, Extension>();
  for (const extension of Array.from(tbs.extensions)) {
    if (extensions.has(extension.extnID)) return undefined;
    extensions.set(extension.extnID, extension);
  }
  const get = <T>(id: string, type: new () => T): T | undefined => {
    const extension = extensions.get(id);
    return extension && AsnConvert.parse(extension.extnValue.buffer, type);
  };
  const basic = get(basicConstraints, BasicConstraints);
  const stated = extensions.get(basicConstraints)?.extnValue.buffer;
  if (basic && stated && !equal(derOf(basic), bytes(stated))) return undefined; // a default is stated
  const usage = get(keyUsage, KeyUsage);
  const extended = get(extendedKeyUsage, ExtendedKeyUsage);
  // The others are read too: a certificate is readable as a whole, or not.
  get(subjectAltName, SubjectAlternativeName);
  get('2.5.29.35', AuthorityKeyIdentifier);
  get('2.5.29.14', SubjectKeyIdentifier);
  return {
    der,
    tbs: parsed.tbsCertificateRaw ? bytes(parsed.tbsCertificateRaw) : derOf(tbs),
    spki,
    issuer: derOf(tbs.issuer),
    subject: derOf(tbs.subject),
    serial: bytes(tbs.serialNumber),
    notBefore: tbs.validity.notBefore.getTime().getTime(),
    notAfter: tbs.validity.notAfter.getTime().getTime(),
    key: await loadAnyKey(spki),
    signatureAlgorithm: parsed.signatureAlgorithm.algorithm,
    signature: bytes(parsed.signatureValue),
    extensions,
    ca: basic?.cA ?? false,
    ...(basic?.pathLenConstraint !== undefined && { pathLength: basic.pathLenConstraint }),
    signsCertificates: usage === undefined || (usage.toNumber() & KeyUsageFlags.keyCertSign) !== 0,
    ...(extended && { usages: [...extended] }),
  };
}

/** Returns the DER of a parsed value. */
export function derOf(value: unknown): Uint8Array {
  return bytes(AsnConvert.serialize(value));
}

/** Returns the bytes in a buffer of their own. */
export function buffer(data: Uint8Array): ArrayBuffer {
  return Uint8Array.from(data).buffer;
}

/** Returns the bytes of a buffer. */
export function bytes(data: ArrayBuffer): Uint8Array {
  return new Uint8Array(data);
}

/** Reports whether a time in Unix milliseconds is in a certificate's period of validity. */
export function isValidAt(certificate: Certificate, time: number): boolean {
  return certificate.notBefore <= time && time <= certificate.notAfter;
}

/**
 * Returns the path to an authority's anchor, undefined if there is none.
 *
 * @param time in Unix milliseconds
 * @param more certificates that can be part of the path
 */
export async function findPath(
  certificate: Certificate,
  authority: Authority,
  purpose: string,
  time: number,
  more: Certificate[] = [],
): Promise<Certificate[] | undefined> {
  const anchor = authority.certificates.at(-1);
  if (anchor === undefined || certificate.ca || certificate.usages?.includes(purpose) !== true) return undefined;
  if (!isUsable(certificate, time)) return undefined;
  const candidates = [anchor, ...authority.certificates.slice(0, -1), ...more];
  return await extend([certificate], candidates, anchor, purpose, time);
}

async function extend(
  path: Certificate[],
  candidates: Certificate[],
  anchor: Certificate,
  purpose: string,
  time: number,
): Promise<Certificate[] | undefined> {
  for (const issuer of candidates) {
    if (path.some((used) => equal(used.der, issuer.der))) continue;
    if (!(await issued(path, issuer, purpose, time))) continue;
    const longer = [...path, issuer];
    if (equal(issuer.der, anchor.der)) return longer;
    const found = await extend(longer, candidates, anchor, purpose, time);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isUsable(certificate: Certificate, time: number): boolean {
  if (!isValidAt(certificate, time)) return false;
  return [...certificate.extensions.values()].every((e) => !e.critical || allowedCritical.includes(e.extnID));
}

async function issued(path: Certificate[], issuer: Certificate, purpose: string, time: number): Promise<boolean> {
  const child = path.at(-1);
  const algorithm = signatures.get(child?.signatureAlgorithm ?? '');
  if (child === undefined || algorithm === undefined || issuer.key?.type !== algorithm.type) return false;
  return (
    equal(child.issuer, issuer.subject) &&
    isUsable(issuer, time) &&
    issuer.ca &&
    (issuer.pathLength === undefined || issuer.pathLength >= path.length - 1) &&
    issuer.signsCertificates &&
    (issuer.usages === undefined || issuer.usages.includes(purpose) || issuer.usages.includes(anyUsage)) &&
    (await signedBy(issuer.key, algorithm.hash, child.tbs, child.signature))
  );
}

/** Returns the name of a certificate's holder, empty if it has none. */
export function subjectName(certificate: Certificate): string {
  const extension = certificate.extensions.get(subjectAltName);
  if (extension === undefined) return '';
  const names = AsnConvert.parse(extension.extnValue.buffer, SubjectAlternativeName);
  for (const kind of ['uniformResourceIdentifier', 'rfc822Name'] as const)
    for (const name of names) {
      const value = name[kind];
      if (value !== undefined && value !== '') return value;
    }
  for (const { otherName } of names)
    if (otherName?.typeId === otherNameOfFulcio) return utf8String(bytes(otherName.value));
  return '';
}

/** Returns the OIDC issuer of a certificate, empty if it has none. */
export function issuerName(certificate: Certificate): string {
  const current = certificate.extensions.get(issuerV2);
  if (current !== undefined) return utf8String(bytes(current.extnValue.buffer));
  const old = certificate.extensions.get(issuerV1);
  return old === undefined ? '' : new TextDecoder().decode(old.extnValue.buffer);
}

function utf8String(der: Uint8Array): string {
  try {
    const length = der[1] ?? 0x80;
    const start = length === 0x81 ? 3 : 2;
    const size = length === 0x81 ? (der[2] ?? 0) : length;
    if (der[0] !== 0x0c || (length >= 0x80 && length !== 0x81) || der.length !== start + size) return '';
    return utf8Text(der.subarray(start));
  } catch {
    return '';
  }
}

/** Returns the content of an extension that is an octet string. */
export function octets(extension: Extension): Uint8Array {
  return bytes(AsnConvert.parse(extension.extnValue.buffer, OctetString).buffer);
}

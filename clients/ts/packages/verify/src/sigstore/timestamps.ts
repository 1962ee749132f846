/** RFC 3161 timestamps (sigstore-verification.md, section 7). */

import { CertificateSet, ContentInfo, SignedData, type Attribute, type SignerInfo } from '@peculiar/asn1-cms';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import { TimeStampResp, TSTInfo } from '@peculiar/asn1-tsp';
import { Time } from '@peculiar/asn1-x509';
import { equal } from '../bytes.js';
import { digest, signedBy, type Hash } from './algorithms.js';
import {
  buffer,
  bytes,
  derOf,
  findPath,
  isValidAt,
  loadCertificate,
  timeStamping,
  type Certificate,
} from './certificates.js';
import { isDer, tlv } from './der.js';
import { contains, type Authority } from './trustedroot.js';

const signedData = '1.2.840.113549.1.7.2';
const tstInfo = '1.2.840.113549.1.9.16.1.4';
const messageDigest = '1.2.840.113549.1.9.4';
const signingTime = '1.2.840.113549.1.9.5';
const extendedKeyUsage = '2.5.29.37';

const hashes = new Map<string, Hash>([
  ['2.16.840.1.101.3.4.2.1', 'SHA-256'],
  ['2.16.840.1.101.3.4.2.2', 'SHA-384'],
  ['2.16.840.1.101.3.4.2.3', 'SHA-512'],
]);

interface Token {
  content: Uint8Array;
  signer: SignerInfo;
  certificates: Certificate[];
  hash: Hash;
  imprint: Uint8Array;
  time: number;
}

/**
 * Returns the time of a timestamp of the signature in Unix milliseconds,
 * undefined if no authority issued it.
 */
export async function stampTime(
  stamp: Uint8Array,
  signature: Uint8Array,
  authorities: Authority[],
): Promise<number | undefined> {
  try {
    const token = await readToken(stamp);
    if (token === undefined || !equal(await digest(token.hash, signature), token.imprint)) return undefined;
    for (const authority of authorities)
      if (contains(authority.valid, token.time) && (await issued(token, authority))) return token.time;
    return undefined;
  } catch {
    return undefined; // the parsers throw errors of many types
  }
}

async function readToken(stamp: Uint8Array): Promise<Token | undefined> {
  if (!isDer(stamp)) return undefined;
  const response = AsnConvert.parse(buffer(stamp), TimeStampResp);
  const status: number = response.status.status;
  if (status !== 0 || response.timeStampToken === undefined) return undefined;
  const outer = AsnConvert.parse(AsnConvert.serialize(response.timeStampToken), ContentInfo);
  const signed = AsnConvert.parse(outer.content, SignedData);
  const [signer] = signed.signerInfos;
  const content = signed.encapContentInfo.eContent?.single?.buffer;
  if (outer.contentType !== signedData || signed.encapContentInfo.eContentType !== tstInfo) return undefined;
  if (signer === undefined || signed.signerInfos.length !== 1 || content === undefined) return undefined;
  const info = AsnConvert.parse(content, TSTInfo);
  const hash = hashes.get(info.messageImprint.hashAlgorithm.algorithm);
  if (hash === undefined) return undefined;
  const certificates: Certificate[] = [];
  for (const { certificate } of signed.certificates ?? new CertificateSet())
    if (certificate !== undefined) certificates.push(await loadCertificate(derOf(certificate)));
  return {
    content: bytes(content),
    signer,
    certificates,
    hash,
    imprint: bytes(info.messageImprint.hashedMessage.buffer),
    time: info.genTime.getTime(),
  };
}

async function issued(token: Token, authority: Authority): Promise<boolean> {
  const [first] = authority.certificates;
  const own = first?.ca === false ? first : undefined;
  const id = token.signer.sid.issuerAndSerialNumber;
  if (id === undefined) return false;
  const issuer = derOf(id.issuer);
  const serial = bytes(id.serialNumber);
  const candidates = token.certificates.length > 0 || own === undefined ? token.certificates : [own];
  const signer = candidates.find((c) => equal(c.issuer, issuer) && equal(c.serial, serial));
  if (signer === undefined || (own !== undefined && !equal(signer.der, own.der))) return false;
  const usage = signer.extensions.get(extendedKeyUsage);
  if (usage?.critical !== true || signer.usages?.length !== 1) return false;
  if (!(await signedByCertificate(token, signer))) return false;
  return (await findPath(signer, authority, timeStamping, token.time, token.certificates)) !== undefined;
}

/** Reports whether the certificate's key signed the attributes, and they are about the content. */
async function signedByCertificate({ signer, content }: Token, certificate: Certificate): Promise<boolean> {
  const hash = hashes.get(signer.digestAlgorithm.algorithm);
  const attributes = signer.signedAttrs ?? [];
  if (hash === undefined || attributes.length === 0 || certificate.key === undefined) return false;
  const values = (oid: string) => attributes.filter((a: Attribute) => a.attrType === oid).flatMap((a) => a.attrValues);
  const [found, ...others] = values(messageDigest);
  if (found === undefined || others.length > 0) return false;
  if (!equal(bytes(AsnConvert.parse(found, OctetString).buffer), await digest(hash, content))) return false;
  for (const value of values(signingTime))
    if (!isValidAt(certificate, AsnConvert.parse(value, Time).getTime().getTime())) return false;
  // They are signed as a SET, and sent with an implicit tag.
  const message = tlv(0x31, ...attributes.map(derOf));
  return await signedBy(certificate.key, hash, message, bytes(signer.signature.buffer));
}

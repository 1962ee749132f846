/** Statements of in-toto, DSSE envelopes and Sigstore bundles. */

import type { Builder } from './document';
import type { JsonReader } from './json';
import { digests, join } from './parts';

/** The parts of an envelope that are read further. */
export interface Enveloped {
  payloadType?: string | undefined;
  payload?: Uint8Array | undefined;
}

/** Reads a DSSE envelope. */
export function envelope(json: JsonReader, to: Builder): Enveloped {
  const found: Enveloped = {};
  let signatures = 0;
  const keyIds: string[] = [];
  json.members({
    payloadType: () => (found.payloadType = json.text()),
    payload: () => (found.payload = json.base64()),
    signatures: () =>
      json.array(() => {
        signatures++;
        json.members({
          keyid: () => {
            const id = json.text();
            if (id !== undefined && id !== '' && keyIds.length < 16) keyIds.push(id);
          },
        });
      }),
  });
  to.claim('Payload type', found.payloadType, 'mono');
  to.claim('Signatures', String(signatures));
  to.claim('Key IDs in the envelope, not signed', keyIds.join(', '), 'mono');
  return found;
}

/** Reads a Sigstore bundle. */
export function bundle(json: JsonReader, to: Builder): Enveloped {
  let found: Enveloped = {};
  json.members({
    mediaType: () => to.claim('Bundle', json.text(), 'mono'),
    dsseEnvelope: () => (found = envelope(json, to)),
    messageSignature: () =>
      json.members({
        messageDigest: () => {
          let algorithm: string | undefined;
          let digest: string | undefined;
          json.members({
            algorithm: () => (algorithm = json.text()),
            digest: () => (digest = hexOf(json.base64())),
          });
          to.claim('Signed digest', join(' ', algorithm, digest), 'digest');
        },
      }),
    verificationMaterial: () =>
      json.object((name) => {
        if (name === 'tlogEntries') tlogEntries(json, to);
        else if (name === 'timestampVerificationData')
          json.members({ rfc3161Timestamps: () => to.claim('Signed timestamps', String(counted(json))) });
        else to.claim('Material', materials.get(name) ?? name);
      }),
  });
  return found;
}

const materials = new Map([
  ['certificate', 'certificate'],
  ['x509CertificateChain', 'certificate chain'],
  ['publicKey', 'public key'],
]);

function tlogEntries(json: JsonReader, to: Builder): void {
  json.array(() => {
    let index: string | undefined;
    json.members({ logIndex: () => (index = json.scalar()) });
    to.claim('Entry of a transparency log', index);
  });
}

function counted(json: JsonReader): number {
  let n = 0;
  json.array(() => {
    n++;
  });
  return n;
}

const hexOf = (bytes: Uint8Array | undefined): string | undefined =>
  bytes && Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** Reads a statement. Returns the bytes of its predicate. */
export function statement(json: JsonReader, to: Builder): { predicateType?: string; predicate?: Uint8Array } {
  const found: { predicateType?: string; predicate?: Uint8Array } = {};
  const table = to.table('Subjects', 'Name', { name: 'Digests', style: 'digest' });
  json.members({
    _type: () => to.claim('Statement', json.text(), 'mono'),
    predicateType: () => {
      const type = json.text();
      if (type !== undefined) found.predicateType = type;
    },
    subject: () =>
      json.array(() => {
        let name: string | undefined;
        let digest: string | undefined;
        json.members({ name: () => (name = json.text()), digest: () => (digest = digests(json)) });
        to.row(table, name, digest);
      }),
    predicate: () => (found.predicate = json.raw()),
  });
  return found;
}

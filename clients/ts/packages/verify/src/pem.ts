/** PEM of keys and certificates (sigstore-verification.md, section 4). */

import { fromBase64, latin1 } from './bytes.js';
import { FormatError } from './errors.js';

const pem =
  /^[ \t\r\n]*-----BEGIN (CERTIFICATE|PUBLIC KEY)-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END (CERTIFICATE|PUBLIC KEY)-----[ \t\r\n]*$/;

/** Returns the label and the content of the only block of a PEM text. */
export function readPem(data: Uint8Array): { label: string; der: Uint8Array } {
  const match = pem.exec(latin1(data));
  const der = fromBase64((match?.[2] ?? '?').replace(/[\r\n]/g, ''));
  if (match?.[1] === undefined || match[1] !== match[3] || der === undefined)
    throw new FormatError('not one PEM block of a certificate or public key');
  return { label: match[1], der };
}

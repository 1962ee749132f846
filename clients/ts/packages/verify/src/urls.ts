/** URLs of transparency logs (verify.md, section 2). */

const maxLength = 2048;
const url = /^(https?):\/\/([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(\/[A-Za-z0-9._~/-]*)?$/;

/** Returns the normal form of a URL, or undefined if it has another form. */
export function normalUrl(text: string): string | undefined {
  const [, scheme, host, port, path] = match(text);
  if (scheme === undefined || host === undefined) return undefined;
  const number = port === undefined ? '' : port.replace(/^0+(?=.)/, '');
  const usual = scheme === 'https' ? '443' : '80';
  const suffix = number === '' || number === usual ? '' : `:${number}`;
  return `${scheme}://${host.toLowerCase()}${suffix}${(path ?? '').replace(/\/+$/, '')}`;
}

/** Returns the host of a URL without brackets, empty if the URL has another form. */
export function hostOf(text: string): string {
  return (match(text)[2] ?? '').replace(/^\[|\]$/g, '');
}

function match(text: string): readonly string[] {
  return text.length > maxLength ? [] : (url.exec(text) ?? []);
}

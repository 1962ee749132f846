/** Identity tokens of CI jobs, which a ledger exchanges for its own tokens. */

/** A source of OIDC identity tokens. It is called once for each exchange. */
export type Identity = () => Promise<string>;

/** The job has no identity token, or its platform refused to issue one. */
export class IdentityError extends Error {
  /** The name of the class. */
  override readonly name = 'IdentityError';
}

/**
 * The environment variable from which {@link jobIdentity} reads an identity
 * token. In GitLab CI, an `id_tokens` entry sets it.
 */
export const ID_TOKEN_VARIABLE = 'MUNIMENT_ID_TOKEN';

/** Limit on the response of GitHub's runner, in bytes. */
const maxResponse = 64 << 10;

const noToken =
  'the job has no identity token: grant it the permission "id-token: write" (GitHub Actions), ' +
  `or add an id_tokens entry named ${ID_TOKEN_VARIABLE} (GitLab CI)`;

/**
 * Returns a source of identity tokens for the CI job in which the process runs.
 * It returns the token in the environment variable `MUNIMENT_ID_TOKEN` if that
 * is set. In a GitHub Actions job with the permission `id-token: write`, it
 * requests a new token for the audience on each call.
 *
 * @param audience the audience that the ledger expects
 * @param environment the variables of the process, such as `process.env`
 * @see https://docs.github.com/en/actions/reference/security/oidc
 */
export function jobIdentity(audience: string, environment: Readonly<Record<string, string | undefined>>): Identity {
  return async () => {
    const given = environment[ID_TOKEN_VARIABLE]?.trim() ?? '';
    if (given !== '') return given;
    const address = environment['ACTIONS_ID_TOKEN_REQUEST_URL'] ?? '';
    const secret = environment['ACTIONS_ID_TOKEN_REQUEST_TOKEN'] ?? '';
    if (address === '' || secret === '') throw new IdentityError(noToken);
    return await requestToken(requestUrl(address, audience), secret);
  };
}

function requestUrl(address: string, audience: string): URL {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  const loopback = ['127.0.0.1', '[::1]'].includes(url?.hostname ?? '');
  if (url === undefined || (url.protocol !== 'https:' && !(url.protocol === 'http:' && loopback)))
    throw new IdentityError('ACTIONS_ID_TOKEN_REQUEST_URL: not an https URL');
  url.searchParams.set('audience', audience);
  return url;
}

async function requestToken(url: URL, secret: string): Promise<string> {
  const what = "request the job's identity token";
  let response;
  try {
    response = await fetch(url, {
      headers: { authorization: `Bearer ${secret}`, accept: 'application/json' },
      redirect: 'error',
      signal: AbortSignal.timeout(30_000),
    });
  } catch (error) {
    throw new IdentityError(`${what}: the connection failed`, { cause: error });
  }
  if (response.status !== 200) throw new IdentityError(`${what}: HTTP status ${response.status}`);
  const answer = parse(await readLimited(response));
  const value = typeof answer === 'object' && answer !== null && 'value' in answer ? answer.value : undefined;
  if (typeof value !== 'string' || value === '') throw new IdentityError(`${what}: the response contains no token`);
  return value;
}

async function readLimited(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  let size = 0;
  const reader = response.body?.getReader();
  for (;;) {
    const piece = await reader?.read();
    if (piece?.value === undefined) return text + decoder.decode();
    size += piece.value.length;
    if (size > maxResponse) {
      await reader?.cancel();
      return '';
    }
    text += decoder.decode(piece.value, { stream: true });
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

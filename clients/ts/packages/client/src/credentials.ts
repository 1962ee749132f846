/** The credentials of a client: a token, or one in exchange for an identity. */

import { Code, ConnectError, type Interceptor } from '@connectrpc/connect';
import { timestampMs } from '@bufbuild/protobuf/wkt';
import type { ExchangeTokenResponse } from './gen/muniment/v1/identity_pb.js';

/** The prefix of every token. The tenant's name follows it. */
const prefix = 'mnt_';
/** The lifetime at which a token is renewed, in milliseconds. */
const early = 30_000;

/** Returns the tenant named in a token, or an empty string. */
export function tenantOfToken(token: string): string {
  return /^mnt_([^_]*)_/.exec(token)?.[1] ?? '';
}

/**
 * Checks the URL of a server. Messages omit what may be a secret.
 *
 * @throws TypeError
 */
export function checkServer(server: string): string {
  if (server.includes(prefix)) throw new TypeError('server: the URL contains a token: use the URL alone');
  if (server.includes('@')) throw new TypeError('server: the URL contains an @: remove the user name or password');
  const url = URL.canParse(server) ? new URL(server) : undefined;
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:') || url.hostname === '')
    throw new TypeError('server: not an http or https URL');
  if (url.pathname !== '/' || /[?#]/.test(server))
    throw new TypeError(`server: the URL has a path, query or fragment: use ${JSON.stringify(url.origin)}`);
  return url.origin;
}

/** Adds a token to each call. */
export class Credentials {
  private expires = Infinity;
  private renewal: Promise<string> | undefined;

  /** @param exchange obtains a token. Undefined if the token is fixed. */
  constructor(
    private token: string,
    private readonly exchange: (() => Promise<ExchangeTokenResponse>) | undefined,
  ) {}

  /** Adds the token, and a new one if the server refuses an expired one. */
  readonly interceptor: Interceptor = (next) => async (request) => {
    for (let again = false; ; again = true) {
      const token = await this.current();
      if (token !== '') request.header.set('authorization', `Bearer ${token}`);
      try {
        return await next(request);
      } catch (error) {
        const isRefused = error instanceof ConnectError && error.code === Code.Unauthenticated;
        if (this.exchange === undefined || !isRefused || again || request.stream) throw error;
        if (this.token === token) this.token = '';
      }
    }
  };

  private async current(): Promise<string> {
    if (this.exchange === undefined || (this.token !== '' && Date.now() + early < this.expires)) return this.token;
    this.renewal ??= this.renew(this.exchange).finally(() => {
      this.renewal = undefined;
    });
    return await this.renewal;
  }

  private async renew(exchange: () => Promise<ExchangeTokenResponse>): Promise<string> {
    const { token, expires } = await exchange();
    this.token = token;
    this.expires = expires === undefined ? 0 : timestampMs(expires);
    return token;
  }
}

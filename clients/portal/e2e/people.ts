/** People of tenants, with identity tokens of a provider of their own. */

import { createSign, generateKeyPairSync, randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { openPage, type Ledger, type Role, type Watched } from './harness.js';

const issuer = 'https://id.example.com';
const keys = generateKeyPairSync('rsa', { modulusLength: 2048 });

/** A person as a rule of the configuration has it. */
export interface Member {
  sub: string;
  tenant: string;
  role: Role;
  /** The display name. */
  name?: string;
}

/** How entries name a person. */
export const submitterOf = (sub: string): string => `oidc:${issuer}#${sub}`;

/** Where people have their identity tokens from. */
export interface Issuer {
  url: string;
  /** Of the configuration, in YAML's flow style. */
  settings: string;
}

/** Adds people to a log, and starts the server again at its address. */
export async function addPeople(ledger: Ledger, people: readonly Member[], from = ownIssuer(ledger)): Promise<void> {
  const path = join(ledger.data, 'muniment.yaml');
  const issuers = `identity: {issuers: [{issuer: "${from.url}", ${from.settings}}]}`;
  let config = readFileSync(path, 'utf8').replace(/^tenants:$/mu, `${issuers}\ntenants:`);
  for (const tenant of new Set(people.map((person) => person.tenant))) {
    const rules = people.filter((person) => person.tenant === tenant).map((person) => ruleFor(person, from.url));
    const start = config.indexOf(`name: ${tenant}\n`);
    const at = config.indexOf('    tokens:', start);
    config = `${config.slice(0, at)}    identities: [${rules.join(', ')}]\n${config.slice(at)}`;
  }
  writeFileSync(path, config);
  await ledger.restart();
}

const ruleFor = ({ sub, role, name = '' }: Member, issuer: string): string =>
  `{name: ${sub}, ${name && `display_name: "${name}", `}issuer: "${issuer}", claims: {sub: ${sub}}, role: ${role}, life: 15m}`;

/** An issuer that is only a key. */
function ownIssuer({ data }: Ledger): Issuer {
  const jwk = { ...keys.publicKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'k' };
  writeFileSync(join(data, 'idp.json'), JSON.stringify({ keys: [jwk] }));
  return { url: issuer, settings: 'audience: [ledger.example.com], jwks_file: idp.json' };
}

const base64url = (text: string): string => Buffer.from(text).toString('base64url');

/** Returns an identity token, which can be used once. */
function identityToken(sub: string): string {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: issuer, sub, aud: 'ledger.example.com', iat: now, exp: now + 600, jti: randomUUID() };
  const text = `${base64url('{"alg":"RS256","kid":"k"}')}.${base64url(JSON.stringify(claims))}`;
  return `${text}.${createSign('sha256').update(text).sign(keys.privateKey, 'base64url')}`;
}

/** Returns a token of the ledger for a person. */
export async function personToken(ledger: Ledger, { sub, tenant }: Member): Promise<string> {
  const response = await fetch(`${ledger.url}/muniment.v1.IdentityService/ExchangeToken`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ tenant, identityToken: identityToken(sub) }),
  });
  const answer = (await response.json()) as { token?: string };
  if (answer.token === undefined) throw new Error(`no token for ${sub}: ${JSON.stringify(answer)}`);
  return answer.token;
}

/** Signs in as a person, on the page that asks for it. */
export async function enter(page: Page, ledger: Ledger, person: Member): Promise<void> {
  await page.getByRole('textbox', { name: 'Token' }).fill(await personToken(ledger, person));
  await page.getByRole('button', { name: 'Sign in with the token' }).click();
}

/** Opens a browser's context in which a person has signed in. */
export async function signedInAs(
  browser: Browser,
  ledger: Ledger,
  person: Member,
  options: Parameters<Browser['newContext']>[0] = {},
): Promise<Watched & { context: Awaited<ReturnType<Browser['newContext']>> }> {
  const context = await browser.newContext({ timezoneId: 'Europe/Berlin', locale: 'en-GB', ...options });
  const watched = await openPage(context, ledger);
  await watched.page.goto(`${ledger.url}/portal/signin`);
  await enter(watched.page, ledger, person);
  await watched.page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
  return { ...watched, context };
}

/** Why a sign-in with a provider failed: the codes of docs/portal.md. */

const texts = new Map([
  ['denied', 'You or the provider declined the request.'],
  ['expired', 'The sign-in took too long, or was begun in another browser. Start again.'],
  ['refused', 'The server refused the response of the provider.'],
  ['no_rule', 'No tenant has a rule for you. Ask an administrator of your tenant to add one.'],
  ['unavailable', 'The provider does not answer. Try again, or sign in with a token.'],
  ['busy', 'Too many attempts to sign in. Try again in a minute.'],
  ['insecure', 'Sign-in requires HTTPS, because browsers keep no session otherwise. Open the portal by https.'],
  ['unknown', 'The server has no such provider.'],
  ['invalid', 'The request to sign in was not valid. Start again.'],
]);

/** Returns the reason of a failure, by its code. */
export const failureText = (code: string): string => texts.get(code) ?? 'The server gave no reason. Try again.';

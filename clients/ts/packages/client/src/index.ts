/** The client of a Muniment ledger, for browsers and Node. */

export { ID_TOKEN_VARIABLE, IdentityError, jobIdentity, type Identity } from './identity.js';

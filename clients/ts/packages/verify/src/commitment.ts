/**
 * The commitment to a payload (entry.md, section 2), for clients that send it.
 */

export { commitment, newCommitment } from './entry.js';

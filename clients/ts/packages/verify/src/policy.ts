/**
 * Trust policies: the log's key, its witnesses and the quorum (C2SP
 * tlog-policy, restricted by receipt.md, section 3).
 */

import { compare, latin1, utf8, utf8Text } from './bytes.js';
import { explainEncoding } from './charset.js';
import { NotVerifiedError, PolicyError } from './errors.js';
import { quote } from './json.js';
import type { Checkpoint, SignatureLine } from './proof.js';
import { keyId, parseKey, verifies, type Key } from './signatures.js';

/**
 * A witness, or a group of which at least `threshold` members must have
 * cosigned.
 */
type Party = { key: Key } | { threshold: number; members: string[] };

/** Size limit of policies, in bytes. */
export const MAX_POLICY_BYTES = 1 << 20;

/** A trust policy. Create one with {@link parsePolicy}. */
export class Policy {
  /** @internal */
  constructor(
    /** Identifies the policy in messages and statements. */
    readonly name: string,
    /** The log's key. Its name is the log's origin. */
    readonly log: Key,
    /** Witnesses and groups by name. Members come before their group. */
    private readonly parties: ReadonlyMap<string, Party>,
    private readonly quorum: string | undefined,
  ) {}

  /** The name of the log, which is the first line of its checkpoints. */
  get origin(): string {
    return this.log.name;
  }

  /** Whether the quorum requires a witness. */
  get asksForWitness(): boolean {
    return this.quorum !== undefined;
  }

  /**
   * Returns the log's key and those of the witnesses that the quorum depends
   * on.
   */
  keys(): Key[] {
    const keys = [this.log];
    const pending = this.quorum === undefined ? [] : [this.quorum];
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      const party = this.parties.get(name);
      if (party === undefined) continue;
      if ('key' in party) keys.push(party.key);
      else pending.push(...party.members);
    }
    return keys;
  }

  /**
   * Verifies the signatures of a checkpoint (receipt.md, section 4, step 7).
   * Returns the keys of the policy that signed, as `<key name>+<key hash>`,
   * sorted by UTF-8 bytes.
   *
   * @throws NotVerifiedError if the policy does not accept the checkpoint
   */
  accept(checkpoint: Checkpoint): string[] {
    if (checkpoint.origin !== this.origin)
      throw new NotVerifiedError(
        'checkpoint-origin',
        `the checkpoint is from the log ${quote(checkpoint.origin)}, but the policy is for ${quote(this.origin)}`,
      );
    const first = new Map<string, SignatureLine>();
    for (const line of checkpoint.signatures) {
      const id = `${line.keyName}+${line.keyHash}`;
      if (!first.has(id)) first.set(id, line);
    }
    const signers = new Set<string>();
    for (const key of this.keys()) {
      const id = keyId(key);
      const line = first.get(id);
      if (line === undefined) continue;
      if (!verifies(key, line.signature, checkpoint))
        throw new NotVerifiedError('checkpoint-signature', `the signature by ${quote(id)} does not verify`);
      signers.add(id);
    }
    if (!signers.has(keyId(this.log)))
      throw new NotVerifiedError('checkpoint-unsigned', `not signed by the log's key ${quote(keyId(this.log))}`);
    if (!this.isWitnessed(signers))
      throw new NotVerifiedError('checkpoint-quorum', 'too few witnesses cosigned the checkpoint');
    return [...signers].sort((a, b) => compare(utf8(a), utf8(b)));
  }

  private isWitnessed(signers: ReadonlySet<string>): boolean {
    if (this.quorum === undefined) return true;
    const witnessed = new Set<string>();
    for (const [name, party] of this.parties) {
      const met =
        'key' in party
          ? signers.has(keyId(party.key))
          : party.members.filter((member) => witnessed.has(member)).length >= party.threshold;
      if (met) witnessed.add(name);
    }
    return witnessed.has(this.quorum);
  }
}

/**
 * Parses a policy file.
 *
 * @param name identifies the policy in messages and statements, such as by its
 *   file name
 * @param text the file's content, at most {@link MAX_POLICY_BYTES} bytes
 * @throws PolicyError if it is malformed; the message never quotes the file
 */
export function parsePolicy(name: string, text: string | Uint8Array): Policy {
  const bytes = typeof text === 'string' ? utf8(text) : text;
  if (bytes.length > MAX_POLICY_BYTES) throw new PolicyError(name, `exceeds ${MAX_POLICY_BYTES} bytes`);
  try {
    return parse(name, bytes);
  } catch (error) {
    if (error instanceof PolicyError && /PRIVATE[ +]KEY/.test(latin1(bytes)))
      throw new PolicyError(name, 'this is a private key, not a policy');
    const encoding = explainEncoding(bytes);
    if (error instanceof PolicyError && encoding !== undefined) throw new PolicyError(name, encoding);
    throw error;
  }
}

function parse(name: string, bytes: Uint8Array): Policy {
  const builder = new Builder(name);
  for (const line of latin1(bytes).split('\n')) {
    if (/[\x00-\x08\x0b-\x1f\x7f]/.test(line)) throw builder.wrong('control character');
    builder.line(line);
  }
  return builder.policy();
}

class Builder {
  private number = 1;
  private log: Key | undefined;
  private quorum: string | undefined;
  private readonly parties = new Map<string, Party>();
  private readonly grouped = new Set<string>();
  private readonly publicKeys = new Set<string>();
  private readonly ids = new Set<string>();
  private postQuantum: boolean | undefined;

  constructor(private readonly name: string) {}

  wrong(problem: string): PolicyError {
    return new PolicyError(this.name, problem, this.number);
  }

  line(line: string): void {
    const [keyword, ...items] = line.split(/[ \t]+/).filter((item) => item !== '');
    if (keyword !== undefined && !keyword.startsWith('#')) this.statement(keyword, items);
    this.number++;
  }

  private statement(keyword: string, items: string[]): void {
    const [first = '', second = ''] = items;
    if (keyword === 'log' && (items.length === 1 || items.length === 2)) {
      if (this.log !== undefined) throw this.wrong('a second log: use one policy file for each log key');
      this.log = this.key(first);
      if (this.log.algorithm === 'cosignature') throw this.wrong('log: this is the key of a witness');
    } else if (keyword === 'witness' && (items.length === 2 || items.length === 3)) {
      const key = this.key(second);
      if (key.algorithm === 'note') throw this.wrong('witness: this is the key of a log');
      this.define(first, { key });
    } else if (keyword === 'group' && items.length >= 3) {
      this.group(first, second, items.slice(2));
    } else if (keyword === 'quorum' && items.length === 1) {
      if (this.quorum !== undefined) throw this.wrong('a second quorum');
      if (first !== 'none' && !this.parties.has(first))
        throw this.wrong('the quorum is not defined on an earlier line');
      this.quorum = first;
    } else {
      throw this.wrong('unknown keyword, or wrong number of items');
    }
  }

  private key(item: string): Key {
    const key = this.parseKey(item);
    const publicKey = key.publicKey.join();
    if (this.publicKeys.has(publicKey)) throw this.wrong('an earlier line has the same public key');
    if (this.ids.has(keyId(key))) throw this.wrong('an earlier line has a key with the same name and hash');
    this.postQuantum ??= key.algorithm === 'mlDsa';
    if ((key.algorithm === 'mlDsa') !== this.postQuantum)
      throw this.wrong('ML-DSA-44 keys cannot be mixed with other keys');
    this.publicKeys.add(publicKey);
    this.ids.add(keyId(key));
    return key;
  }

  private parseKey(item: string): Key {
    try {
      return parseKey(utf8Text(Uint8Array.from(item, (character) => character.charCodeAt(0))));
    } catch (error) {
      throw this.wrong(error instanceof TypeError ? 'the key is not valid UTF-8' : (error as Error).message);
    }
  }

  private define(name: string, party: Party): void {
    if (name === 'none') throw this.wrong('the name none is reserved');
    if (this.parties.has(name)) throw this.wrong('the name is defined on an earlier line');
    this.parties.set(name, party);
  }

  private group(name: string, rule: string, members: string[]): void {
    for (const member of members) {
      if (!this.parties.has(member)) throw this.wrong('a group member is not defined on an earlier line');
      if (this.grouped.has(member)) throw this.wrong('a group member is already in a group');
      this.grouped.add(member);
    }
    const threshold =
      rule === 'all' ? members.length : rule === 'any' ? 1 : /^[1-9][0-9]{0,8}$/.test(rule) ? Number(rule) : 0;
    if (threshold < 1 || threshold > members.length)
      throw this.wrong(`the threshold must be any, all or a number from 1 to ${members.length}`);
    this.define(name, { threshold, members });
  }

  /** Checks the file as a whole, and returns the policy. */
  policy(): Policy {
    const { log, quorum } = this;
    if (log === undefined) throw new PolicyError(this.name, 'no log line');
    if (quorum === undefined) throw new PolicyError(this.name, 'no quorum line');
    return new Policy(this.name, log, this.parties, quorum === 'none' ? undefined : quorum);
  }
}

/** Policies: whose signatures make a checkpoint count (C2SP tlog-policy, restricted by receipt.md, section 3). */

import { compare, utf8, utf8Text } from './bytes.js';
import { MunimentError, PolicyError } from './errors.js';
import type { Checkpoint } from './proof.js';
import { keyId, parseKey, verifies, type Key } from './signatures.js';

/** A witness, or a group of which so many members must have witnessed. */
type Party = { key: Key } | { threshold: number; members: string[] };

/** Largest policy that {@link parsePolicy} reads, in bytes. */
export const MAX_POLICY_BYTES = 1 << 20;

/** A parsed policy. Make one with {@link parsePolicy}. */
export class Policy {
  /** @internal */
  constructor(
    /** As the caller named it; for messages and statements. */
    readonly name: string,
    /** The log's key. Its name is the log's origin. */
    readonly log: Key,
    /** Witnesses and groups by name, each after those that it refers to. */
    private readonly parties: ReadonlyMap<string, Party>,
    private readonly quorum: string | undefined,
  ) {}

  /** Name of the log, the first line of its checkpoints. */
  get origin(): string {
    return this.log.name;
  }

  /** Whether the quorum needs a witness at all. */
  get asksForWitness(): boolean {
    return this.quorum !== undefined;
  }

  /** The keys of the policy: the log's, and those of the witnesses on which the quorum depends. */
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
   * Verifies the signatures of a checkpoint (receipt.md, section 4, step 7). Returns the signers, sorted by UTF-8
   * bytes, or throws MunimentError with the reason for which the policy refuses.
   */
  accept(checkpoint: Checkpoint): string[] {
    const signers = new Set<string>();
    for (const key of this.keys()) {
      const id = keyId(key);
      const line = checkpoint.signatures.find((s) => s.keyName === key.name && s.keyHash === key.hash);
      if (line === undefined) continue;
      if (!verifies(key, line.signature, checkpoint)) throw new MunimentError(`the signature of ${id} does not verify`);
      signers.add(id);
    }
    if (!signers.has(keyId(this.log))) throw new MunimentError(`the log's key ${keyId(this.log)} has not signed`);
    if (checkpoint.origin !== this.origin)
      throw new MunimentError(`the checkpoint is of ${JSON.stringify(checkpoint.origin)}, not of ${this.origin}`);
    if (!this.isWitnessed(signers))
      throw new MunimentError(`the cosignatures do not meet the quorum ${this.quorum ?? 'none'}`);
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
 * @param name for messages and statements, such as the file's name
 * @param text the file's content, of at most {@link MAX_POLICY_BYTES} bytes
 * @throws PolicyError if it is not a policy as receipt.md, section 3, wants it
 */
export function parsePolicy(name: string, text: string | Uint8Array): Policy {
  const bytes = typeof text === 'string' ? utf8(text) : text;
  if (bytes.length > MAX_POLICY_BYTES) throw new PolicyError(name, `more than ${MAX_POLICY_BYTES} bytes`);
  const builder = new Builder(name);
  // One character for each byte: what is not ASCII has no meaning to the format.
  let line = '';
  for (const byte of bytes) {
    if (byte === 0x0a) {
      builder.line(line);
      line = '';
    } else if ((byte < 0x20 && byte !== 0x09) || byte === 0x7f) {
      throw builder.wrong('a control character');
    } else {
      line += String.fromCharCode(byte);
    }
  }
  if (line !== '') builder.line(line);
  return builder.policy();
}

class Builder {
  private number = 1;
  private log: Key | undefined;
  private quorum: string | undefined;
  private readonly parties = new Map<string, Party>();
  private readonly grouped = new Set<string>();

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
      if (this.log !== undefined)
        throw this.wrong('a second log; a policy for receipts has one, give several policies');
      this.log = this.key(first);
      if (this.log.algorithm === 'cosignature') throw this.wrong("a witness's key where the log's must be");
    } else if (keyword === 'witness' && (items.length === 2 || items.length === 3)) {
      const key = this.key(second);
      if (key.algorithm === 'note') throw this.wrong("a log's key where a witness's must be");
      this.define(first, { key });
    } else if (keyword === 'group' && items.length >= 3) {
      this.group(first, second, items.slice(2));
    } else if (keyword === 'quorum' && items.length === 1) {
      if (this.quorum !== undefined) throw this.wrong('a second quorum');
      if (first !== 'none' && !this.parties.has(first)) throw this.wrong(`${printable(first)} is not defined before`);
      this.quorum = first;
    } else {
      throw this.wrong(`${printable(keyword)}: an unknown keyword, or too few or too many items`);
    }
  }

  private key(item: string): Key {
    try {
      return parseKey(utf8Text(octets(item)));
    } catch (error) {
      throw this.wrong(error instanceof TypeError ? 'the key is not valid UTF-8' : (error as Error).message);
    }
  }

  private define(name: string, party: Party): void {
    if (name === 'none') throw this.wrong('the name none is taken');
    if (this.parties.has(name)) throw this.wrong(`${printable(name)} is defined twice`);
    this.parties.set(name, party);
  }

  private group(name: string, rule: string, members: string[]): void {
    for (const member of members) {
      if (!this.parties.has(member)) throw this.wrong(`${printable(member)} is not defined before`);
      if (this.grouped.has(member)) throw this.wrong(`${printable(member)} is a member of a group already`);
      this.grouped.add(member);
    }
    const threshold =
      rule === 'all' ? members.length : rule === 'any' ? 1 : /^[1-9][0-9]{0,8}$/.test(rule) ? Number(rule) : 0;
    if (threshold < 1 || threshold > members.length)
      throw this.wrong(`${printable(rule)} is not all, any, or a number from 1 to that of the members`);
    this.define(name, { threshold, members });
  }

  /** What concerns the file as a whole. */
  policy(): Policy {
    const { log, quorum } = this;
    if (log === undefined) throw new PolicyError(this.name, 'there is no log');
    if (quorum === undefined) throw new PolicyError(this.name, 'there is no quorum');
    const publicKeys = new Set<string>();
    const ids = new Set([keyId(log)]);
    for (const [name, party] of this.parties) {
      if (!('key' in party)) continue;
      if ((party.key.algorithm === 'mlDsa') !== (log.algorithm === 'mlDsa'))
        throw new PolicyError(this.name, 'Ed25519 and ML-DSA-44 keys in one policy; make two of it');
      const publicKey = party.key.publicKey.join();
      if (publicKeys.has(publicKey))
        throw new PolicyError(this.name, `the key of the witness ${printable(name)} is there twice`);
      if (ids.has(keyId(party.key)))
        throw new PolicyError(this.name, `the key of the witness ${printable(name)} has name and hash of another key`);
      publicKeys.add(publicKey);
      ids.add(keyId(party.key));
    }
    return new Policy(this.name, log, this.parties, quorum === 'none' ? undefined : quorum);
  }
}

function octets(item: string): Uint8Array {
  return Uint8Array.from(item, (character) => character.charCodeAt(0));
}

/** A name of the policy for a message. */
function printable(item: string): string {
  return JSON.stringify(new TextDecoder().decode(octets(item)));
}

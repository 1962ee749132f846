/** Parts that many documents have. */

import type { JsonReader } from './json';

/** Joins the texts that are present. */
export const join = (by: string, ...texts: (string | undefined)[]): string =>
  texts.filter((text) => text !== undefined && text !== '').join(by);

/** Reads an object with a name and a version. */
export function toolName(json: JsonReader): string {
  let name: string | undefined;
  let version: string | undefined;
  json.members({ name: () => (name = json.text()), version: () => (version = json.text()) });
  return join(' ', name, version);
}

/** Reads digests: an object from algorithm to value. */
export function digests(json: JsonReader): string {
  const found: string[] = [];
  json.object((algorithm) => {
    const value = json.text();
    if (value !== undefined && found.length < 16) found.push(`${algorithm}:${value}`);
  });
  return found.join(' ');
}

/** A ResourceDescriptor of in-toto. */
export interface Resource {
  name?: string | undefined;
  uri?: string | undefined;
  digest?: string | undefined;
}

export function resource(json: JsonReader): Resource {
  const read: Resource = {};
  json.members({
    name: () => (read.name = json.text()),
    uri: () => (read.uri = json.text()),
    digest: () => (read.digest = digests(json)),
  });
  return read;
}

/** Reads an object with an id. */
export function idOf(json: JsonReader): string | undefined {
  let id: string | undefined;
  json.members({ id: () => (id = json.text()) });
  return id;
}

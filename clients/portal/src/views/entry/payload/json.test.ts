import { describe, expect, test } from 'vitest';
import { JsonReader, MalformedError } from './json';

const reader = (text: string) => new JsonReader(new TextEncoder().encode(text));

describe('JsonReader', () => {
  test('reads members of any order, and skips the others', () => {
    const read: unknown[] = [];
    const json = reader('{"x":[1,{"y":"}]"}],"b":2.50e1,"a":"\\u00e9\\n","__proto__":{"a":1},"c":[true,null]}');
    json.members({
      a: () => read.push(json.text()),
      b: () => read.push(json.number()),
      c: () => json.array(() => read.push(json.scalar())),
    });
    json.end();
    expect(read).toEqual([25, 'é\n', 'true', 'null']);
  });

  test('names of the prototype are names like others', () => {
    const json = reader('{"constructor":1,"toString":2,"hasOwnProperty":3}');
    json.members({
      x: () => {
        json.skip();
      },
    });
    json.end();
  });

  test('skips values of other types', () => {
    const json = reader('[{"a":1},"x",[2],7]');
    const read: unknown[] = [];
    json.array(() => read.push(json.text()));
    expect(read).toEqual([undefined, 'x', undefined, undefined]);
  });

  test('notes repeated members', () => {
    const json = reader('{"a":1,"a":2,"b":{"c":1}}');
    json.members({});
    expect([...json.repeated]).toEqual(['a']);
  });

  test('skips any depth without recursion', () => {
    const json = reader(`${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}`);
    json.skip();
    json.end();
  });

  test.each([
    '',
    '{',
    '[1',
    '{"a"',
    '{"a":}',
    '{"a" 1}',
    '[1 2]',
    '"x',
    '{"a":1}x',
    'nul',
    '{"a":"\\q"}',
    '[1,]',
    '01a',
  ])('refuses %j', (text) => {
    const json = reader(text);
    const read = (): void => {
      const type = json.peek();
      if (type === 'object') json.object(read);
      else if (type === 'array') json.array(read);
      else json.scalar();
    };
    expect(() => {
      read();
      json.end();
    }).toThrow(MalformedError);
  });
});

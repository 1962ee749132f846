import { expect, test } from 'vitest';
import { trustedOf, recognize } from './trusted';

const policy = '# the log\nlog ledger.example+944bb3ff+AQAB\nquorum none\n';

test.each([
  ['policy', policy, 'policy'],
  ['exporter.pub', '-----BEGIN PUBLIC KEY-----\n', 'key'],
  ['trusted_root.json', ' {"mediaType":"x"}', 'root'],
  ['acme.key', 'muniment-stream-key-v1 AAAA', 'stream key'],
  ['trust/muniment.json', '{}', 'configuration'],
])('%s is used as %s', async (path, text, use) => {
  expect(await recognize(path, new Blob([text]))).toBe(use);
});

test('files become a configuration', async () => {
  const files = new Map([
    ['policy', new File([policy], 'policy')],
    ['exporter.pub', new File(['-----BEGIN PUBLIC KEY-----\n'], 'exporter.pub')],
  ]);
  const { configuration } = await trustedOf(files, [{ name: 'pinned', text: policy }]);
  expect(JSON.parse(configuration)).toEqual({ trustPolicy: ['policy'], trustedKeys: ['exporter.pub'] });
});

test('without a policy, that of the browser is used', async () => {
  const { configuration, files } = await trustedOf(new Map(), [{ name: 'pinned', text: policy }]);
  expect(JSON.parse(configuration)).toEqual({ trustPolicy: ['browser/0-pinned'] });
  expect(await files[0]?.[1].text()).toBe(policy);
});

test('a configuration names files relative to itself', async () => {
  const files = new Map([
    ['trust/muniment.json', new File(['{"trustPolicy":"policy"}'], 'muniment.json')],
    ['trust/policy', new File([policy], 'policy')],
  ]);
  const trusted = await trustedOf(files, []);
  expect(trusted.configuration).toBe('{"trustPolicy":"policy"}');
  expect(trusted.files.map(([path]) => path)).toEqual(['muniment.json', 'policy']);
});

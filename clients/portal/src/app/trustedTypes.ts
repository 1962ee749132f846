/**
 * The page's policy for Trusted Types. The server allows no other, so that no
 * string becomes markup or a script.
 */

interface Factory {
  createPolicy(
    name: string,
    rules: { createScriptURL: (url: string) => string },
  ): { createScriptURL(url: string): string };
}

const policy = (globalThis as { trustedTypes?: Factory }).trustedTypes?.createPolicy('muniment', {
  createScriptURL(url) {
    const { origin, pathname } = new URL(url, location.href);
    if (origin !== location.origin || !pathname.startsWith('/portal/assets/'))
      throw new TypeError(`${url} is no part of the portal`);
    return url;
  },
});

/** Starts a worker, which is a part of the portal. */
export function startWorker(url: string): Worker {
  return new Worker(policy?.createScriptURL(url) ?? url, { type: 'module' });
}

import react from '@vitejs/plugin-react';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig, type Plugin } from 'vite';

/** The page can send nothing, and load nothing but itself. */
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; form-action 'none'; base-uri 'none'";

/** Builds the files in a folder into the page, as the module `virtual:trust`. */
function trust(folder: string): Plugin {
  const id = 'virtual:trust';
  return {
    name: 'trust',
    resolveId: (source) => (source === id ? `\0${id}` : undefined),
    load(loaded) {
      if (loaded !== `\0${id}`) return undefined;
      const files = readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')]);
      return `export default new Map(${JSON.stringify(files)});`;
    },
  };
}

const contentSecurityPolicy: Plugin = {
  name: 'content-security-policy',
  apply: 'build', // the development server needs a connection
  transformIndexHtml: () => [
    { tag: 'meta', attrs: { 'http-equiv': 'Content-Security-Policy', content: policy }, injectTo: 'head-prepend' },
  ],
};

export default defineConfig({
  plugins: [react(), trust(process.env['TRUST'] ?? 'trust'), contentSecurityPolicy],
  build: {
    modulePreload: false,
    // One script: nothing is loaded once files are on the page.
    rolldownOptions: { output: { codeSplitting: false } },
  },
});

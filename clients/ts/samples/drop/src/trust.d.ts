/** The files of the folder TRUST, by their names. See vite.config.ts. */
declare module 'virtual:trust' {
  const files: ReadonlyMap<string, string>;
  export default files;
}
